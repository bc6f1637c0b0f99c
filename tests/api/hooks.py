"""What schemathesis does not know by itself: how to write NDJSON, and, in the second pass, signed tokens and webhooks."""

import base64
import hashlib
import hmac
import json
import os
import random
import sys
import time
from pathlib import Path

import schemathesis

sys.path.insert(0, str(Path(__file__).parent))
import signing  # noqa: E402


@schemathesis.serializer("application/x-ndjson", "application/ndjson", "application/jsonl")
def ndjson(context, value):
    if isinstance(value, (bytes, str)):
        return value
    lines = value if isinstance(value, list) else [value]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@schemathesis.serializer("application/secevent+jwt", "application/cloudevents+json", "application/cloudevents-batch+json")
def as_it_is(context, value):
    if isinstance(value, (bytes, str)):
        return value
    return json.dumps(value).encode()


if os.environ.get("API_TEST_CREDENTIALS"):
    BASIC = "Basic " + base64.b64encode(b"all:of the tests only").decode()
    # The same requests each time.
    luck = random.Random(1)
    ISSUER, EVENTS = "https://op.example", "https://schemas.openid.net/secevent/"
    ODD = [None, 7, -1, 1.5, True, "", "x", "ü\n", "a" * 2000, [], [[]], {}, {"a": 1}, 1e300]

    def odd(claims):
        """Some of the claims with a value that nobody expects, or not at all."""
        for name in list(claims):
            dice = luck.random()
            if dice < 0.12:
                claims[name] = luck.choice(ODD)
            elif dice < 0.2:
                del claims[name]
        return claims

    def times():
        now = int(time.time())
        return {"iss": ISSUER, "aud": "hub", "iat": now, "jti": str(luck.random()), "exp": now + 300}

    def event():
        name = luck.choice([
            "caep/event-type/session-revoked", "caep/event-type/credential-change", "risc/event-type/account-disabled",
            "risc/event-type/account-enabled", "ssf/event-type/verification", "ssf/event-type/stream-updated", "own"])
        user = odd({"format": "iss_sub", "iss": ISSUER, "sub": "u"})
        subject = luck.choice([
            user, odd({"format": "opaque", "id": "s"}), odd({"format": "email", "email": "a@example.com"}),
            odd({"format": "jwt_id", "iss": ISSUER, "jti": "j"}), {"format": "aliases", "identifiers": [user, user]},
            odd({"format": "complex", "user": user, "session": odd({"format": "opaque", "id": "s"})})])
        claims = times() | {"sub_id": subject, "events": {EVENTS + name: odd({"event_timestamp": 1, "state": "s"})}}
        del claims["exp"]
        return signing.token(odd(claims), "secevent+jwt")

    def logout():
        claims = times() | {"sid": "s", "sub": "u", "events": {"http://schemas.openid.net/event/backchannel-logout": {}}}
        return signing.token(odd(claims), "logout+jwt")

    def access():
        return signing.token(odd(times() | {"sub": "u", "client_id": "app", "uti": "u"}))

    @schemathesis.hook
    def before_call(context, case, kwargs):
        path, method = case.operation.path, case.operation.method.upper()
        # What is generated is no credential, so it is put in the place of whatever was thought of.
        case.headers["Authorization"] = BASIC
        if method != "POST" or luck.random() < 0.2:
            return
        if path == "/ssf/events":
            case.body = event()
        elif path == "/backchannel-logout" and isinstance(case.body, dict):
            case.body["logout_token"] = logout()
        elif path in ("/revoke", "/introspect", "/v1/check") and isinstance(case.body, dict):
            case.body["token"] = access()
        elif path.startswith("/shared/security/"):
            case.headers["Authorization"] = f"Bearer {access()}"
        elif path == "/v1/revocations" and luck.random() < 0.3:
            # In the style of Standard Webhooks, over the body as it will be sent.
            body = json.dumps({"jti": str(luck.random()), "ttl": 60})
            case.body, case.media_type = body.encode(), "application/x-ndjson"
            key = base64.b64decode("AAECAwQFBgcICQoLDA0ODxAREhMUFRYX")
            name, at = luck.choice(["a", "b", str(luck.random())]), str(int(time.time()))
            tag = hmac.new(key, f"{name}.{at}.{body}".encode(), hashlib.sha256).digest()
            case.headers.update({"webhook-id": name, "webhook-timestamp": at,
                                 "webhook-signature": f"v1,{base64.b64encode(tag).decode()}"})
            # One way to say who it is, not two.
            del case.headers["Authorization"]
