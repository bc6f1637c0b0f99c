//! Security Event Tokens by push (RFC 8935), and the events of SSF, CAEP and RISC.

use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;
use crate::sets::*;

fn push() -> Value {
    json!({"name": "idp", "kind": "ssf_push", "audiences": [AUDIENCE]})
}

async fn start(place: &Place, signer: &Signer, source: Value) -> TestHub {
    TestHub::start(believing(place, signer, source), Clock::manual(NOW)).await
}

fn request(hub: &Api, token: String) -> reqwest::RequestBuilder {
    let request = hub.request(reqwest::Method::POST, "/ssf/events").body(token);
    request.header("content-type", "application/secevent+jwt").header("accept", "application/json")
}

async fn send(hub: &Api, token: String) -> Answer {
    hub.send(request(hub, token)).await.unwrap()
}

/// RFC 8935 §2.2, whatever the token asked for.
#[track_caller]
fn is_accepted(answer: Answer) {
    let answer = answer.expect(202);
    assert!(answer.body.is_empty());
}

/// RFC 8935 §2.3 and §2.4.
#[track_caller]
fn is_refused(answer: Answer, err: &str) {
    let answer = answer.expect(400);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("content-language"), Some("en"));
    let body = answer.json();
    assert_eq!(body["err"], err, "{body}");
    assert!(body["description"].as_str().is_some_and(|text| !text.is_empty()));
    assert_eq!(body.as_object().unwrap().len(), 2);
}

async fn rfc8935_2_2_accepted_only_after_it_is_persisted(place: &Place) {
    let signer = Signer::rs256("k");
    let hub = start(place, &signer, push()).await;
    is_accepted(send(&hub, signer.sign(&session("a", "s"))).await);
    assert_eq!(place.rows().await, 1);
    let expected = json!({"kind": "session", "iss": ISSUER, "sid": "s", "reason": "session-revoked", "source": "idp"});
    assert_eq!(revoked(&hub).await, [expected]);
    let sources = hub.get("/v1/sources").await.expect(200).json();
    assert_eq!((&sources["sources"][0]["kind"], &sources["sources"][0]["delivered"]), (&json!("ssf_push"), &json!(1)));
    hub.stop().await;
}

async fn rfc8935_2_1_a_repeated_token_is_answered_as_if_it_were_new(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, push()).await;
    let token = signer.sign(&claims("a", &format!("{RISC}account-disabled")));
    is_accepted(send(&hub, token.clone()).await);
    let before = hub.snapshot().await;
    is_accepted(send(&hub, token.clone()).await);
    assert_eq!(hub.snapshot().await, before);
    // What was taken back since does not return with an old token.
    hub.lift(before.map.keys().next().unwrap()).await;
    is_accepted(send(&hub, token.clone()).await);
    assert_eq!(revoked(&hub).await, Vec::<Value>::new());
    assert_eq!(hub.metric("link_messages_total", r#"outcome="repeated""#).await, 2.0);
    if place.is_postgres() {
        let replica = start(place, &signer, push()).await;
        is_accepted(send(&replica, token.clone()).await);
        assert_eq!(revoked(&replica).await, Vec::<Value>::new());
        replica.stop().await;
    }
    hub.stop().await;
    let hub = start(place, &signer, push()).await;
    is_accepted(send(&hub, token).await);
    assert_eq!(revoked(&hub).await, Vec::<Value>::new());
    // Another token that says the same is news.
    is_accepted(send(&hub, signer.sign(&claims("b", &format!("{RISC}account-disabled")))).await);
    assert_eq!(revoked(&hub).await.len(), 1);
    hub.stop().await;
}

async fn rfc8935_2_3_a_token_that_is_no_good_is_refused_and_nothing_is_stored(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, push()).await;
    let good = session("a", "s");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.sign(&claims)
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        signer.sign(&claims)
    };
    let token = signer.sign(&good);
    let confused = {
        // The public key, which everybody has, as the secret of an HMAC.
        let mut header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
        (header.typ, header.kid) = (Some("secevent+jwt".into()), Some("k".into()));
        let secret = jsonwebtoken::EncodingKey::from_secret(signer.pem.as_bytes());
        jsonwebtoken::encode(&header, &good, &secret).unwrap()
    };
    let none = json!({"alg": "none", "typ": "secevent+jwt"});
    for (what, bad, err) in [
        ("nothing", String::new(), "invalid_request"),
        ("no JWT", "hello".into(), "invalid_request"),
        ("a JWE", "eyJhbGciOiJSU0EtT0FFUCJ9.a.b.c.d".into(), "invalid_request"),
        ("an empty line", format!("{token}\n"), "invalid_request"),
        ("padding", format!("{token}="), "invalid_request"),
        ("no typ (SSF 1.0 §4.1.1)", signer.sign_as(None, &good), "invalid_request"),
        ("another typ", signer.sign_as(Some("at+jwt"), &good), "invalid_request"),
        ("alg none", unsigned(&none, &good, b""), "invalid_key"),
        ("alg HS256", confused, "invalid_key"),
        ("another key", Signer::es256("k").sign(&good), "invalid_key"),
        ("an unknown key", Signer::es256("other").sign(&good), "invalid_key"),
        ("another issuer", with("iss", json!("https://evil.example.com/")), "invalid_issuer"),
        ("no issuer", without("iss"), "invalid_issuer"),
        ("another audience", with("aud", json!("https://sp2.example.com")), "invalid_audience"),
        ("no audience", without("aud"), "invalid_audience"),
        ("no jti", without("jti"), "invalid_request"),
        ("no iat", without("iat"), "invalid_request"),
        ("an iat in the future", with("iat", json!(NOW + 3600)), "invalid_request"),
        ("no events", without("events"), "invalid_request"),
        ("events without one", with("events", json!({})), "invalid_request"),
        ("no sub_id (SSF 1.0 §3.1)", without("sub_id"), "invalid_request"),
        ("a sub_id without its member", with("sub_id", json!({"format": "opaque"})), "invalid_request"),
        ("sub (SSF 1.0 §4.1.2)", with("sub", json!("u")), "invalid_request"),
        ("exp (SSF 1.0 §4.1.7)", with("exp", json!(NOW + 60)), "invalid_request"),
        ("exp in the past", with("exp", json!(NOW - 3600)), "invalid_request"),
        ("a sid that no token has", with("sub_id", json!({"format": "opaque", "id": "a\nb"})), "invalid_request"),
    ] {
        println!("{what}");
        is_refused(send(&hub, bad).await, err);
    }
    assert_eq!(place.rows().await, 0);
    assert_eq!(place.number("select count(*) from seen").await, 0);
    assert_eq!(hub.metric("link_messages_total", r#"outcome="unknown_issuer""#).await, 2.0);
    // The same with nothing wrong.
    is_accepted(send(&hub, token).await);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

async fn what_is_no_transmission_has_the_status_of_its_own(place: &Place) {
    let signer = Signer::es256("k");
    let mut config = believing(place, &signer, push());
    config.limits.max_body_bytes = 2000;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let token = signer.sign(&session("a", "s"));
    for media_type in ["application/json", "application/jwt", "text/plain"] {
        let request = hub.request(reqwest::Method::POST, "/ssf/events").body(token.clone());
        let answer = hub.send(request.header("content-type", media_type)).await.unwrap();
        assert_eq!(answer.expect(415).code(), "unsupported_media_type");
    }
    assert_eq!(send(&hub, "a".repeat(2001)).await.expect(413).code(), "body_too_large");
    let answer = hub.get("/ssf/events").await.expect(405);
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(place.rows().await, 0);
    hub.stop().await;
}

async fn rfc7519_4_1_3_an_audience_is_refused_where_nobody_said_who_we_are(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, json!({"name": "idp", "kind": "ssf_push"})).await;
    is_refused(send(&hub, signer.sign(&session("a", "s"))).await, "invalid_audience");
    let mut claims = session("a", "s");
    claims.as_object_mut().unwrap().remove("aud");
    is_accepted(send(&hub, signer.sign(&claims)).await);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

async fn without_keys_or_store_the_answer_is_503_and_retry_after(place: &Place) {
    let signer = Signer::es256("k");
    let mut config = believing(place, &signer, push());
    let file = signer.jwks_file(place);
    std::fs::remove_file(&file).unwrap();
    let wire = if place.is_postgres() { Some(Proxy::new(place).await) } else { None };
    if let Some(wire) = &wire {
        config.database_url = revocation_hub::config::DatabaseUrl::new(wire.url(place));
        config.store.timeout = std::time::Duration::from_secs(1);
    }
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let token = signer.sign(&session("a", "s"));
    let answer = send(&hub, token.clone()).await.expect(503);
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.code(), "keys_unavailable");
    signer.jwks_file(place);
    let first = until("the keys are read", async || {
        let answer = send(&hub, token.clone()).await;
        (answer.status != 503).then_some(answer)
    });
    is_accepted(first.await);
    if let Some(wire) = &wire {
        wire.set(Wire::Cut);
        let token = signer.sign(&session("b", "s2"));
        let answer = send(&hub, token.clone()).await.expect(503);
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.code(), "store_unavailable");
        assert_eq!(place.rows().await, 1);
        wire.set(Wire::Good);
        let again = until("the store is there", async || {
            let answer = send(&hub, token.clone()).await;
            (answer.status != 503).then_some(answer)
        });
        is_accepted(again.await);
        assert_eq!(place.rows().await, 2);
    }
    hub.stop().await;
}

async fn rfc8935_2_3_who_may_not_send_is_told_so_by_400_too(place: &Place) {
    let signer = Signer::es256("k");
    let client = |name: &str, scopes: &[&str]| {
        let bearer = json!({"token": format!("token-of-{name}")});
        serde_json::from_value(json!({"name": name, "scopes": scopes, "bearer": bearer})).unwrap()
    };
    let mut config = believing(
        place,
        &signer,
        json!({"name": "idp", "kind": "ssf_push", "audiences": [AUDIENCE], "clients": ["t", "n", "r"]}),
    );
    config.clients = vec![
        client("t", &["publish", "rules", "lift"]),
        client("n", &["publish"]),
        client("r", &["read", "rules"]),
        client("other", &["publish", "rules", "lift", "read"]),
    ];
    let open = {
        let mut config = config.clone();
        config.sources[0].clients.clear();
        config
    };
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    let token = |jti: &str| signer.sign(&claims(jti, &format!("{RISC}account-disabled")));
    let by = async |hub: &Api, client: &str, token: String| {
        hub.send(request(hub, token).bearer_auth(format!("token-of-{client}"))).await.unwrap()
    };
    let missing = send(&hub, token("a")).await;
    assert_eq!(missing.header("www-authenticate"), Some(r#"Bearer realm="revocation-hub""#));
    is_refused(missing, "authentication_failed");
    is_refused(by(&hub, "nobody", token("a")).await, "authentication_failed");
    is_refused(by(&hub, "other", token("a")).await, "access_denied");
    is_refused(by(&hub, "r", token("a")).await, "access_denied");
    // The token is good, but whoever brings it may not revoke that much.
    is_refused(by(&hub, "n", token("a")).await, "access_denied");
    assert_eq!(place.rows().await, 0);
    is_accepted(by(&hub, "t", token("a")).await);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
    // Without the setting the signature is enough, but wrong credentials are still wrong.
    let hub = TestHub::launch(open, Clock::manual(NOW)).await;
    is_refused(by(&hub, "nobody", token("b")).await, "authentication_failed");
    is_accepted(send(&hub, token("b")).await);
    is_accepted(by(&hub, "r", token("c")).await);
    hub.stop().await;
}

async fn a_source_bound_to_issuers_speaks_of_no_others(place: &Place) {
    let signer = Signer::es256("k");
    let bound =
        json!({"name": "idp", "kind": "ssf_push", "audiences": [AUDIENCE], "issuers": ["https://other.example.com"]});
    let hub = start(place, &signer, bound).await;
    is_refused(send(&hub, signer.sign(&session("a", "s"))).await, "invalid_issuer");
    hub.stop().await;
    let bound = json!({"name": "idp", "kind": "ssf_push", "audiences": [AUDIENCE], "issuers": [ISSUER]});
    let hub = start(place, &signer, bound).await;
    let mut about_another = claims("b", &format!("{RISC}account-disabled"));
    about_another["sub_id"]["iss"] = json!("https://other.example.com");
    is_refused(send(&hub, signer.sign(&about_another)).await, "access_denied");
    is_accepted(send(&hub, signer.sign(&session("c", "s"))).await);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

async fn a_transmitter_speaks_about_itself_or_about_the_issuers_it_is_given(place: &Place) {
    let signer = Signer::es256("k");
    let about = |jti: &str, iss: &str| {
        let mut claims = claims(jti, &format!("{RISC}account-disabled"));
        claims["sub_id"]["iss"] = json!(iss);
        signer.sign(&claims)
    };
    const TOKENS: &str = "https://idp.example.com/oauth2/default";
    // Nobody said more: whoever it names besides itself is somebody else's user.
    let hub = start(place, &signer, push()).await;
    is_refused(send(&hub, about("a", TOKENS)).await, "access_denied");
    let jwt = json!({"format": "jwt_id", "iss": TOKENS, "jti": "j"});
    let mut one_token = claims("b", &format!("{CAEP}session-revoked"));
    one_token["sub_id"] = jwt;
    is_refused(send(&hub, signer.sign(&one_token)).await, "access_denied");
    let mut aliases = claims("c", &format!("{RISC}account-disabled"));
    let both = [
        json!({"format": "iss_sub", "iss": ISSUER, "sub": "u"}),
        json!({"format": "iss_sub", "iss": TOKENS, "sub": "u"}),
    ];
    aliases["sub_id"] = json!({"format": "aliases", "identifiers": both});
    is_refused(send(&hub, signer.sign(&aliases)).await, "access_denied");
    assert_eq!(place.rows().await, 0);
    is_accepted(send(&hub, about("d", ISSUER)).await);
    hub.stop().await;
    // The issuer of the tokens that it speaks about: subjects without an issuer are of it, and so may others be.
    let mut settings = push();
    settings["default_issuer"] = json!(TOKENS);
    let hub = start(place, &signer, settings).await;
    is_accepted(send(&hub, about("e", TOKENS)).await);
    is_accepted(send(&hub, about("f", ISSUER)).await);
    is_refused(send(&hub, about("g", "https://other.example.com")).await, "access_denied");
    hub.stop().await;
    // Its own name apart from theirs: then its name is no issuer of tokens, and no other may sign.
    let mut settings = push();
    (settings["transmitter"], settings["issuers"]) = (json!(ISSUER), json!([TOKENS]));
    let mut config = believing(place, &signer, settings);
    let tokens = json!({"issuer": TOKENS, "jwks_file": signer.jwks_file(place)});
    config.issuers.push(serde_json::from_value(tokens).unwrap());
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    is_accepted(send(&hub, about("h", TOKENS)).await);
    is_refused(send(&hub, about("i", ISSUER)).await, "access_denied");
    let mut claims = session("j", "s");
    claims["iss"] = json!(TOKENS);
    is_refused(send(&hub, signer.sign(&claims)).await, "invalid_issuer");
    hub.stop().await;
    config.sources[0].transmitter = Some("https://nobody.example.com".into());
    assert!(config.validate().unwrap_err().to_string().contains("transmitter"));
}

async fn account_enabled_lifts_what_stood_by_then(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, push()).await;
    let token = |jti: &str, event: &str, iat: i64| {
        let mut claims = claims(jti, &format!("{RISC}{event}"));
        claims["iat"] = json!(iat);
        signer.sign(&claims)
    };
    let at = 1_700_000_000;
    // There is nothing to take back.
    is_accepted(send(&hub, token("a", "account-enabled", at)).await);
    is_accepted(send(&hub, token("b", "account-disabled", at + 10)).await);
    // It was on its way for longer than the other.
    is_accepted(send(&hub, token("c", "account-enabled", at + 5)).await);
    assert_eq!(revoked(&hub).await.len(), 1);
    is_accepted(send(&hub, token("d", "account-enabled", at + 20)).await);
    assert_eq!(revoked(&hub).await, Vec::<Value>::new());
    // The same token once more does not lift what came after it.
    hub.revoke(&json!({"sub": "u", "iss": ISSUER, "issued_before": at + 1})).await;
    is_accepted(send(&hub, token("d", "account-enabled", at + 20)).await);
    assert_eq!(revoked(&hub).await.len(), 1);
    // Whoever is not the subject's issuer has no say.
    hub.revoke(&json!({"sub": "u", "iss": "https://other.example.com", "issued_before": at + 1})).await;
    let mut foreign = claims("e", &format!("{RISC}account-enabled"));
    foreign["sub_id"]["iss"] = json!("https://other.example.com");
    is_accepted(send(&hub, signer.sign(&foreign)).await);
    assert_eq!(revoked(&hub).await.len(), 2);
    hub.stop().await;
}

async fn every_event_does_what_the_table_says(place: &Place) {
    let signer = Signer::es256("k");
    let settings = json!({
        "name": "idp", "kind": "ssf_push", "audiences": [AUDIENCE], "subject_claim": ["email"],
        "issuers": [ISSUER, "https://op.example.com"], "events": ["credential-change"], "max_token_lifetime": "1h"
    });
    let hub = start(place, &signer, settings).await;
    let subject = |sub: &str, before: i64, reason: &str| json!({"kind": "subject", "iss": ISSUER, "sub": sub, "issued_before": before, "reason": reason, "source": "idp"});
    let mut expected = Vec::new();
    let mut jti = 0;
    let mut next = |uri: String, sub_id: Value, payload: Value| {
        jti += 1;
        let mut claims = claims(&jti.to_string(), &uri);
        claims["sub_id"] = sub_id;
        claims["events"][uri] = payload;
        signer.sign(&claims)
    };
    let user = |sub: &str| json!({"format": "iss_sub", "iss": ISSUER, "sub": sub});
    let session_revoked = format!("{CAEP}session-revoked");
    let at = json!({"event_timestamp": 1_600_000_000});
    let complex = json!({"format": "complex", "session": {"format": "opaque", "id": "s"}, "user": user("never")});
    is_accepted(send(&hub, next(session_revoked.clone(), complex, at.clone())).await);
    expected.push(json!({"kind": "session", "iss": ISSUER, "sid": "s", "reason": "session-revoked", "source": "idp"}));
    is_accepted(send(&hub, next(session_revoked.clone(), user("a"), at)).await);
    expected.push(subject("a", 1_600_000_001, "session-revoked"));
    let jwt = json!({"format": "jwt_id", "iss": "https://op.example.com", "jti": "j"});
    is_accepted(send(&hub, next(session_revoked.clone(), jwt, json!({}))).await);
    expected.push(json!({"kind": "token", "iss": "https://op.example.com", "jti": "j", "reason": "session-revoked", "source": "idp"}));
    for name in [
        "account-disabled",
        "account-purged",
        "sessions-revoked",
        "credential-compromise",
        "account-credential-change-required",
    ] {
        is_accepted(send(&hub, next(format!("{RISC}{name}"), user(name), json!({}))).await);
        expected.push(subject(name, 1_700_000_001, name));
    }
    let change = json!({"credential_type": "password", "change_type": "update"});
    is_accepted(send(&hub, next(format!("{CAEP}credential-change"), user("c"), change)).await);
    expected.push(subject("c", 1_700_000_001, "credential-change"));
    let aliases = json!({"format": "aliases", "identifiers": [
        {"format": "email", "email": "e@example.com"}, {"format": "phone_number", "phone_number": "+1"}, user("f")
    ]});
    is_accepted(send(&hub, next(format!("{RISC}account-purged"), aliases, json!({}))).await);
    expected.extend([
        subject("e@example.com", 1_700_000_001, "account-purged"),
        subject("f", 1_700_000_001, "account-purged"),
    ]);
    // An event that has yet to happen does not reach tokens that are yet to be issued.
    let later = json!({"event_timestamp": NOW + 1_000_000});
    is_accepted(send(&hub, next(session_revoked, user("later"), later)).await);
    expected.push(subject("later", NOW + 1, "session-revoked"));
    // These change nothing.
    for (uri, sub_id) in [
        (format!("{CAEP}token-claims-change"), user("never")),
        (format!("{CAEP}device-compliance-change"), user("never")),
        // A new device or address is no reason to end sessions, nor is what somebody may do now.
        (format!("{CAEP}session-established"), user("never")),
        (format!("{CAEP}session-presented"), user("never")),
        (format!("{CAEP}assurance-level-change"), user("never")),
        (format!("{CAEP}risk-level-change"), user("never")),
        (format!("{RISC}identifier-changed"), json!({"format": "email", "email": "never@example.com"})),
        (format!("{RISC}identifier-recycled"), json!({"format": "email", "email": "never@example.com"})),
        (format!("{RISC}recovery-activated"), user("never")),
        (format!("{RISC}recovery-information-changed"), user("never")),
        (format!("{RISC}opt-out-initiated"), user("never")),
        (format!("{RISC}opt-in"), user("never")),
        (format!("{RISC}account-disabled"), json!({"format": "phone_number", "phone_number": "+1"})),
        ("https://schemas.example.com/own".to_owned(), user("never")),
    ] {
        is_accepted(send(&hub, next(uri, sub_id, json!({"claims": {}}))).await);
    }
    assert_eq!(hub.metric("link_messages_total", r#"outcome="unknown_event""#).await, 13.0);
    assert_eq!(hub.metric("link_messages_total", r#"outcome="unsupported_subject""#).await, 1.0);
    expected.sort_by_key(ToString::to_string);
    assert_eq!(revoked(&hub).await, expected);
    hub.stop().await;
}

async fn the_form_of_drafts_and_of_google_is_read(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, push()).await;
    let old = json!({
        "iss": ISSUER, "aud": AUDIENCE, "jti": "756E69717565206964656E746966696572", "iat": 1_508_184_845,
        "events": {format!("{RISC}account-disabled"): {
            "subject": {"subject_type": "iss-sub", "iss": ISSUER, "sub": "7375626A656374"}, "reason": "hijacking"
        }}
    });
    is_accepted(send(&hub, signer.sign(&old)).await);
    let expected = json!({
        "kind": "subject", "iss": ISSUER, "sub": "7375626A656374", "issued_before": 1_508_184_846,
        "reason": "account-disabled", "source": "idp"
    });
    assert_eq!(revoked(&hub).await, [expected]);
    hub.stop().await;
}

async fn ssf_8_1_4_a_verification_event_is_accepted_and_shown(place: &Place) {
    let signer = Signer::es256("k");
    let hub = start(place, &signer, push()).await;
    let event = |name: &str, payload: Value| {
        let mut claims = claims("v", &format!("{SSF}{name}"));
        claims["sub_id"] = json!({"format": "opaque", "id": "f67e39a0a4d34d56b3aa1bc4cff0069f"});
        claims["events"][format!("{SSF}{name}")] = payload;
        signer.sign(&claims)
    };
    is_accepted(send(&hub, event("verification", json!({"state": "VGhpcyBpcyBhbiBleGFtcGxl"}))).await);
    is_accepted(send(&hub, event("stream-updated", json!({"status": "paused"}))).await);
    let report = hub.get("/v1/sources").await.expect(200).json()["sources"][0].clone();
    assert_eq!(report["verification_state"], "VGhpcyBpcyBhbiBleGFtcGxl");
    assert_eq!((&report["last_verification"], &report["last_success"]), (&json!(NOW), &json!(NOW)));
    assert_eq!(hub.metric("link_messages_total", r#"outcome="verification""#).await, 1.0);
    assert_eq!(hub.metric("link_messages_total", r#"outcome="stream_updated""#).await, 1.0);
    assert_eq!(place.rows().await, 0);
    hub.stop().await;
}

both_stores!(
    rfc8935_2_2_accepted_only_after_it_is_persisted,
    rfc8935_2_1_a_repeated_token_is_answered_as_if_it_were_new,
    rfc8935_2_3_a_token_that_is_no_good_is_refused_and_nothing_is_stored,
    without_keys_or_store_the_answer_is_503_and_retry_after,
    account_enabled_lifts_what_stood_by_then,
    every_event_does_what_the_table_says,
);

on_sqlite!(
    what_is_no_transmission_has_the_status_of_its_own,
    rfc7519_4_1_3_an_audience_is_refused_where_nobody_said_who_we_are,
    rfc8935_2_3_who_may_not_send_is_told_so_by_400_too,
    a_source_bound_to_issuers_speaks_of_no_others,
    a_transmitter_speaks_about_itself_or_about_the_issuers_it_is_given,
    the_form_of_drafts_and_of_google_is_read,
    ssf_8_1_4_a_verification_event_is_accepted_and_shown,
);
