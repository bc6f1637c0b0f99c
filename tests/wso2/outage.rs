//! What is sent while the store is away.

use std::time::{Duration, Instant};

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::DatabaseUrl;
use serde_json::json;

use crate::harness::*;
use crate::setup::*;

const NOTIFY: &str = "/internal/data/v1/notify";

fn event(token: &str) -> String {
    json!({"accessToken": token, "type": "token_revocation", "tokenType": "JWT", "expiryTime": FAR * 1000}).to_string()
}

fn sources() -> Vec<serde_json::Value> {
    vec![
        json!({"name": "km", "kind": "wso2_notify"}),
        json!({"name": "keys", "kind": "etcd"}),
        json!({"name": "rest", "kind": "activemq_rest"}),
    ]
}

/// N-14, and more: the sender repeats nothing, so the hub does.
async fn an_event_of_an_outage_is_committed_afterwards_within_its_senders_bounds(place: &Place) {
    let wire = Proxy::new(place).await;
    let mut config = config_with(place, sources());
    config.database_url = DatabaseUrl::new(wire.url(place));
    // What it names without an issuer is this client's own.
    config.clients[3].issuers = Some(vec!["https://sts.example".into()]);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    wire.set(Wire::Cut);
    let began = Instant::now();
    for token in ["a", "b", "c"] {
        let answer = send(&hub, "tokens", Method::POST, NOTIFY, &event(token), "application/json").await.expect(503);
        assert_eq!(answer.code(), "store_unavailable");
        assert!(answer.header("retry-after").is_some());
    }
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert!(hub.metric("link_failures_total", "km").await >= 3.0);
    // These senders are told, and nothing of theirs comes later.
    assert_eq!(put(&hub, "/v2/keys/jti/d", "value=true&ttl=60").await.expect(503).code(), "store_unavailable");
    let rest = send(&hub, "admin", Method::POST, "/api/message/tokenRevocation", "revokedToken=e", FORM).await;
    assert_eq!(rest.expect(503).code(), "store_unavailable");
    // The list is known all the same.
    assert_eq!(get(&hub, "/v2/keys/jti/").await.expect(200).json()["node"]["nodes"], json!([]));
    wire.set(Wire::Good);
    until_names(&hub, &["token a", "token b", "token c"]).await;
    let all = get(&hub, "/v1/revocations").await.json();
    assert_eq!(all["revocations"][0]["jti"], "a", "in their order");
    assert_eq!(all["revocations"][0]["iss"], "https://sts.example");
    until("it is well again", async || (hub.metric("link_up", "km").await == 1.0).then_some(())).await;
    hub.stop().await;
}

/// Nobody who reads once may take "I do not know" for "nothing".
async fn e_7_not_a_byte_before_the_list_is_loaded(place: &Place) {
    use crate::raw::Raw;
    let mut config = config_with(place, sources());
    // Nobody listens on port 1.
    config.database_url = DatabaseUrl::new("postgres://hub@127.0.0.1:1/hub");
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    for path in ["/v2/keys/jti", "/v2/keys/jti/", "/v3/keys/jti/", "/v2/keys/jti/a"] {
        for credentials in ["Authorization: Basic cm9vdDpyb290\r\n", ""] {
            let mut raw = Raw::connect(&hub).await;
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n{credentials}\r\n")).await;
            assert_eq!(raw.rest().await, b"", "{path}");
        }
    }
    let answer = put(&hub, "/v2/keys/jti/a", "value=true&ttl=60").await.expect(503);
    assert_eq!(answer.code(), "store_unavailable");
    hub.stop().await;
}

on_postgres!(an_event_of_an_outage_is_committed_afterwards_within_its_senders_bounds);
on_sqlite!(e_7_not_a_byte_before_the_list_is_loaded);
