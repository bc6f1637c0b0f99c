//! The list of an API Manager, pulled: S-9 to S-11, every shape, and what only a broken server says.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::Wso2Shape;
use serde_json::{Value, json};

use crate::harness::*;
use crate::setup::*;

fn sources(url: &str) -> Vec<Value> {
    let pull = json!({"name": "apim", "kind": "wso2_snapshot", "url": format!("{url}/internal/data/v1"),
        "username": "admin", "password": "admin", "interval": "50ms", "timeout": "1s", "untyped": "jti"});
    vec![pull, json!({"name": "km", "kind": "wso2_notify"})]
}

fn list(tokens: &[&str]) -> Manner {
    let items = tokens.iter().map(|t| json!({"jwt_signature": t, "expiry_time": FAR * 1000}));
    Manner::list(&Value::from_iter(items).to_string())
}

/// A hub that plays the API Manager.
async fn upstream_hub(place: &Place) -> TestHub {
    let url = format!("sqlite://{}", place.folder.path().join("upstream.db").display());
    let mut config = config_with(place, vec![]);
    config.database_url = revocation_hub::config::DatabaseUrl::new(url);
    config.keep_signature = true;
    config.keep_opaque = true;
    TestHub::start(config, Clock::manual(NOW)).await
}

async fn s_9_every_shape_of_another_hub(place: &Place) {
    let upstream = upstream_hub(place).await;
    let post = async |json: Value| {
        send(&upstream, "admin", Method::POST, "/v1/revocations", &json.to_string(), "application/json")
            .await
            .expect(201)
    };
    post(json!({"jti": J, "exp": FAR})).await;
    post(json!({"token": "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln", "exp": FAR})).await;
    post(json!({"sub": ENTITY, "issued_before": 1_767_225_600})).await;
    post(json!({"client_id": CONSUMER, "issued_before": 1_767_225_600})).await;
    for (base, shape) in [
        ("/internal/data/v1", Wso2Shape::Array),
        ("/apim43/internal/data/v1", Wso2Shape::Object),
        ("/throttle/data/v1", Wso2Shape::Legacy),
    ] {
        let mut sources = sources(upstream.url());
        sources[0]["url"] = json!(format!("{}{base}", upstream.url()));
        let mut config = config_with(place, sources);
        config.database_url = revocation_hub::config::DatabaseUrl::new(format!(
            "sqlite://{}",
            place.folder.path().join(format!("{shape:?}.db")).display()
        ));
        let hub = TestHub::start(config, Clock::manual(NOW)).await;
        let token = format!("token {J}");
        match shape {
            Wso2Shape::Array => until_names(&hub, &["token a", &token]).await,
            // All that is said of the other is its signature.
            Wso2Shape::Legacy => until_names(&hub, &[&token, "token c2ln"]).await,
            Wso2Shape::Object => {
                let (app, user) = (format!("client {CONSUMER}"), format!("subject {ENTITY}"));
                until_names(&hub, &[&app, &user, "token a", &token]).await;
                let all = get(&hub, "/v1/revocations").await.json();
                let rule = all["revocations"].as_array().unwrap().iter().find(|r| r["kind"] == "client");
                assert_eq!(rule.unwrap()["issued_before"], 1_767_225_600);
            }
        }
        assert!(live(&hub).await.iter().filter(|(n, _)| n.starts_with("token")).all(|(_, exp)| *exp == Some(FAR)));
        hub.stop().await;
    }
    upstream.stop().await;
}

/// S-10 and the like: the old set stays, it is tried again, and heals.
async fn s_10_what_only_a_broken_server_says(place: &Place) {
    let upstream = Upstream::new(list(&["a"])).await;
    let whole = json!([{"jwt_signature": "never", "expiry_time": FAR * 1000}]).to_string();
    let cut = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{whole}");
    let chunk = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{whole}\r\n", whole.len());
    let broken = [
        Manner::says("200 OK", "text/html", "<html><body>Error</body></html>"),
        Manner::list(&whole[..whole.len() - 1]),
        Manner::list(""),
        Manner::list("{}"),
        Manner::list(r#"{"error":{"code":500}}"#),
        Manner::list("null"),
        Manner::Says(cut.into_bytes()),
        Manner::Says(chunk.into_bytes()),
        Manner::Says(b"nonsense\r\n\r\n".to_vec()),
        Manner::Says(Vec::new()),
        Manner::says("401 Unauthorized", "application/json", &whole),
        Manner::says("500 Internal Server Error", "application/json", &whole),
        Manner::says("302 Found\r\nLocation: /internal/data/v1/revokedjwt", "application/json", &whole),
        Manner::says("204 No Content", "application/json", ""),
        Manner::Hangs,
    ];
    for (i, manner) in broken.into_iter().enumerate() {
        // A hub of its own for each, because pauses grow while nothing goes well for long.
        let hub = hub_with(place, sources(&upstream.url())).await;
        until("it has pulled", async || (hub.metric("link_up", "apim").await == 1.0).then_some(())).await;
        let before = names(&hub).await;
        upstream.set(manner);
        until("it fails", async || (hub.metric("link_failures_total", "apim").await > 0.0).then_some(())).await;
        assert_eq!(names(&hub).await, before);
        let healed = format!("healed-{i}");
        upstream.set(list(&["a", &healed]));
        until("it heals", async || names(&hub).await.contains(&format!("token {healed}")).then_some(())).await;
        hub.stop().await;
    }
    let hub = hub_with(place, sources(&upstream.url())).await;
    let before = names(&hub).await;
    // An empty list is what they answer when their database fails.
    upstream.set(Manner::list("[]"));
    upstream.asked(3).await;
    assert_eq!(names(&hub).await, before);
    upstream.set(list(&["z"]));
    until("what is new", async || names(&hub).await.contains(&"token z".to_owned()).then_some(())).await;
    let heads = upstream.heads();
    assert!(heads[0].starts_with("GET /internal/data/v1/revokedjwt HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[0].to_lowercase().contains("authorization: basic ywrtaw46ywrtaw4="), "{}", heads[0]);
    hub.stop().await;
}

async fn s_11_seconds_and_milliseconds(place: &Place) {
    let mixed = r#"[{"jwt_signature":"k","expiry_time":4102444800},{"jwt_signature":"m","expiry_time":4102444800000},
        {"jwtSignature":"old","expiryTime":4102444800,"more":{}},{"jwt_signature":"n","expiry_time":9223372036854775807},
        {"jwt_signature":"u","expiry_time":0},{"jwt_signature":"over","expiry_time":1767225600000},{"expiry_time":1}]"#;
    let upstream = Upstream::new(Manner::list(mixed)).await;
    let hub = hub_with(place, sources(&upstream.url())).await;
    until_names(&hub, &["token k", "token m", "token n", "token old", "token u"]).await;
    let ends: Vec<_> = live(&hub).await.into_iter().map(|(_, exp)| exp).collect();
    assert_eq!(ends, [Some(FAR), Some(FAR), None, Some(FAR), Some(NOW + 30 * 86400)]);
    assert!(hub.metric("link_messages_total", "no_token").await >= 1.0);
    hub.stop().await;
}

/// What somebody has taken back stays so, by the next pull, after a restart, and when it was not pulled before.
async fn what_was_lifted_is_not_revoked_again_by_a_pull(place: &Place) {
    let rule = |ms: i64| {
        let app = json!({"consumer_key": "c", "revocation_time": ms, "type": null, "organization": "carbon.super"});
        let token = |t: &str| json!({"jwt_signature": t, "expiry_time": FAR * 1000});
        let tokens = [token(J), token("b")];
        let object =
            json!({"revokedJWTList": tokens, "revokedJWTSubjectEntityList": [], "revokedJWTConsumerKeyList": [app]});
        Manner::list(&object.to_string())
    };
    let upstream = Upstream::new(rule(1_767_225_600_000)).await;
    let config = config_with(place, sources(&upstream.url()));
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    until_names(&hub, &["client c", "token b", &format!("token {J}")]).await;
    for revocation in get(&hub, "/v1/revocations").await.json()["revocations"].as_array().unwrap() {
        if revocation["jti"] != "b" {
            let path = format!("/v1/revocations/{}", revocation["id"].as_str().unwrap());
            send(&hub, "root", Method::DELETE, &path, "", FORM).await.expect(200);
        }
    }
    upstream.asked(3).await;
    assert_eq!(names(&hub).await, ["token b"]);
    hub.stop().await;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    upstream.asked(3).await;
    assert_eq!(names(&hub).await, ["token b"]);
    // An event says so anew; and a rule may be made again, with a later time.
    let body = json!({"accessToken": J, "type": "token_revocation", "tokenType": "JWT"}).to_string();
    send(&hub, "admin", Method::POST, "/internal/data/v1/notify", &body, "application/json").await.expect(200);
    upstream.set(rule(1_767_225_700_000));
    until_names(&hub, &["client c", "token b", &format!("token {J}")]).await;
    hub.stop().await;
}

/// Pulled at the start, and at once when an event says that there is more.
async fn a_batch_without_tokens_makes_it_pull(place: &Place) {
    let upstream = Upstream::new(list(&["a"])).await;
    let mut sources = sources(&upstream.url());
    sources[0]["interval"] = json!("1h");
    let hub = hub_with(place, sources).await;
    until_names(&hub, &["token a"]).await;
    until("it waits", async || (hub.metric("link_up", "apim").await == 1.0).then_some(())).await;
    assert_eq!(upstream.heads().len(), 1);
    upstream.set(list(&["a", "b"]));
    let body = json!({"consumerKey": CONSUMER, "type": "token_revocation_batch"}).to_string();
    send(&hub, "admin", Method::POST, "/internal/data/v1/notify", &body, "application/json").await.expect(200);
    until_names(&hub, &["token a", "token b"]).await;
    assert_eq!(upstream.heads().len(), 2);
    hub.stop().await;
}

async fn a_list_of_a_hundred_thousand_costs_once(place: &Place) {
    let many = |n: usize| {
        let items = (0..n).map(
            |i| json!({"jwt_signature": format!("{i:08x}-41b6-4e57-8f9a-2d7b6c1e5a30"), "expiry_time": FAR * 1000}),
        );
        Manner::list(&Value::from_iter(items).to_string())
    };
    let upstream = Upstream::new(many(100_000)).await;
    let hub = hub_with(place, sources(&upstream.url())).await;
    let live = async || hub.metric("live_revocations", "token\"").await;
    until("all are there", async || (live().await == 100_000.0).then_some(())).await;
    until("it is done", async || (hub.metric("link_messages_total", "pulled").await >= 1.0).then_some(())).await;
    let answered = async || hub.metric("intake_revocations_total", "apim").await;
    let before = answered().await;
    upstream.set(many(100_001));
    until("the new one is there", async || (live().await == 100_001.0).then_some(())).await;
    assert_eq!(answered().await, before + 1.0, "only what is new goes on");
    hub.stop().await;
}

/// The first address that has a list is believed; none of them appears in an error.
async fn several_addresses_are_tried_in_turn(place: &Place) {
    let (bad, good) =
        (Upstream::new(Manner::says("503 No", "text/plain", "")).await, Upstream::new(list(&["a"])).await);
    let mut sources = sources("http://unused");
    let with_password = bad.url().replace("http://", "http://u:hunter2@");
    sources[0]["url"] = json!([format!("{with_password}/x"), format!("{}/x/revokedjwt", good.url())]);
    let hub = hub_with(place, sources).await;
    until_names(&hub, &["token a"]).await;
    assert!(good.heads()[0].starts_with("GET /x/revokedjwt HTTP/1.1\r\n"));
    assert!(!bad.heads().is_empty());
    hub.stop().await;
}

both_stores!(s_9_every_shape_of_another_hub, what_was_lifted_is_not_revoked_again_by_a_pull);
on_sqlite!(
    s_10_what_only_a_broken_server_says,
    s_11_seconds_and_milliseconds,
    a_batch_without_tokens_makes_it_pull,
    a_list_of_a_hundred_thousand_costs_once,
    several_addresses_are_tried_in_turn,
);
