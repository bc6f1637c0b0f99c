//! Signed webhooks and CloudEvents on `POST /v1/revocations`.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, RequestBuilder};
use revocation_hub::clock::Clock;
use revocation_hub::config::{Client, Config};
use serde_json::{Value, json};

use crate::harness::*;

const SECRET: [u8; 32] = [7; 32];

fn whsec(secret: &[u8]) -> String {
    format!("whsec_{}", STANDARD.encode(secret))
}

fn client(name: &str, scopes: &[&str], webhook: Value) -> Client {
    serde_json::from_value(json!({"name": name, "scopes": scopes, "webhook": webhook})).unwrap()
}

fn config(place: &Place) -> Config {
    let reader = json!({"name": "reader", "scopes": ["read"], "basic": {"username": "reader", "password": "secret"}});
    Config {
        clients: vec![
            // Two secrets: the old one is still taken while the new one is rolled out.
            client("sts", &["publish"], json!({"secret": format!("{}\n{}", whsec(&SECRET), whsec(&[8; 32]))})),
            client("git", &["publish"], json!({"style": "github", "secret": "a secret for everybody"})),
            client("pay", &["publish"], json!({"style": "stripe", "secret": "whsec_of_another_kind"})),
            serde_json::from_value(reader).unwrap(),
        ],
        cloudevents_origins: vec!["events.example.com".into()],
        ..place.config()
    }
}

fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &parts.concat()).as_ref().to_vec()
}

/// A request signed as Standard Webhooks asks for it.
fn signed(hub: &Api, secret: &[u8], id: &str, at: i64, body: &str) -> RequestBuilder {
    let at = at.to_string();
    let tag = mac(secret, &[id.as_bytes(), b".", at.as_bytes(), b".", body.as_bytes()]);
    let request = hub.request(Method::POST, "/v1/revocations").header("content-type", "application/json");
    let request = request.header("webhook-id", id).header("webhook-timestamp", at);
    request.header("webhook-signature", format!("v1,{}", STANDARD.encode(tag))).body(body.to_owned())
}

async fn live(hub: &Api) -> Vec<Value> {
    let request = hub.request(Method::GET, "/v1/revocations").basic_auth("reader", Some("secret"));
    hub.send(request).await.unwrap().expect(200).json()["revocations"].as_array().unwrap().clone()
}

async fn who_signs_is_the_client_and_a_repeat_gets_the_first_answer(place: &Place) {
    let hub = TestHub::start(config(place), Clock::manual(NOW)).await;
    let body = json!({"jti": "a", "exp": NOW + 600}).to_string();
    let first = hub.send(signed(&hub, &SECRET, "msg_1", NOW, &body)).await.unwrap().expect(201).json();
    assert_eq!(live(&hub).await[0]["source"], "sts");
    hub.send(signed(&hub, &[8; 32], "msg_2", NOW, &json!({"jti": "b"}).to_string())).await.unwrap().expect(201);

    // The same id again, with whatever body: the first answer, and nothing happens. Also from a hub that has restarted.
    let other = json!({"jti": "never"}).to_string();
    let hub = {
        let repeat = hub.send(signed(&hub, &SECRET, "msg_1", NOW + 1, &other)).await.unwrap();
        assert_eq!(repeat.expect(201).json(), first);
        hub.stop().await;
        TestHub::start(config(place), Clock::manual(NOW + 2)).await
    };
    let repeat = hub.send(signed(&hub, &SECRET, "msg_1", NOW + 2, &other)).await.unwrap();
    assert_eq!(repeat.expect(201).json(), first);
    if place.is_postgres() {
        let replica = TestHub::start(config(place), Clock::manual(NOW + 2)).await;
        let repeat = replica.send(signed(&replica, &SECRET, "msg_1", NOW + 2, &other)).await.unwrap();
        assert_eq!(repeat.expect(201).json(), first, "on another replica");
        replica.stop().await;
    }
    assert_eq!(live(&hub).await.len(), 2);
    assert_eq!(hub.metric("webhooks_total", r#"outcome="repeated",style="standard""#).await, 1.0);
    // What was refused may be sent again with the same id.
    hub.send(signed(&hub, &SECRET, "msg_3", NOW, "{}")).await.unwrap().expect(422);
    hub.send(signed(&hub, &SECRET, "msg_3", NOW, &json!({"jti": "c"}).to_string())).await.unwrap().expect(201);
    for outcome in ["refused", "accepted"] {
        assert_eq!(
            hub.metric("webhooks_total", &format!(r#"outcome="{outcome}",style="standard""#)).await,
            1.0,
            "{outcome}"
        );
    }
    for outcome in ["invalid_target", "committed"] {
        assert_eq!(
            hub.metric("publishes_total", &format!(r#"form="native",outcome="{outcome}""#)).await,
            1.0,
            "{outcome}"
        );
    }
    hub.stop().await;
}

async fn what_is_not_well_signed_is_401_and_nothing_is_stored(place: &Place) {
    let mut config = config(place);
    config.limits.max_body_bytes = 4096;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let body = json!({"jti": "a"}).to_string();
    let refused = [
        signed(&hub, &[9; 32], "m", NOW, &body),
        signed(&hub, &SECRET, "m", NOW - 301, &body),
        signed(&hub, &SECRET, "m", NOW + 301, &body),
        signed(&hub, &SECRET, "m", NOW, &body).body(json!({"jti": "b"}).to_string()),
        // The signature of one style is none of another.
        signed(&hub, b"a secret for everybody", "m", NOW, &body),
        hub.request(Method::POST, "/v1/revocations").header("x-hub-signature-256", "sha256=00").body(body.clone()),
        hub.request(Method::POST, "/v1/revocations").header("stripe-signature", "t=1,v1=00").body(body.clone()),
        hub.request(Method::POST, "/v1/revocations").header("content-type", "application/json").body(body.clone()),
    ];
    for (i, request) in refused.into_iter().enumerate() {
        assert_eq!(hub.send(request).await.unwrap().expect(401).code(), "unauthorized", "{i}");
    }
    // Two ways at once say two things.
    let both = signed(&hub, &SECRET, "m", NOW, &body).basic_auth("reader", Some("secret"));
    assert_eq!(hub.send(both).await.unwrap().expect(400).code(), "invalid_request");
    // A signature reads nothing and lifts nothing.
    let headers = signed(&hub, &SECRET, "m", NOW, "").build().unwrap();
    let mut get = hub.request(Method::GET, "/v1/revocations");
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        get = get.header(name, headers.headers()[name].clone());
    }
    hub.send(get).await.unwrap().expect(401);
    // Nor more than its client may.
    let rule = json!({"sub": "u"}).to_string();
    assert_eq!(hub.send(signed(&hub, &SECRET, "r", NOW, &rule)).await.unwrap().expect(403).code(), "missing_scope");
    assert!(live(&hub).await.is_empty());
    let large = signed(&hub, &SECRET, "l", NOW, &" ".repeat(5000));
    assert_eq!(hub.send(large).await.unwrap().expect(413).code(), "body_too_large");
    for (style, outcome, count) in [
        ("standard", "wrong_signature", 3.0),
        ("standard", "stale_signature", 2.0),
        ("standard", "two_credentials", 1.0),
        ("standard", "refused", 1.0),
        ("standard", "unreadable", 1.0),
        ("github", "wrong_signature", 1.0),
        ("stripe", "stale_signature", 1.0),
    ] {
        let labels = format!(r#"outcome="{outcome}",style="{style}""#);
        assert_eq!(hub.metric("webhooks_total", &labels).await, count, "{labels}");
    }
    hub.stop().await;
}

async fn github_and_stripe_sign_in_their_ways(place: &Place) {
    let hub = TestHub::start(config(place), Clock::manual(NOW)).await;
    let post = |body: &str| {
        let request = hub.request(Method::POST, "/v1/revocations").header("content-type", "application/json");
        request.body(body.to_owned())
    };
    let body = json!({"jti": "g"}).to_string();
    let tag = hex::encode(mac(b"a secret for everybody", &[body.as_bytes()]));
    hub.send(post(&body).header("x-hub-signature-256", format!("sha256={tag}"))).await.unwrap().expect(201);
    let body = json!({"jti": "s"}).to_string();
    let tag = hex::encode(mac(b"whsec_of_another_kind", &[NOW.to_string().as_bytes(), b".", body.as_bytes()]));
    hub.send(post(&body).header("stripe-signature", format!("t={NOW},v1={tag}"))).await.unwrap().expect(201);
    let sources: Vec<Value> = live(&hub).await.iter().map(|r| r["source"].clone()).collect();
    assert_eq!(sources, ["git", "pay"]);
    hub.stop().await;
}

async fn cloud_events_come_structured_binary_and_in_batches(place: &Place) {
    let hub = place.hub().await;
    let event = |id: &str, data: Value| json!({"specversion": "1.0", "id": id, "source": "/sts", "type": "revoked", "data": data});
    let post = |kind: &str, body: String| {
        hub.request(Method::POST, "/v1/revocations").header("content-type", kind.to_owned()).body(body)
    };
    let binary = |version: &str, id: &str| {
        let request = post("application/json", json!({"jti": "binary"}).to_string());
        request.header("ce-specversion", version).header("ce-id", id).header("ce-source", "/sts").header("ce-type", "t")
    };
    let structured = post("application/cloudevents+json; charset=utf-8", event("1", json!({"jti": "a"})).to_string());
    assert_eq!(hub.send(structured).await.unwrap().expect(200).json()["revoked"], 1);
    hub.send(binary("1.0", "1")).await.unwrap().expect(201);
    let batch = json!([event("2", json!({"jti": "b"})), event("3", json!([{"jti": "c"}, {"jti": "a"}]))]);
    let answer = hub.send(post("application/cloudevents-batch+json", batch.to_string())).await.unwrap().expect(200);
    assert_eq!((&answer.json()["revoked"], &answer.json()["unchanged"]), (&json!(2), &json!(1)));
    let before = hub.snapshot().await;
    assert_eq!(before.map.len(), 4);

    let bad = [
        (binary("0.3", "1"), 400, "invalid_cloudevent"),
        (binary("1.0", ""), 400, "invalid_cloudevent"),
        (post("application/cloudevents+json", json!({"jti": "x"}).to_string()), 400, "invalid_cloudevent"),
        (post("application/cloudevents+json", "[".into()), 400, "invalid_json"),
        (post("application/cloudevents+json", event("1", json!({"jti": 7})).to_string()), 422, "invalid_item"),
        (
            post("application/cloudevents-batch+json", json!([event("1", json!({"jti": "x"})), {}]).to_string()),
            400,
            "invalid_cloudevent",
        ),
        (post("application/cloudevents+xml", "<event/>".into()), 415, "unsupported_media_type"),
    ];
    for (i, (request, status, code)) in bad.into_iter().enumerate() {
        assert_eq!(hub.send(request).await.unwrap().expect(status).code(), code, "{i}");
    }
    assert_eq!(hub.snapshot().await, before);
    for (form, outcome, count) in [
        ("cloudevent", "committed", 1.0),
        ("cloudevent", "invalid_cloudevent", 1.0),
        ("cloudevent", "invalid_json", 1.0),
        ("cloudevent", "invalid_item", 1.0),
        ("cloudevent_binary", "committed", 1.0),
        ("cloudevent_binary", "invalid_cloudevent", 2.0),
        ("cloudevent_batch", "committed", 1.0),
        ("cloudevent_batch", "invalid_cloudevent", 1.0),
        ("unknown", "unsupported_media_type", 1.0),
    ] {
        let labels = format!(r#"form="{form}",outcome="{outcome}""#);
        assert_eq!(hub.metric("publishes_total", &labels).await, count, "{labels}");
    }
    hub.stop().await;
}

async fn consent_is_given_to_configured_origins_only(place: &Place) {
    let hub = TestHub::start(config(place), Clock::manual(NOW)).await;
    let ask = async |origin: Option<&str>| {
        let request = hub.request(Method::OPTIONS, "/v1/revocations");
        let request = if let Some(o) = origin { request.header("webhook-request-origin", o) } else { request };
        hub.send(request).await.unwrap().expect(200)
    };
    let answer = ask(Some("events.example.com")).await;
    assert_eq!(answer.header("webhook-allowed-origin"), Some("events.example.com"));
    assert_eq!(answer.header("webhook-allowed-rate"), Some("*"));
    assert!(answer.header("allow").unwrap().contains("POST"));
    for origin in [None, Some("evil.example.com"), Some("events.example.com.evil"), Some("")] {
        assert_eq!(ask(origin).await.header("webhook-allowed-origin"), None, "{origin:?}");
    }
    for (outcome, count) in [("given", 1.0), ("withheld", 3.0)] {
        assert_eq!(hub.metric("cloudevents_consents_total", &format!(r#"outcome="{outcome}""#)).await, count);
    }
    hub.stop().await;
}

both_stores!(who_signs_is_the_client_and_a_repeat_gets_the_first_answer);
on_sqlite!(
    what_is_not_well_signed_is_401_and_nothing_is_stored,
    github_and_stripe_sign_in_their_ways,
    cloud_events_come_structured_binary_and_in_batches,
    consent_is_given_to_configured_origins_only,
);
