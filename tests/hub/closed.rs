//! Closed: when the hub does not know, it says so, and never with an empty list.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use revocation_hub::cli::promise::{Promise, Start};
use revocation_hub::clock::Clock;
use sqlx::{Connection, Executor, SqliteConnection};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::*;

const WSO2_PATHS: [&str; 3] =
    ["/internal/data/v1/revokedjwt", "/apim43/internal/data/v1/revokedjwt", "/throttle/data/v1/revokedjwt"];

/// Sends a request by hand and returns every byte that comes back until the connection ends.
async fn raw(api: &Api, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(api.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end without a byte too.
    let _ = within("the connection ends", stream.read_to_end(&mut answer)).await;
    answer
}

/// Every way to ask a hub that has not loaded its list.
async fn nothing_is_answered(hub: &TestHub) {
    let refused = |answer: Answer, what: &str| {
        assert_eq!((answer.status, &*answer.code()), (503, "not_loaded"), "{what}");
        let wait: u32 = answer.header("retry-after").unwrap_or_else(|| panic!("{what}")).parse().unwrap();
        assert!((1..=10).contains(&wait), "{what}");
    };
    for path in [
        "/v1/revocations",
        "/v1/revocations?since=aaaaaaaa-0",
        "/v1/revocations/00000000000000000000000000000000",
        "/v1/check?jti=a",
        "/v1/events",
        "/v1/events?since=earliest",
        "/v1/events?since=aaaaaaaa-0",
    ] {
        refused(hub.get(path).await, path);
    }
    // Whoever has a copy already must not be told that it is still good.
    let conditional = hub.request(Method::GET, "/v1/revocations").header("if-none-match", "*");
    refused(hub.send(conditional).await.unwrap(), "304");
    let lines = hub.request(Method::GET, "/v1/revocations").header("accept", "application/x-ndjson");
    refused(hub.send(lines).await.unwrap(), "NDJSON");
    let form = hub.request(Method::POST, "/v1/check").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    refused(hub.send(form.body("token=opaque")).await.unwrap(), "check by token");
    let opened = hub.try_open(Promise::new(Start::Now), Ask::Header).await;
    let (_, answer) = opened.err().expect("no stream");
    refused(answer.unwrap(), "a stream");

    // WSO2's gateways take any HTTP answer for success, so they get no byte at all; 1.0 or 1.1, with whatever they send.
    let before = hub.metric("wso2_hung_up_total", "").await;
    for path in WSO2_PATHS {
        for version in ["1.0", "1.1"] {
            for more in
                ["", "Authorization: Basic YWRtaW46YWRtaW4=\r\n", "Connection: close\r\n", "Accept-Encoding: gzip\r\n"]
            {
                let request = format!("GET {path}?organizationId=ALL HTTP/{version}\r\nHost: hub\r\n{more}\r\n");
                assert_eq!(raw(hub, &request).await, b"", "{request}");
            }
        }
    }
    assert_eq!(hub.metric("wso2_hung_up_total", "").await - before, 24.0);

    assert_eq!(hub.get("/readyz").await.expect(503).header("retry-after"), Some("1"));
    assert_eq!(hub.get("/livez").await.status, 200);
}

/// Afterwards everything is answered, and with the whole list.
async fn everything_is_answered(hub: &TestHub) {
    assert_eq!(hub.snapshot().await.map.len(), 2);
    assert_eq!(hub.get("/v1/check?jti=a&iss=https://sts.example").await.expect(200).json()["revoked"], true);
    let snapshot = hub.snapshot().await;
    let mut map = Map::new();
    hub.stream(Start::Earliest).await.follow(&mut map, snapshot.cursor.seq).await;
    assert_eq!(map, snapshot.map);
    for path in WSO2_PATHS {
        let answer = raw(hub, &format!("GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n")).await;
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains(r#":"a","#) && answer.contains(r#":"b","#), "{answer}");
    }
}

async fn fill(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token("a")).await;
    hub.revoke(&token("b")).await;
    hub.stop().await;
}

async fn before_postgres_was_read_nothing_is_answered(place: &Place) {
    fill(place).await;
    let wire = Proxy::new(place).await;
    for how in [Wire::Cut, Wire::Mute] {
        wire.set(how);
        let mut config = config(&wire.url(place));
        config.store.timeout = Duration::from_secs(1);
        let hub = TestHub::launch(config, Clock::manual(NOW)).await;
        nothing_is_answered(&hub).await;
        let refused = hub.post(&token("c")).await.expect(503);
        assert!(refused.header("retry-after").is_some());
        wire.set(Wire::Good);
        hub.until_ready().await;
        everything_is_answered(&hub).await;
        hub.stop().await;
    }
}

async fn before_sqlite_was_read_nothing_is_answered(place: &Place) {
    fill(place).await;
    let mut holder = SqliteConnection::connect(&place.url).await.unwrap();
    holder.execute("begin immediate").await.unwrap();
    let mut config = place.config();
    config.store.timeout = Duration::from_millis(500);
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    nothing_is_answered(&hub).await;
    assert_eq!(hub.post(&token("c")).await.status, 503);
    holder.execute("rollback").await.unwrap();
    hub.until_ready().await;
    everything_is_answered(&hub).await;
}

/// A log that has lost its row is not an empty log.
async fn a_broken_log_is_not_an_empty_list(place: &Place) {
    fill(place).await;
    let mut config = place.config();
    config.feed.max_lag = Duration::from_secs(1);
    // It would begin a new log by itself otherwise.
    config.migrate_on_start = false;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let before = hub.snapshot().await;
    place.sql("create table kept as select * from log; delete from log").await;
    until("not ready", async || (!hub.is_ready().await).then_some(())).await;
    assert_eq!(hub.snapshot().await, before);
    let refused = hub.post(&token("c")).await;
    assert!(refused.status >= 500, "{refused:?}");
    place.sql("insert into log select * from kept").await;
    hub.until_ready().await;
    assert_eq!(hub.snapshot().await, before);
    hub.revoke(&token("c")).await;
}

on_postgres!(before_postgres_was_read_nothing_is_answered);
on_sqlite!(before_sqlite_was_read_nothing_is_answered);
both_stores!(a_broken_log_is_not_an_empty_list);
