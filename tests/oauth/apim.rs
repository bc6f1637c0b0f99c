//! Azure API Management: the invalidation operation, and the outlet that calls an operation for each revocation.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::{Json, Router};
use parking_lot::Mutex;
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;

const PATH: &str = "/shared/security/invalidate";

fn config(place: &Place, issuer: &TestIssuer, origins: &[&str]) -> Config {
    Config {
        issuers: vec![issuer.config(json!({"unknown_key_interval": "50ms"}))],
        sources: vec![source(json!({"name": "spa", "kind": "apim_invalidate", "cors_origins": origins}))],
        ..place.config()
    }
}

async fn the_token_that_calls_is_the_one_that_dies(place: &Place) {
    let key = Key::rsa("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer, &[]), Clock::manual(NOW)).await;
    // As Entra writes them: version 1 has appid, version 2 azp; neither has a jti, both have a uti.
    let v1 = json!({"jti": null, "uti": "u1", "appid": "app", "oid": "who", "iat": NOW - 60, "exp": NOW + 300});
    let v2 = json!({"jti": null, "uti": "u2", "azp": "app", "oid": "who", "iat": NOW - 60, "exp": NOW + 301});
    let ticks = |at: i64| 621_355_968_000_000_000 + at * 10_000_000;
    for (path, claims, exp) in [(PATH, v1, NOW + 300), ("/shared/security/v1/invalidate", v2, NOW + 301)] {
        let token = key.token(&with(&issuer.claims(""), claims));
        let form = [("token", token.as_str())];
        let check = async || hub.send(hub.request(Method::POST, "/v1/check").form(&form)).await.unwrap().json();
        assert_eq!(check().await["revoked"], false);
        for _ in 0..2 {
            let answer = hub.send(hub.request(Method::POST, path).bearer_auth(&token)).await.unwrap().expect(200);
            assert!(answer.body.is_empty());
            let key = format!("app-who-{}-{}", ticks(exp), ticks(NOW - 60));
            assert_eq!(answer.header("jwt-id"), Some(key.as_str()));
            assert_eq!(answer.header("jwt-exp"), Some((exp - NOW).to_string().as_str()));
        }
        assert_eq!(check().await["revoked"], true);
    }
    let live = hub.snapshot().await;
    // Each by its digest, and by what a gateway may compare instead of a jti.
    assert_eq!(live.map.len(), 4);
    assert!(live.map.values().any(|r| r["jti"] == "u2" && r["iss"] == issuer.iss && r["exp"] == NOW + 301));
    hub.stop().await;
}

async fn anything_else_is_the_401_of_such_set_ups(place: &Place) {
    let (key, other) = (Key::rsa("k"), Key::rsa("k"));
    let issuer = TestIssuer::start(&[&key]).await;
    let mut config = config(place, &issuer, &[]);
    config.sources[0].audiences = vec!["hub".into()];
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let good = issuer.claims("a");
    let tokens = [
        other.token(&good),
        key.token(&with(&good, json!({"aud": "another"}))),
        key.token_with(&json!({"alg": "none"}), &good),
        hmac_token(b"", "k", &good),
        key.token(&with(&good, json!({"exp": NOW - 61}))),
        key.token(&with(&good, json!({"exp": null}))),
        key.token(&with(&good, json!({"iss": "https://evil.example"}))),
        format!("{}=", key.token(&good)),
        "opaque".to_owned(),
        String::new(),
    ];
    let mut requests: Vec<_> = tokens.iter().map(|t| hub.request(Method::POST, PATH).bearer_auth(t)).collect();
    requests.push(hub.request(Method::POST, PATH));
    requests.push(hub.request(Method::POST, PATH).basic_auth("a", Some("b")));
    for (i, request) in requests.into_iter().enumerate() {
        let answer = hub.send(request).await.unwrap().expect(401);
        let body = r#"{"message":"Unauthorized. Access token is missing or invalid.","statusCode":"401"}"#;
        assert_eq!(answer.json(), serde_json::from_str::<Value>(body).unwrap(), "{i}");
        assert!(answer.header("www-authenticate").is_some());
    }
    assert!(hub.snapshot().await.map.is_empty());
    hub.send(hub.request(Method::POST, PATH).bearer_auth(key.token(&good))).await.unwrap().expect(200);
    hub.stop().await;
}

async fn without_keys_it_is_503_and_the_token_still_lives(place: &Place) {
    let key = Key::rsa("k");
    let issuer = TestIssuer::start(&[&key]).await;
    issuer.answer(500);
    let hub = TestHub::start(config(place, &issuer, &[]), Clock::manual(NOW)).await;
    let token = key.token(&issuer.claims("a"));
    let invalidate = async || hub.send(hub.request(Method::POST, PATH).bearer_auth(&token)).await.unwrap();
    let answer = invalidate().await.expect(503);
    assert_eq!(answer.code(), "keys_unavailable");
    assert!(answer.header("retry-after").is_some() && hub.snapshot().await.map.is_empty());
    issuer.answer(200);
    until("the issuer is back", async || (invalidate().await.status == 200).then_some(())).await;
    hub.stop().await;
}

async fn pages_of_configured_origins_may_call_and_others_may_not(place: &Place) {
    let key = Key::rsa("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer, &["https://spa.example"]), Clock::manual(NOW)).await;
    let preflight = async |origin: &str| {
        let request = hub.request(Method::OPTIONS, PATH).header("origin", origin);
        let request = request.header("access-control-request-method", "POST");
        hub.send(request.header("access-control-request-headers", "authorization")).await.unwrap().expect(200)
    };
    let answer = preflight("https://spa.example").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://spa.example"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), None);
    let token = key.token(&issuer.claims("a"));
    let request = hub.request(Method::POST, PATH).header("origin", "https://spa.example").bearer_auth(token);
    let answer = hub.send(request).await.unwrap().expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://spa.example"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("jwt-id"));
    hub.stop().await;
}

/// The operation of a gateway: keeps what it was called with, and refuses as long as it is told to.
#[derive(Clone, Default)]
pub struct Gateway {
    pub called: Arc<Mutex<Vec<Value>>>,
    refused: Arc<Mutex<usize>>,
    down: Arc<Mutex<bool>>,
    /// So many more are taken, and then it is down.
    takes: Arc<Mutex<Option<usize>>>,
    /// How long a call takes.
    pause: Arc<Mutex<Duration>>,
}

impl Gateway {
    pub async fn start(&self) -> String {
        let own = self.clone();
        let operation = async move |headers: HeaderMap, Json(body): Json<Value>| {
            if headers["authorization"] != "Bearer to-the-gateway" {
                return StatusCode::UNAUTHORIZED;
            }
            let pause = *own.pause.lock();
            tokio::time::sleep(pause).await;
            if let Some(left) = &mut *own.takes.lock() {
                *own.down.lock() = *left == 0;
                *left = left.saturating_sub(1);
            }
            if *own.down.lock() {
                *own.refused.lock() += 1;
                return StatusCode::SERVICE_UNAVAILABLE;
            }
            own.called.lock().push(body);
            StatusCode::NO_CONTENT
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, Router::new().route("/revocations", post(operation))).into_future());
        format!("http://{address}/revocations")
    }

    /// The values of `jti`, in the order of the calls.
    fn tokens(&self) -> Vec<String> {
        self.called.lock().iter().filter_map(|body| Some(body["jti"].as_str()?.to_owned())).collect()
    }
}

async fn every_revocation_is_delivered_in_order_also_after_a_restart(place: &Place) {
    let gateway = Gateway::default();
    let url = gateway.start().await;
    let outlet = json!({"name": "apim", "kind": "apim", "url": url, "bearer": "to-the-gateway"});
    let config = Config { outlets: vec![serde_json::from_value(outlet).unwrap()], ..place.config() };
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    let first = hub.revoke(&json!({"jti": "t0", "exp": NOW + 600})).await;
    until("the first", async || (gateway.tokens().len() == 1).then_some(())).await;
    let body = gateway.called.lock()[0].clone();
    assert_eq!((&body["event"], &body["ttl"], &body["kind"]), (&json!("revoked"), &json!(600), &json!("token")));

    // Refused: order is kept, so nothing overtakes; nothing is lost by a restart meanwhile.
    *gateway.down.lock() = true;
    for i in 1..4 {
        hub.revoke(&json!({"jti": format!("t{i}"), "exp": NOW + 600})).await;
    }
    hub.revoke(&json!({"jti": "short", "exp": NOW + 10})).await;
    until("a refusal", async || (*gateway.refused.lock() > 0).then_some(())).await;
    hub.stop().await;
    assert_eq!(gateway.tokens(), ["t0"]);
    // What has expired when the gateway is back is nobody's business any more.
    let hub = TestHub::start(config, Clock::manual(NOW + 20)).await;
    *gateway.down.lock() = false;
    hub.lift(&first).await;
    let lifted = async || gateway.called.lock().iter().any(|body| body["event"] == "lifted").then_some(());
    until("the lift", lifted).await;
    assert_eq!(gateway.tokens(), ["t0", "t1", "t2", "t3", "t0"]);
    hub.stop().await;
}

async fn what_was_delivered_before_a_failure_is_not_sent_again_also_after_a_restart(place: &Place) {
    let gateway = Gateway::default();
    let url = gateway.start().await;
    let outlet = json!({"name": "apim", "kind": "apim", "url": url, "bearer": "to-the-gateway"});
    let config = Config { outlets: vec![serde_json::from_value(outlet).unwrap()], ..place.config() };
    let names: Vec<String> = (0..60).map(|i| format!("t{i:02}")).collect();
    let items: Vec<Value> = names.iter().map(|jti| json!({"jti": jti, "exp": NOW + 600})).collect();
    *gateway.takes.lock() = Some(7);
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    hub.post(&json!(items)).await.expect(200);
    // It fails in the middle of the page, and goes on there by itself.
    until("two refusals", async || (*gateway.refused.lock() > 1).then_some(())).await;
    assert_eq!(gateway.tokens(), names[..7]);
    *gateway.takes.lock() = Some(5);
    until("more", async || (gateway.tokens().len() == 12).then_some(())).await;
    until("a refusal after them", async || (*gateway.takes.lock() == Some(0) && *gateway.down.lock()).then_some(()))
        .await;
    hub.stop().await;
    // After a restart too.
    *gateway.pause.lock() = Duration::from_millis(50);
    (*gateway.takes.lock(), *gateway.down.lock()) = (None, false);
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    until("a part of the rest", async || (gateway.tokens().len() > 30).then_some(())).await;
    assert_eq!(gateway.tokens()[..31], names[..31]);
    // Stopped while it calls: what comes again is a part, nothing is missing, and the order stays.
    hub.stop().await;
    let before = gateway.tokens();
    *gateway.pause.lock() = Duration::ZERO;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    until("all", async || (gateway.tokens().last() == names.last()).then_some(())).await;
    let after = gateway.tokens().split_off(before.len());
    assert_eq!(after, names[names.len() - after.len()..], "in order, to the end");
    assert!(after.len() >= names.len() - before.len() && after.len() < names.len() - 12, "{}", after.len());
    hub.stop().await;
}

both_stores!(every_revocation_is_delivered_in_order_also_after_a_restart);
on_sqlite!(
    what_was_delivered_before_a_failure_is_not_sent_again_also_after_a_restart,
    the_token_that_calls_is_the_one_that_dies,
    anything_else_is_the_401_of_such_set_ups,
    without_keys_it_is_503_and_the_token_still_lives,
    pages_of_configured_origins_may_call_and_others_may_not,
);
