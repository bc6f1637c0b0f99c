//! From the log to the broker.

use std::path::Path;
use std::process::{Command, Stdio};

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use revocation_hub::formats::wso2::announce::event_id;
use revocation_hub::revocation::{Id, Kind};
use serde_json::json;

use super::broker::*;
use super::source::from_log;
use crate::harness::{Place, token, until};

on_postgres!(
    every_form_has_the_bytes_and_the_properties_of_wso2s_publisher,
    what_wso2_cannot_express_is_counted_and_told_once,
    a_hub_that_is_killed_leaves_nothing_out,
    one_replica_speaks_and_the_other_takes_over,
    a_loop_is_recognised,
    choreo_connects_way_of_listening_hears_it,
);

const J: &str = "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30";
/// The event id in the bytes of WSO2's encoder.
const E: &str = "7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7";
const MAP: &str = "000000a700000006076576656e744964980000002437623166306335322d366133652d346430612d396331312d3565326638613930643462370a65787069727954696d6531000003bb2cc3d8000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d326437623663316535613330047479706598000000034a57540374746c980000000435303030";
const LEGACY_MAP: &str = "000000066576656e744964000a37623166306335322d366133652d346430612d396331312d3565326638613930643462370065787069727954696d650007000003bb2cc3d80074656e616e7449640006fffffb2e7265766f6b6564546f6b656e000a63306138663364322d343162362d346535372d386639612d3264376236633165356133300074797065000a4a57540074746c000a3530303000";

/// What the rest of the properties has to be.
fn properties(content_type: &str, epoch: &str, revoked_at: i64, event_id: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("JMS_QPID_DESTTYPE".into(), AMQPValue::LongInt(2));
    headers.insert("revocation-hub".into(), AMQPValue::LongString(epoch.into()));
    BasicProperties::default()
        .with_content_type(content_type.into())
        .with_headers(headers)
        .with_delivery_mode(2)
        .with_priority(4)
        .with_message_id(format!("ID:{event_id}").into())
        .with_timestamp(revoked_at as u64 * 1000)
        .with_user_id("guest".into())
}

async fn every_form_has_the_bytes_and_the_properties_of_wso2s_publisher(place: &Place) {
    let client = Client::new(&shared()).await;
    let (base, queue) = (unique("key"), unique("queue"));
    let key = |form: &str| format!("{base}.{form}");
    client.queue(&queue, &[&format!("{base}.#")]).await;
    let settings: String = ["map", "legacy_map", "json", "native"]
        .map(|form| {
            let keys = format!("routing_keys = [\"{0}\", \"{0}.alias\"]", key(form));
            outlet(form, &shared(), &format!("format = \"{form}\"\n{keys}"))
        })
        .concat();
    let hub = hub(place, &settings, 4).await;
    hub.revoke(&json!({"jti": J, "exp": 4_102_444_800_i64, "reason": "lost"})).await;
    let snapshot = hub.snapshot().await;
    let revocation = snapshot.map.values().next().unwrap();
    let (epoch, revoked_at) = (snapshot.cursor.epoch.to_string(), revocation["revoked_at"].as_i64().unwrap());
    let id = event_id(Id::of(Kind::Token, None, J), 1);

    let mut consumer = client.consume(&queue).await;
    let mut found = std::collections::BTreeMap::new();
    for _ in 0..8 {
        let message = next(&mut consumer).await;
        assert_eq!(message.exchange.as_str(), "amq.topic");
        let (key, body) = (message.routing_key.to_string(), message.data);
        assert!(found.insert(key.clone(), (body, message.properties)).is_none(), "{key} came twice");
    }
    let of_wso2 = |hex: &str| {
        let hex = hex.replace(&hex::encode(E), &hex::encode(&id));
        hex::decode(hex).unwrap()
    };
    let text = format!(
        r#"{{"event":{{"payloadData":{{"eventId":"{id}","revokedToken":"{J}","ttl":"5000","expiryTime":4102444800000,"type":"JWT","tenantId":-1234}}}}}}"#
    );
    for alias in ["", ".alias"] {
        let mut take = |form: &str| found.remove(&(key(form) + alias)).unwrap();
        let expected = |content_type| properties(content_type, &epoch, revoked_at, &id);
        assert_eq!(take("map"), (of_wso2(MAP), expected("amqp/map")));
        assert_eq!(take("legacy_map"), (of_wso2(LEGACY_MAP), expected("jms/map-message")));
        let utf8 = expected("text/plain").with_content_encoding("UTF-8".into());
        assert_eq!(take("json"), (text.clone().into_bytes(), utf8));
        let (body, own) = take("native");
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&body).unwrap(), *revocation);
        let utf8 = expected("application/json").with_content_encoding("UTF-8".into());
        assert_eq!(own, utf8.with_type("revoked".into()));
    }
    let lifted = revocation["id"].as_str().unwrap();
    hub.lift(lifted).await;
    let message = next(&mut consumer).await;
    assert_eq!(message.properties.kind().as_ref().map(|kind| kind.as_str()), Some("lifted"));
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&message.data).unwrap()["id"], lifted);
}

async fn what_wso2_cannot_express_is_counted_and_told_once(place: &Place) {
    let client = Client::new(&shared()).await;
    let (key, queue) = (unique("key"), unique("queue"));
    client.queue(&queue, &[&key]).await;
    let hub = hub(place, &outlet("out", &shared(), &format!("routing_keys = [\"{key}\"]")), 1).await;
    for n in 0..2 {
        hub.revoke(&json!({"sid": format!("s{n}"), "ttl": 600})).await;
        hub.revoke(&json!({"kid": format!("k{n}"), "ttl": 600})).await;
        hub.revoke(&json!({"sub": format!("u{n}"), "ttl": 600, "issued_before": 1_767_225_600})).await;
        let id = hub.revoke(&token(format!("t{n}"))).await;
        hub.lift(&id).await;
    }
    hub.revoke(&token("last")).await;
    let mut consumer = client.consume(&queue).await;
    let mut told = Vec::new();
    loop {
        let data = next_json(&mut consumer).await["event"]["payloadData"].take();
        if data["revokedToken"] == "last" {
            break;
        }
        told.push((data["type"].as_str().unwrap().to_owned(), data["expiryTime"].clone()));
    }
    let rules = told.iter().filter(|(kind, _)| kind == "subject_entity_revocation_event").count();
    assert_eq!(rules, 2, "{told:?}");
    until("all is confirmed", async || (hub.metric("outlet_lag_positions", "out").await == 0.0).then_some(())).await;
    assert_eq!(hub.metric("outlet_rules_total", "out").await, 2.0);
    // Two sessions and two keys; how many tombstones and revocations the outlet saw of the tokens depends on its pace.
    assert!(hub.metric("link_messages_total", "not_expressible").await >= 6.0);
    for what in ["session", "key", "lift"] {
        let lines = hub.printed().lines().filter(|l| l.contains("cannot express") && l.contains(what)).count();
        assert_eq!(lines, 1, "{what}: {}", hub.printed());
    }
    assert_eq!(hub.printed().lines().filter(|line| line.contains("cannot judge")).count(), 1);
}

/// Reads tokens until `last` has come; the first appearance of each, in order.
async fn first_appearances(consumer: &mut lapin::Consumer, last: &str) -> Vec<String> {
    let mut seen = Vec::new();
    loop {
        let token = next_json(consumer).await["event"]["payloadData"]["revokedToken"].as_str().unwrap().to_owned();
        if !seen.contains(&token) {
            seen.push(token);
        }
        if seen.last().is_some_and(|token| token == last) {
            return seen;
        }
    }
}

async fn a_hub_that_is_killed_leaves_nothing_out(place: &Place) {
    const EACH: usize = 300;
    let client = Client::new(&shared()).await;
    let (key, queue) = (unique("key"), unique("queue"));
    client.queue(&queue, &[&key]).await;
    let settings = outlet("out", &shared(), &format!("routing_keys = [\"{key}\"]"));
    let mut all = Vec::new();
    for round in 0..3 {
        let mut hub = hub(place, &settings, 0).await;
        let names: Vec<String> = (0..EACH).map(|n| format!("r{round}-{n:03}")).collect();
        for some in names.chunks(20) {
            hub.post_lines(&some.iter().map(token).collect::<Vec<_>>()).await.expect(200);
        }
        all.extend(names);
        // Wherever it is with publishing them, it is killed.
        hub.kill();
    }
    let last = hub(place, &settings, 0).await;
    last.revoke(&token("last")).await;
    all.push("last".into());
    let mut consumer = client.consume(&queue).await;
    assert_eq!(first_appearances(&mut consumer, "last").await, all);
}

async fn one_replica_speaks_and_the_other_takes_over(place: &Place) {
    let client = Client::new(&shared()).await;
    let (key, queue) = (unique("key"), unique("queue"));
    client.queue(&queue, &[&key]).await;
    let settings = outlet("out", &shared(), &format!("routing_keys = [\"{key}\"]"));
    let mut first = hub(place, &settings, 1).await;
    let second = hub(place, &settings, 0).await;
    for n in 0..50 {
        second.revoke(&token(n)).await;
    }
    client.until_ready(&queue, 50).await;
    until("all is confirmed", async || (first.metric("link_messages_total", "confirmed").await == 50.0).then_some(()))
        .await;
    first.kill();
    second.revoke(&token("last")).await;
    client.until_ready(&queue, 51).await;
    until("it is confirmed", async || (second.metric("link_messages_total", "confirmed").await >= 1.0).then_some(()))
        .await;
    assert_eq!(second.metric("link_messages_total", "confirmed").await, 1.0);
    let mut consumer = client.consume(&queue).await;
    let all: Vec<String> = (0..50).map(|n| n.to_string()).chain(["last".into()]).collect();
    assert_eq!(first_appearances(&mut consumer, "last").await, all);
}

async fn a_loop_is_recognised(place: &Place) {
    let client = Client::new(&shared()).await;
    let key = unique("key");
    let keys = format!("routing_keys = [\"{key}\"]");
    let hub = hub(place, &(source(&shared(), &keys) + &outlet("out", &shared(), &keys)), 2).await;
    // WSO2's form has no place for the issuer: taken back, this would be another revocation.
    hub.revoke(&token("mine")).await;
    let own = async || hub.metric("link_messages_total", "outcome=\"own\"").await;
    until("it comes back", async || (own().await == 1.0).then_some(())).await;
    let body = br#"{"jti":"theirs","ttl":3600}"#;
    let properties = BasicProperties::default().with_headers(from_log("aaaaaaaa"));
    client.publish_with(&key, body, properties).await;
    until("the other log's message was taken, published and known", async || (own().await == 2.0).then_some(())).await;
    assert_eq!(values(&hub, "jti").await, ["mine", "theirs"]);
    assert_eq!(hub.snapshot().await.cursor.seq, 2);
}

async fn choreo_connects_way_of_listening_hears_it(place: &Place) {
    // Its keys are fixed, so that it needs a broker of its own.
    let server = Server::start("rabbitmq");
    let client = Client::new(&server.amqp()).await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = place.folder.path().join("listener");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(root.join("tests/brokers/go/main.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", place.folder.path().join("go"))
        .output()
        .expect("go is installed");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let log = place.folder.path().join("listener.log");
    let mut listener = Command::new(&program)
        .arg(server.amqp() + "/")
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let lines = || std::fs::read_to_string(&log).unwrap();
    until("it listens", async || lines().starts_with("listening\n").then_some(())).await;
    let hub = hub(place, &outlet("out", &server.amqp(), ""), 1).await;
    hub.revoke(&json!({"jti": J, "exp": 4_102_444_800_i64})).await;
    hub.revoke(&json!({"jti": "second", "exp": 4_102_444_800_i64})).await;
    let heard = until("it hears both", async || (lines().lines().count() == 3).then(lines)).await;
    listener.kill().unwrap();
    listener.wait().unwrap();
    let lines: Vec<serde_json::Value> = heard.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect();
    let expected = |jti: &str, seq| {
        json!({"EventID": event_id(Id::of(Kind::Token, None, jti), seq), "RevokedToken": jti, "TTL": "5000",
            "ExpiryTime": 4_102_444_800_000_i64, "Type": "JWT", "TenantID": -1234})
    };
    assert_eq!(lines, [expected(J, 1), expected("second", 2)]);
    drop(client);
}
