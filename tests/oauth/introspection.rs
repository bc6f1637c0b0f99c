//! RFC 7662: `POST /introspect`. Which tokens are good is in `issuers.rs`; this is about the manners.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::json;

use crate::harness::*;
use crate::issuer::*;

fn config(place: &Place, issuer: &TestIssuer) -> Config {
    Config {
        issuers: vec![issuer.config(json!({}))],
        clients: vec![client("gateway", &["read"]), client("sts", &["publish"])],
        ..place.config()
    }
}

async fn ask(hub: &Api, who: &str, token: &str) -> Answer {
    let form = [("token", token), ("token_type_hint", "refresh_token")];
    hub.send(hub.request(Method::POST, "/introspect").basic_auth(who, Some("secret")).form(&form)).await.unwrap()
}

async fn an_active_token_is_told_by_its_claims_and_an_inactive_one_by_nothing(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let more = json!({
        "aud": ["hub", "api"], "nbf": NOW as f64 - 0.5, "scope": "a b", "username": "Alice", "email": "alice@example.com",
        "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
    });
    let token = key.token(&with(&issuer.claims("a"), more));
    let answer = ask(&hub, "gateway", &token).await.expect(200);
    assert_eq!(
        answer.json(),
        json!({
            "active": true, "iss": issuer.iss, "sub": "alice", "aud": ["hub", "api"], "jti": "a", "client_id": "app",
            "exp": NOW + 300, "iat": NOW, "nbf": NOW - 1, "scope": "a b", "username": "Alice", "token_type": "DPoP",
            "cnf": {"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}
        })
    );
    assert_eq!((answer.header("cache-control"), answer.header("pragma")), (Some("no-store"), Some("no-cache")));
    assert!(answer.header("revocation-cursor").is_some());
    let listed = key.token(&with(&issuer.claims("b"), json!({"scp": ["a", "b"], "iat": null})));
    let listed = ask(&hub, "gateway", &listed).await.json();
    assert_eq!((&listed["scope"], &listed["token_type"]), (&json!("a b"), &json!("Bearer")));

    for token in ["opaque", "a.b.c", &format!("{token}=")] {
        assert_eq!(ask(&hub, "gateway", token).await.expect(200).text(), r#"{"active":false}"#);
    }
    // Revoked by its own name, by Entra's name for it, and by every rule that hits it.
    let entra = key.token(&with(&issuer.claims(""), json!({"jti": null, "uti": "u-1"})));
    assert_eq!(ask(&hub, "gateway", &entra).await.json()["active"], true);
    let rules = [
        json!({"jti": "a", "ttl": 300}),
        json!({"jti": "u-1", "ttl": 300}),
        json!({"sub": "alice", "iss": issuer.iss, "ttl": 300}),
    ];
    let sts = |item| hub.request(Method::POST, "/v1/revocations").basic_auth("sts", Some("secret")).json(item);
    hub.send(sts(&rules[0])).await.unwrap().expect(201);
    hub.send(sts(&rules[1])).await.unwrap().expect(201);
    for token in [&token, &entra] {
        assert_eq!(ask(&hub, "gateway", token).await.expect(200).text(), r#"{"active":false}"#);
    }
    hub.stop().await;
    let mut open = config(place, &issuer);
    open.clients.clear();
    let hub = TestHub::start(open, Clock::manual(NOW)).await;
    let other = key.token(&issuer.claims("other"));
    assert_eq!(ask(&hub, "anybody", &other).await.json()["active"], true);
    hub.revoke(&rules[2]).await;
    assert_eq!(ask(&hub, "anybody", &other).await.text(), r#"{"active":false}"#);
    hub.stop().await;
}

async fn the_caller_has_to_say_who_it_is_and_may_read(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let token = key.token(&issuer.claims("a"));
    let post = |form: &[(&str, &str)]| hub.send(hub.request(Method::POST, "/introspect").form(form));
    let nobody = post(&[("token", &token)]).await.unwrap().expect(401);
    assert_eq!(nobody.json()["error"], "invalid_client");
    assert!(nobody.header("www-authenticate").is_some());
    let form = [("token", &*token), ("client_id", "gateway"), ("client_secret", "secret")];
    assert_eq!(post(&form).await.unwrap().expect(200).json()["active"], true);
    let wrong = hub.request(Method::POST, "/introspect").basic_auth("gateway", Some("x")).form(&[("token", &token)]);
    hub.send(wrong).await.unwrap().expect(401);
    assert_eq!(ask(&hub, "sts", &token).await.expect(403).json()["error"], "insufficient_scope");
    assert_eq!(ask(&hub, "gateway", "").await.expect(400).json()["error"], "invalid_request");
    hub.stop().await;
}

async fn before_the_list_is_loaded_it_is_503(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let proxy = Proxy::new(place).await;
    proxy.set(Wire::Cut);
    let mut config = config(place, &issuer);
    config.database_url = revocation_hub::config::DatabaseUrl::new(proxy.url(place));
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    let answer = ask(&hub, "gateway", &key.token(&issuer.claims("a"))).await.expect(503);
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    proxy.set(Wire::Good);
    hub.until_ready().await;
    assert_eq!(ask(&hub, "gateway", &key.token(&issuer.claims("a"))).await.expect(200).json()["active"], true);
    hub.stop().await;
}

on_sqlite!(
    an_active_token_is_told_by_its_claims_and_an_inactive_one_by_nothing,
    the_caller_has_to_say_who_it_is_and_may_read,
);
on_postgres!(before_the_list_is_loaded_it_is_503);
