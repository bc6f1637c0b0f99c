//! The vectors N-1 to N-16 of `POST …/notify`.

use serde_json::json;

use crate::harness::*;
use crate::raw::exchange;
use crate::setup::*;

const N_1: &str = r#"{"accessToken":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super","properties":{}}"#;
const N_9: &str = r#"{"consumerKey":"rfjtExampleKey0000000000000a","revocationTime":1767225600000,"eventId":"e3","type":"consumer_app_revocation_event","tenantId":-1234,"tenantDomain":"carbon.super"}"#;
const N_10: &str = r#"{"entityId":"4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412","entityType":"USER_ID","revocationTime":1767225600000,"eventId":"e5","type":"subject_entity_revocation_event","tenantId":-1234,"tenantDomain":"carbon.super"}"#;
const N_11: &str = r#"{"consumerKey":"rfjtExampleKey0000000000000a","tokenRevocationEventList":[{"accessToken":"b1","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"e6a","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super"},{"accessToken":"b2","expiryTime":4102444800000,"user":"admin","consumerKey":"rfjtExampleKey0000000000000a","tokenType":"JWT","eventId":"e6b","timeStamp":1767222000000,"type":"token_revocation","tenantId":-1234,"tenantDomain":"carbon.super"}],"eventId":"e6","timeStamp":1767222000000,"type":"token_revocation_batch","tenantId":-1234,"tenantDomain":"carbon.super"}"#;

pub fn sources() -> Vec<serde_json::Value> {
    vec![json!({"name": "km", "kind": "wso2_notify"})]
}

async fn notify(api: &Api, user: &str, body: &str) -> Answer {
    send(api, user, reqwest::Method::POST, "/internal/data/v1/notify", body, "application/json").await
}

async fn accepted(api: &Api, body: &str) {
    let answer = notify(api, "admin", body).await.expect(200);
    assert_eq!(answer.text(), "", "{body}");
}

async fn n_1_as_the_key_manager_sends_it_and_n_2_again(place: &Place) {
    assert_eq!(N_1.len(), 323);
    let hub = hub_with(place, sources()).await;
    let raw = format!(
        "POST /internal/data/v1/notify HTTP/1.1\r\nX-WSO2-KEY-MANAGER: default\r\n\
         Authorization: Basic YWRtaW46YWRtaW4=\r\nContent-Type: application/json\r\nContent-Length: 323\r\n\
         Host: hub:9443\r\nConnection: Keep-Alive\r\n\r\n{N_1}"
    );
    let answer = exchange(&hub, &raw).await;
    assert_eq!((answer.status, answer.text()), (200, ""));
    let list = format!(r#"[{{"jwt_signature":"{J}","expiry_time":4102444800000}}]"#);
    assert_eq!(get(&hub, ARRAY).await.expect(200).text(), list);
    let before = get(&hub, "/v1/revocations").await.json();
    assert_eq!(before["revocations"][0]["source"], "km");
    for key_manager in ["default", "WSO2-IS", "WSO2IS", ""] {
        let again = raw.replace("KEY-MANAGER: default", &format!("KEY-MANAGER: {key_manager}"));
        assert_eq!(exchange(&hub, &again).await.status, 200, "N-2, N-3");
    }
    assert_eq!(exchange(&hub, raw.replace("X-WSO2-KEY-MANAGER: default\r\n", "")).await.status, 200, "N-3");
    // The cursor has not moved: nothing new is published.
    assert_eq!(get(&hub, "/v1/revocations").await.json(), before);
    hub.stop().await;
}

async fn n_4_to_n_6_missing_members_and_no_end(place: &Place) {
    let hub = hub_with(place, sources()).await;
    let token = |name: &str| N_1.replace(J, name);
    accepted(&hub, &token("n4").replace(r#""tokenType":"JWT","#, "")).await;
    accepted(&hub, &token("n5").replace(r#","tenantId":-1234,"tenantDomain":"carbon.super""#, "")).await;
    accepted(&hub, &token("n6").replace("4102444800000", "9223372036854775807")).await;
    let all = live(&hub).await;
    // Without a type it may be either.
    assert!(all[0].0.starts_with("token n4") && all[3].0.starts_with("token_hash "), "{all:?}");
    assert_eq!((&*all[1].0, all[1].1, &*all[2].0, all[2].1), ("token n5", Some(FAR), "token n6", None));
    hub.stop().await;
}

async fn n_9_to_n_11_rules_and_batches(place: &Place) {
    let hub = hub_with(place, sources()).await;
    accepted(&hub, N_9).await;
    accepted(&hub, N_10).await;
    accepted(&hub, N_11).await;
    let object = get(&hub, OBJECT).await.expect(200).json();
    let user = json!({"entity_id": ENTITY, "entity_type": "USER_ID", "revocation_time": 1_767_225_600_000_i64, "organization": "carbon.super"});
    let app = json!({"consumer_key": CONSUMER, "revocation_time": 1_767_225_600_000_i64, "type": null, "organization": "carbon.super"});
    assert_eq!(object["revokedJWTSubjectEntityList"], json!([user]));
    assert_eq!(object["revokedJWTConsumerKeyList"], json!([app]));
    let token = |name: &str| json!({"jwt_signature": name, "expiry_time": 4_102_444_800_000_i64});
    assert_eq!(object["revokedJWTList"], json!([token("b1"), token("b2")]));
    // One that cannot be a token does not cost the other, and a person can look at it.
    let long = "x".repeat(2000);
    let answer = notify(&hub, "admin", &N_11.replace("\"b1\"", &format!("\"{long}\"")).replace("b2", "b3")).await;
    assert_eq!(answer.expect(422).code(), "invalid_text");
    assert!(names(&hub).await.contains(&"token b3".to_owned()));
    assert_eq!(place.number("select count(*) from parked where reason = 'invalid_text'").await, 1);
    // The same for one that is not named, and nobody is there who would pull the list.
    let unnamed = N_11.replace("\"accessToken\":\"b1\",", "").replace("b2", "b4");
    assert_eq!(notify(&hub, "admin", &unnamed).await.expect(400).code(), "invalid_request");
    assert!(names(&hub).await.contains(&"token b4".to_owned()));
    assert_eq!(place.number("select count(*) from parked where reason = 'nothing_to_pull'").await, 1);
    hub.stop().await;
}

async fn n_12_only_those_who_may(place: &Place) {
    let hub = hub_with(place, sources()).await;
    for user in ["nobody", "Admin"] {
        let answer = notify(&hub, user, N_1).await.expect(401);
        assert!(answer.header("www-authenticate").unwrap().starts_with("Basic "));
    }
    assert_eq!(notify(&hub, "reader", N_1).await.expect(403).code(), "missing_scope");
    // A rule takes a scope more; the sender will not repeat it, so it is kept for a person.
    assert_eq!(notify(&hub, "tokens", N_9).await.expect(403).code(), "missing_scope");
    assert_eq!(place.number("select count(*) from parked").await, 1);
    // What a web page sends is refused, whatever it knows.
    let page = hub.request(reqwest::Method::POST, "/internal/data/v1/notify").basic_auth("admin", Some("admin"));
    let page = hub.send(page.header("origin", "https://evil.example").body(N_1)).await.unwrap();
    assert_eq!(page.expect(400).code(), "invalid_request");
    assert_eq!(names(&hub).await, [""; 0]);
    assert_eq!(notify(&hub, "tokens", N_1).await.status, 200);
    hub.stop().await;
}

async fn n_13_what_cannot_be_read_is_parked(place: &Place) {
    let hub = hub_with(place, sources()).await;
    for body in ["", "no", "[]", r#"{"type":"token_revocation"}"#, r#"{"type":"else","accessToken":"x"}"#, &N_1[..322]]
    {
        let answer = notify(&hub, "admin", body).await;
        assert_eq!(answer.expect(400).code(), "invalid_request", "{body}");
    }
    assert_eq!(place.number("select count(*) from parked where source = 'km'").await, 6);
    assert_eq!(hub.metric("link_messages_total", "no_token").await, 1.0);
    // Senders name no charset, which makes it Latin-1 whatever they call it.
    let head = "POST /internal/data/v1/notify HTTP/1.1\r\nHost: hub\r\nAuthorization: Basic YWRtaW46YWRtaW4=\r\n";
    let mut body = N_1.replace("\"user\":\"admin\"", "\"user\":\"J?rg\"").into_bytes();
    *body.iter_mut().find(|b| **b == b'?').unwrap() = 0xf6;
    let mut raw =
        format!("{head}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    raw.extend(body);
    assert_eq!(exchange(&hub, raw).await.status, 200);
    assert_eq!(names(&hub).await, [format!("token {J}")]);
    // Gson writes these as escapes.
    accepted(&hub, &N_1.replace(J, "a\\u003d\\u0026")).await;
    assert!(names(&hub).await.contains(&"token a=&".to_owned()));
    hub.stop().await;
}

async fn n_16_what_is_over_is_answered_and_not_published(place: &Place) {
    let hub = hub_with(place, sources()).await;
    accepted(&hub, &N_1.replace("4102444800000", "1767225600000")).await;
    assert_eq!(names(&hub).await, [""; 0]);
    assert_eq!(place.rows().await, 0);
    hub.stop().await;
}

/// Whoever is bound twice may speak about what both allow, and no more.
async fn bounds_of_client_and_source_both_hold(place: &Place) {
    // Of the issuer `a`.
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJ4IiwiaXNzIjoiYSJ9.c2ln";
    for (source, client, expected) in
        [(["a", "b"], ["a", "c"], 200), (["b", "c"], ["a", "b"], 403), (["a", "b"], ["b", "c"], 403)]
    {
        let mut config = config_with(place, vec![json!({"name": "km", "kind": "wso2_notify", "issuers": source})]);
        config.clients[0].issuers = Some(client.map(str::to_owned).into());
        let hub = TestHub::start(config, revocation_hub::clock::Clock::manual(NOW)).await;
        assert_eq!(notify(&hub, "admin", &N_1.replace(J, token)).await.status, expected, "{source:?} {client:?}");
        hub.stop().await;
    }
}

both_stores!(n_1_as_the_key_manager_sends_it_and_n_2_again, n_13_what_cannot_be_read_is_parked);
on_sqlite!(
    n_4_to_n_6_missing_members_and_no_end,
    n_9_to_n_11_rules_and_batches,
    n_12_only_those_who_may,
    n_16_what_is_over_is_answered_and_not_published,
    bounds_of_client_and_source_both_hold,
);
