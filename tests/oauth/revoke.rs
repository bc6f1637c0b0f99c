//! RFC 7009: `POST /revoke`.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;

fn config(place: &Place, issuer: &TestIssuer) -> Config {
    Config {
        issuers: vec![issuer.config(json!({"unknown_key_interval": "50ms"}))],
        sources: vec![source(json!({"name": "oauth", "kind": "rfc7009"}))],
        clients: vec![
            client("app", &["read"]),
            client("sts", &["publish", "read"]),
            serde_json::from_value(json!({
                "name": "bound", "scopes": ["publish"], "issuers": ["https://other.example"],
                "basic": {"username": "bound", "password": "secret"}
            }))
            .unwrap(),
            serde_json::from_value(json!({
                "name": "odd", "scopes": ["read"], "basic": {"username": "odd app", "password": "p%+é"}
            }))
            .unwrap(),
        ],
        ..place.config()
    }
}

async fn post(hub: &Api, who: &str, form: &[(&str, &str)]) -> Answer {
    hub.send(hub.request(Method::POST, "/revoke").basic_auth(who, Some("secret")).form(form)).await.unwrap()
}

async fn revoke(hub: &Api, who: &str, token: &str) -> Answer {
    post(hub, who, &[("token", token)]).await
}

/// The live revocations, as the client `app` sees them.
async fn live(hub: &Api) -> Vec<Value> {
    let request = hub.request(Method::GET, "/v1/revocations").basic_auth("app", Some("secret"));
    hub.send(request).await.unwrap().expect(200).json()["revocations"].as_array().unwrap().clone()
}

#[track_caller]
fn is_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, answer.json()["error"].as_str().unwrap()), (status, error), "{}", answer.text());
    assert!(answer.json()["error_description"].is_string());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    not_cached(answer);
}

#[track_caller]
fn not_cached(answer: &Answer) {
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), (Some("no-store"), Some("no-cache")));
}

async fn a_token_that_verifies_is_revoked_by_issuer_and_jti_until_it_expires(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let token = key.token(&issuer.claims("a"));
    for _ in 0..2 {
        let answer = post(&hub, "app", &[("token", &token), ("token_type_hint", "access_token")]).await.expect(200);
        assert!(answer.body.is_empty());
        not_cached(&answer);
    }
    let [only] = &live(&hub).await[..] else { panic!("one") };
    assert_eq!((&only["kind"], &only["jti"], &only["iss"]), (&json!("token"), &json!("a"), &json!(issuer.iss)));
    assert_eq!((&only["exp"], &only["source"]), (&json!(NOW + 300), &json!("oauth")));
    // Without a jti by the signing input; before its time; with a hint that nobody knows, or that is wrong.
    let nameless = key.token(&with(&issuer.claims(""), json!({"jti": null})));
    revoke(&hub, "app", &nameless).await.expect(200);
    revoke(&hub, "app", &key.token(&with(&issuer.claims("early"), json!({"nbf": NOW + 200})))).await.expect(200);
    let (hinted, wrongly) = (key.token(&issuer.claims("hint")), key.token(&issuer.claims("refresh")));
    post(&hub, "app", &[("token", &hinted), ("token_type_hint", "pct")]).await.expect(200);
    post(&hub, "app", &[("token", &wrongly), ("token_type_hint", "refresh_token")]).await.expect(200);
    let kinds: Vec<Value> = live(&hub).await.iter().map(|r| r["kind"].clone()).collect();
    assert_eq!(kinds, ["token", "token_hash", "token", "token", "token"]);
    // An opaque one by its hash.
    revoke(&hub, "app", "opaque-token").await.expect(200);
    assert_eq!(live(&hub).await[5]["sha256"].as_str().unwrap().len(), 64);
    assert_eq!(hub.metric("link_messages_total", "outcome=\"committed\"").await, 7.0);
    hub.stop().await;
}

async fn rfc7009_2_2_invalid_tokens_are_200_and_nothing_is_stored_unless_the_caller_may_publish(place: &Place) {
    let (key, other) = (Key::p256("k"), Key::p256("k"));
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let claims = issuer.claims("a");
    let invalid = [
        other.token(&claims),
        key.token(&with(&claims, json!({"iss": "https://unknown.example"}))),
        key.token(&with(&claims, json!({"exp": NOW - 60}))),
        key.token_with(&json!({"alg": "none"}), &claims),
        hmac_token(key.pem().as_bytes(), "k", &claims),
        format!("{}=", key.token(&claims)),
        "not a token".into(),
    ];
    for token in &invalid {
        revoke(&hub, "app", token).await.expect(200);
    }
    assert_eq!(place.rows().await, 0);
    for reason in ["wrong_signature", "unknown_issuer", "expired", "wrong_algorithm", "malformed_token"] {
        let count = hub.metric("link_messages_total", &format!("outcome=\"{reason}\"")).await;
        let twice = ["malformed_token", "wrong_algorithm"].contains(&reason);
        assert_eq!(count, if twice { 2.0 } else { 1.0 }, "{reason}");
    }
    // A publisher is believed, but not when a reader could take the text for another token.
    revoke(&hub, "sts", &invalid[0]).await.expect(200);
    revoke(&hub, "sts", &invalid[1]).await.expect(200);
    assert_eq!(live(&hub).await.len(), 2);
    is_error(&revoke(&hub, "sts", &invalid[5]).await, 400, "invalid_request");
    is_error(&revoke(&hub, "bound", &key.token(&claims)).await, 400, "unauthorized_client");
    assert_eq!(place.rows().await, 2);
    hub.stop().await;
}

async fn rfc7009_2_1_a_client_cannot_revoke_what_was_issued_to_another(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let theirs = key.token(&with(&issuer.claims("a"), json!({"client_id": null, "azp": "other"})));
    is_error(&revoke(&hub, "app", &theirs).await, 400, "unauthorized_client");
    assert_eq!(place.rows().await, 0);
    revoke(&hub, "sts", &theirs).await.expect(200);
    revoke(&hub, "app", &key.token(&with(&issuer.claims("b"), json!({"client_id": null})))).await.expect(200);
    assert_eq!(live(&hub).await.len(), 2);
    hub.stop().await;
}

async fn rfc7009_2_2_1_a_refresh_token_is_an_unsupported_token_type(place: &Place) {
    let (key, other) = (Key::p256("k"), Key::p256("k"));
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    for who in ["app", "sts"] {
        for token in ["opaque", &other.token(&issuer.claims("a"))] {
            let answer = post(&hub, who, &[("token", token), ("token_type_hint", "refresh_token")]).await;
            is_error(&answer, 400, "unsupported_token_type");
        }
    }
    assert_eq!(place.rows().await, 0);
    hub.stop().await;
}

async fn rfc6749_2_3_clients_authenticate_by_header_or_form(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let plain = |form: &[(&str, &str)]| hub.send(hub.request(Method::POST, "/revoke").form(form));
    plain(&[("token", "a"), ("client_id", "app"), ("client_secret", "secret")]).await.unwrap().expect(200);
    // Both halves are form-encoded before they are put into the header (§2.3.1); most clients do not.
    for (name, password) in [("odd app", "p%+é"), ("odd+app", "p%25%2B%C3%A9")] {
        let request = hub.request(Method::POST, "/revoke").basic_auth(name, Some(password)).form(&[("token", "b")]);
        hub.send(request).await.unwrap().expect(200);
    }
    let wrong: [&[(&str, &str)]; 5] = [
        &[("token", "c")],
        &[("token", "c"), ("client_id", "app")],
        &[("token", "c"), ("client_id", "app"), ("client_secret", "wrong")],
        &[("token", "c"), ("client_id", "nobody"), ("client_secret", "secret")],
        &[("token", "c"), ("client_id", "app"), ("client_secret", "")],
    ];
    for form in wrong {
        let answer = plain(form).await.unwrap();
        is_error(&answer, 401, "invalid_client");
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"));
    }
    let two = [("token", "c"), ("client_id", "app"), ("client_secret", "secret")];
    is_error(&post(&hub, "app", &two).await, 400, "invalid_request");
    is_error(&plain(&[("token", "c"), ("client_secret", "secret")]).await.unwrap(), 400, "invalid_request");
    assert_eq!(live(&hub).await.len(), 2);
    hub.stop().await;
}

async fn rfc6749_5_2_malformed_requests_are_told_so_in_oauths_form(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let mut config = config(place, &issuer);
    config.limits.max_body_bytes = 2000;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    for form in [&[("other", "x")][..], &[("token", "")], &[("token", "a"), ("token", "b")]] {
        is_error(&post(&hub, "app", form).await, 400, "invalid_request");
    }
    let json = hub.request(Method::POST, "/revoke").basic_auth("app", Some("secret")).json(&json!({"token": "a"}));
    is_error(&hub.send(json).await.unwrap(), 400, "invalid_request");
    is_error(&revoke(&hub, "app", &"a".repeat(3000)).await, 413, "invalid_request");
    assert_eq!(hub.get("/revoke").await.expect(405).header("allow"), Some("POST"));
    assert_eq!(place.rows().await, 0);
    hub.stop().await;
}

async fn rfc7009_2_2_1_it_is_503_when_the_keys_are_away_because_the_token_still_lives(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    issuer.answer(500);
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let token = key.token(&issuer.claims("a"));
    let answer = revoke(&hub, "app", &token).await;
    is_error(&answer, 503, "temporarily_unavailable");
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(place.rows().await, 0);
    // Who is believed needs no keys.
    revoke(&hub, "sts", &token).await.expect(200);
    hub.stop().await;
}

async fn rfc7009_2_2_1_it_is_503_when_the_store_is_away(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let proxy = Proxy::new(place).await;
    let mut config = config(place, &issuer);
    config.database_url = revocation_hub::config::DatabaseUrl::new(proxy.url(place));
    config.store.timeout = std::time::Duration::from_millis(500);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    proxy.set(Wire::Cut);
    let answer = revoke(&hub, "app", &key.token(&issuer.claims("a"))).await;
    is_error(&answer, 503, "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(hub.metric("link_failures_total", "name=\"oauth\"").await >= 1.0);
    proxy.set(Wire::Good);
    until("the store is back", async || {
        (revoke(&hub, "app", &key.token(&issuer.claims("a"))).await.status == 200).then_some(())
    })
    .await;
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

both_stores!(
    a_token_that_verifies_is_revoked_by_issuer_and_jti_until_it_expires,
    rfc7009_2_2_invalid_tokens_are_200_and_nothing_is_stored_unless_the_caller_may_publish,
);
on_sqlite!(
    rfc7009_2_1_a_client_cannot_revoke_what_was_issued_to_another,
    rfc7009_2_2_1_a_refresh_token_is_an_unsupported_token_type,
    rfc6749_2_3_clients_authenticate_by_header_or_form,
    rfc6749_5_2_malformed_requests_are_told_so_in_oauths_form,
    rfc7009_2_2_1_it_is_503_when_the_keys_are_away_because_the_token_still_lives,
);
on_postgres!(rfc7009_2_2_1_it_is_503_when_the_store_is_away);
