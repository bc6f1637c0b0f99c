//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-05 §3).

use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;
use crate::sets::*;

async fn start(place: &Place, settings: Value) -> TestHub {
    let mut config = place.config();
    let mut all = json!({"name": "siem", "kind": "global_token_revocation"});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    config.sources = vec![source(all)];
    config.limits.max_body_bytes = 8000;
    TestHub::start(config, Clock::manual(NOW)).await
}

async fn post(hub: &Api, body: String) -> Answer {
    let request = hub.request(reqwest::Method::POST, "/global-token-revocation").body(body);
    hub.send(request.header("content-type", "application/json; charset=utf-8")).await.unwrap()
}

fn subject(iss: Option<&str>, sub: &str) -> Value {
    let mut one = json!({
        "kind": "subject", "sub": sub, "issued_before": NOW + 1, "reason": "global token revocation", "source": "siem"
    });
    if let Some(iss) = iss {
        one["iss"] = json!(iss);
    }
    one
}

async fn section_3_2_the_examples_are_answered_204_and_revoke_their_subject(place: &Place) {
    let hub =
        start(place, json!({"subject_claim": ["email", "opaque"], "default_issuer": "https://as.example.com"})).await;
    for sub_id in [
        json!({"format": "email", "email": "user@example.com"}),
        json!({"format": "opaque", "id": "e193177dfdc52e3dd03f78c"}),
        json!({"format": "iss_sub", "iss": "https://issuer.example.com/", "sub": "af19c476f1dc4470fa3d0d9a25"}),
    ] {
        // Again it is the same answer, so that nobody learns who is known.
        for _ in 0..2 {
            let answer = post(&hub, json!({"sub_id": sub_id}).to_string()).await.expect(204);
            assert!(answer.body.is_empty());
        }
    }
    let mut expected = [
        subject(Some("https://as.example.com"), "user@example.com"),
        subject(Some("https://as.example.com"), "e193177dfdc52e3dd03f78c"),
        subject(Some("https://issuer.example.com/"), "af19c476f1dc4470fa3d0d9a25"),
    ];
    expected.sort_by_key(ToString::to_string);
    assert_eq!(crate::sets::revoked(&hub).await, expected);
    // What was issued up to this second is hit, and what comes after it is not.
    let check = async |iat: i64| {
        let path = format!("/v1/check?sub=af19c476f1dc4470fa3d0d9a25&iss=https://issuer.example.com/&iat={iat}");
        hub.get(&path).await.expect(200).json()["revoked"].clone()
    };
    assert_eq!((check(NOW).await, check(NOW + 1).await), (json!(true), json!(false)));
    hub.stop().await;
}

async fn section_3_4_2_what_is_malformed_or_of_an_unsupported_format_is_400(place: &Place) {
    let hub = start(place, json!({"subject_claim": ["email"]})).await;
    let email = json!({"format": "email", "email": "user@example.com"});
    let long = json!({"format": "email", "email": "a".repeat(2000)});
    for bad in [
        String::new(),
        "[]".into(),
        "{}".into(),
        json!({"subject": email, "sub_id": email}).to_string(),
        json!({"subjects": email}).to_string(),
        json!({"sub_id": email, "more": 1}).to_string(),
        json!({"sub_id": "user@example.com"}).to_string(),
        json!({"sub_id": {"email": "user@example.com"}}).to_string(),
        json!({"sub_id": {"format": "email"}}).to_string(),
        json!({"sub_id": {"format": "opaque", "id": "a"}}).to_string(),
        json!({"sub_id": {"format": "jwt_id", "iss": "i", "jti": "j"}}).to_string(),
        json!({"sub_id": {"format": "own", "id": "a"}}).to_string(),
        json!({"sub_id": {"format": "complex", "user": email}}).to_string(),
        json!({"sub_id": long}).to_string(),
    ] {
        assert_eq!(post(&hub, bad.clone()).await.expect(400).code(), "invalid_request", "{bad}");
    }
    let request = hub.request(reqwest::Method::POST, "/global-token-revocation").form(&[("sub_id", "a")]);
    assert_eq!(hub.send(request).await.unwrap().expect(415).code(), "unsupported_media_type");
    let body = json!({"sub_id": email}).to_string();
    let large = post(&hub, format!("{}{body}", " ".repeat(8000))).await.expect(413);
    assert_eq!(large.code(), "body_too_large");
    assert_eq!(place.rows().await, 0);
    let aliases = json!({"format": "aliases", "identifiers": [email, {"format": "opaque", "id": "a"}]});
    post(&hub, json!({"sub_id": aliases}).to_string()).await.expect(204);
    assert_eq!(crate::sets::revoked(&hub).await, [subject(None, "user@example.com")]);
    hub.stop().await;
}

/// As Okta's Universal Logout asks.
async fn an_assertion_for_this_endpoint_counts_once_and_is_no_other_token(place: &Place) {
    const ENDPOINT: &str = "https://hub.example.com/global-token-revocation";
    const TOKENS: &str = "https://idp.example.com/oauth2/default";
    const TYPE: &str = "global-token-revocation+jwt";
    let signer = Signer::rs256("k");
    let source = json!({"name": "ul", "kind": "global_token_revocation", "transmitter": ISSUER, "issuers": [TOKENS],
        "default_issuer": TOKENS, "audiences": [ENDPOINT], "subject_claim": ["email"]});
    let mut config = believing(place, &signer, source);
    let admin =
        json!({"name": "admin", "scopes": ["read", "lift", "rules"], "basic": {"username": "a", "password": "b"}});
    config.clients = vec![serde_json::from_value(admin).unwrap()];
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    let claims = |jti: &str| json!({"jti": jti, "iss": ISSUER, "sub": "0oa2", "aud": ENDPOINT, "iat": NOW, "nbf": NOW - 300, "exp": NOW + 300});
    let with = |name: &str, value: Value| {
        let mut claims = claims("x");
        claims[name] = value;
        signer.sign_as(Some(TYPE), &claims)
    };
    let ask = async |hub: &Api, token: String, body: Value| {
        let request = hub.request(reqwest::Method::POST, "/global-token-revocation").bearer_auth(token).json(&body);
        hub.send(request).await.unwrap()
    };
    let email = json!({"sub_id": {"format": "email", "email": "user@example.com"}});
    for (what, bad) in [
        ("a security event", signer.sign(&claims("x"))),
        ("an access token", signer.sign_as(Some("at+jwt"), &claims("x"))),
        ("no type", signer.sign_as(None, &claims("x"))),
        ("another audience", with("aud", json!("https://hub.example.com"))),
        ("no audience", with("aud", json!(null))),
        ("another issuer", with("iss", json!(TOKENS))),
        ("expired", with("exp", json!(NOW - 61))),
        ("no end", with("exp", json!(null))),
        ("not yet", with("nbf", json!(NOW + 61))),
        ("no jti", with("jti", json!(null))),
        ("another key", Signer::rs256("k").sign_as(Some(TYPE), &claims("x"))),
        ("nobody's key", unsigned(&json!({"alg": "none", "typ": TYPE}), &claims("x"), b"")),
    ] {
        println!("{what}");
        assert_eq!(ask(&hub, bad, email.clone()).await.expect(401).code(), "unauthorized");
    }
    assert_eq!(place.number("select count(*) from seen").await, 0);
    // About others it has no say.
    let foreign = json!({"sub_id": {"format": "iss_sub", "iss": "https://other.example.com", "sub": "u"}});
    let answer = ask(&hub, signer.sign_as(Some(TYPE), &claims("x")), foreign).await.expect(403);
    assert_eq!(answer.code(), "issuer_not_allowed");
    assert_eq!(place.rows().await, 0);

    let token = signer.sign_as(Some(TYPE), &claims("a"));
    ask(&hub, token.clone(), email.clone()).await.expect(204);
    // It names its own users by its own name, and they have tokens of the other; `subject` is the name in older drafts.
    let own = json!({"subject": {"format": "iss_sub", "iss": ISSUER, "sub": "00u1"}});
    ask(&hub, signer.sign_as(Some(TYPE), &claims("b")), own).await.expect(204);
    let get = async |hub: &Api| {
        let all = hub.request(reqwest::Method::GET, "/v1/revocations").basic_auth("a", Some("b"));
        hub.send(all).await.unwrap().expect(200).json()["revocations"].as_array().unwrap().clone()
    };
    let all = get(&hub).await;
    let named: Vec<_> = all.iter().map(|one| (&one["sub"], &one["iss"], &one["source"])).collect();
    let (ul, tokens) = (json!("ul"), json!(TOKENS));
    assert_eq!(named, [(&json!("user@example.com"), &tokens, &ul), (&json!("00u1"), &tokens, &ul)]);
    // Shown again it is answered and changes nothing, also after a restart.
    for one in &all {
        let path = format!("/v1/revocations/{}", one["id"].as_str().unwrap());
        hub.send(hub.request(reqwest::Method::DELETE, &path).basic_auth("a", Some("b"))).await.unwrap().expect(200);
    }
    ask(&hub, token.clone(), email.clone()).await.expect(204);
    hub.stop().await;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    ask(&hub, token.clone(), email).await.expect(204);
    assert!(get(&hub).await.is_empty());
    // And it opens nothing else.
    hub.send(hub.request(reqwest::Method::GET, "/v1/revocations").bearer_auth(token)).await.unwrap().expect(401);
    hub.stop().await;
}

async fn section_3_2_the_request_must_be_authenticated(place: &Place) {
    let mut config = place.config();
    config.sources = vec![source(json!({"name": "siem", "kind": "global_token_revocation"}))];
    let client = |name: &str, scopes: &[&str], issuers: Option<&[&str]>| {
        let bearer = json!({"token": format!("token-of-{name}")});
        serde_json::from_value(json!({"name": name, "scopes": scopes, "issuers": issuers, "bearer": bearer})).unwrap()
    };
    config.clients = vec![
        client("both", &["publish", "rules"], None),
        client("bound", &["publish", "rules"], Some(&["https://other.example.com"])),
        client("publish", &["publish"], None),
        client("rules", &["rules"], None),
        client("read", &["read", "admin", "lift"], None),
    ];
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    let body = json!({"sub_id": {"format": "iss_sub", "iss": "https://issuer.example.com/", "sub": "a"}}).to_string();
    let by = async |client: &str| {
        let request = hub.request(reqwest::Method::POST, "/global-token-revocation").body(body.clone());
        let request = request.header("content-type", "application/json");
        hub.send(request.bearer_auth(format!("token-of-{client}"))).await.unwrap()
    };
    assert!(post(&hub, body.clone()).await.expect(401).header("www-authenticate").is_some());
    by("nobody").await.expect(401);
    for client in ["publish", "rules", "read"] {
        assert_eq!(by(client).await.expect(403).code(), "missing_scope");
    }
    assert_eq!(by("bound").await.expect(403).code(), "issuer_not_allowed");
    assert_eq!(place.rows().await, 0);
    by("both").await.expect(204);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

both_stores!(section_3_2_the_examples_are_answered_204_and_revoke_their_subject);

on_sqlite!(
    an_assertion_for_this_endpoint_counts_once_and_is_no_other_token,
    section_3_4_2_what_is_malformed_or_of_an_unsupported_format_is_400,
    section_3_2_the_request_must_be_authenticated,
);
