//! Global Token Revocation (draft-parecki-oauth-global-token-revocation-05 §3).

use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;
use crate::sets::source;

async fn start(place: &Place, settings: Value) -> TestHub {
    let mut config = place.config();
    let mut all = json!({"name": "siem", "kind": "global_token_revocation"});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    config.sources = vec![source(all)];
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
        json!({"subject": email}).to_string(),
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
    assert_eq!(place.rows().await, 0);
    let aliases = json!({"format": "aliases", "identifiers": [email, {"format": "opaque", "id": "a"}]});
    post(&hub, json!({"sub_id": aliases}).to_string()).await.expect(204);
    assert_eq!(crate::sets::revoked(&hub).await, [subject(None, "user@example.com")]);
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
    section_3_4_2_what_is_malformed_or_of_an_unsupported_format_is_400,
    section_3_2_the_request_must_be_authenticated,
);
