"""ES256 with the key of RFC 7517 appendix A.2, so that what is signed is read to its end. Good for tests and nothing else."""

import base64
import hashlib
import json

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
     0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


# Its private half, as the RFC prints it.
KEY = int.from_bytes(base64.urlsafe_b64decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE="), "big")


def add(one, two):
    if one is None or two is None:
        return one or two
    (x1, y1), (x2, y2) = one, two
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    slope = (3 * x1 * x1 - 3) * pow(2 * y1, -1, P) if one == two else (y2 - y1) * pow(x2 - x1, -1, P)
    x = (slope * slope - x1 - x2) % P
    return x, (slope * (x1 - x) - y1) % P


def times(point, number):
    result = None
    while number:
        if number & 1:
            result = add(result, point)
        point, number = add(point, point), number >> 1
    return result


def token(claims, typ="JWT"):
    """A JWT with these claims (RFC 7518 §3.4)."""
    header = {"alg": "ES256", "kid": "k", "typ": typ}
    message = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    digest = int.from_bytes(hashlib.sha256(message.encode()).digest(), "big")
    # The same each time, as everything here.
    k = int.from_bytes(hashlib.sha512(message.encode()).digest(), "big") % (N - 1) + 1
    r = times(G, k)[0] % N
    s = pow(k, -1, N) * (digest + r * KEY) % N
    return f"{message}.{b64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
