//! The vectors of ActiveMQ's REST form.

use reqwest::Method;
use serde_json::json;

use crate::harness::*;
use crate::setup::*;

const PATH: &str = "/api/message/tokenRevocation";

async fn post(api: &Api, path: &str, body: &str) -> Answer {
    send(api, "admin", Method::POST, path, body, FORM).await
}

async fn sent(api: &Api, path: &str, body: &str) {
    let answer = post(api, path, body).await.expect(200);
    assert_eq!(answer.text(), "Message sent");
    assert!(answer.header("messageID").unwrap().starts_with("ID:"), "{:?}", answer.headers);
}

async fn q_1_to_q_4(place: &Place) {
    let hub = hub_with(place, vec![json!({"name": "rest", "kind": "activemq_rest", "keep_opaque": true})]).await;
    sent(&hub, PATH, "revokedToken=a1b2c3d4-opaque").await;
    sent(&hub, &format!("{PATH}?type=topic"), "revokedToken=a1b2c3d4-opaque").await;
    assert_eq!(get(&hub, ARRAY).await.json().as_array().unwrap().len(), 1);
    assert_eq!(get(&hub, ARRAY).await.json()[0]["jwt_signature"], "a1b2c3d4-opaque");
    sent(&hub, PATH, &format!("revokedToken={J}&ttl=3600")).await;
    sent(&hub, PATH, "revokedToken=until&expiryTime=4102444800000&type=JWT&ttl=3600").await;
    // What says nothing must not be over at once.
    sent(&hub, PATH, "revokedToken=zero&ttl=0&type=JWT").await;
    sent(&hub, PATH, "revokedToken=empty&ttl=&expiryTime=&type=JWT").await;
    let thirty_days = NOW + 30 * 86400;
    for (name, exp) in [
        (J, NOW + 3600),
        ("until", FAR),
        ("zero", thirty_days),
        ("empty", thirty_days),
        ("a1b2c3d4-opaque", thirty_days),
    ] {
        let found = live(&hub).await.into_iter().find(|(n, _)| *n == format!("token {name}"));
        assert_eq!(found.unwrap().1, Some(exp), "{name}");
    }
    let body = json!({"revokedToken": "json", "ttl": 60}).to_string();
    assert_eq!(send(&hub, "admin", Method::POST, PATH, &body, "application/json").await.status, 200);
    for bad in ["", "token=a", "revokedToken=", "revokedToken=a&revokedToken=b"] {
        assert_eq!(post(&hub, PATH, bad).await.expect(400).code(), "invalid_request", "{bad}");
    }
    assert_eq!(post(&hub, PATH, "revokedToken=a&ttl=abc").await.expect(422).code(), "invalid_time");
    let text = send(&hub, "admin", Method::POST, PATH, "revokedToken=a", "text/plain").await;
    assert_eq!(text.expect(415).code(), "unsupported_media_type");
    assert_eq!(send(&hub, "nobody", Method::POST, PATH, "revokedToken=a", FORM).await.status, 401);
    assert_eq!(send(&hub, "reader", Method::POST, PATH, "revokedToken=a", FORM).await.status, 403);
    let page = hub.request(Method::POST, PATH).basic_auth("admin", Some("admin")).header("origin", "null");
    let page = hub.send(page.header("content-type", FORM).body("revokedToken=page")).await.unwrap();
    assert_eq!(page.expect(400).code(), "invalid_request");
    assert_eq!(post(&hub, "/api/message/else", "revokedToken=a").await.status, 404);
    assert!(!names(&hub).await.iter().any(|name| name == "token a" || name == "token page"));
    hub.stop().await;
}

both_stores!(q_1_to_q_4);
