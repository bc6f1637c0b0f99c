//! AMQP 1.0 with RabbitMQ, and with Qpid's own library (Proton, in Python) on the other side.

use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::far::{Peer, Server, free_port, hub, tokens, until_linked, until_messages, until_tokens};
use crate::harness::{NOW, Place, Proxy, TestHub, Wire, token, until};

/// Proton lets in whoever says nothing, RabbitMQ wants a name.
const NOBODY: &str = "";
const GUEST: &str = "guest:guest@";

fn source(login: &str, port: u16, more: &str) -> String {
    format!("[[sources]]\nname = \"in\"\nkind = \"amqp1\"\nurl = \"amqp://{login}127.0.0.1:{port}\"\n{more}\n")
}

fn outlet(login: &str, port: u16, format: &str) -> String {
    format!(
        "[[outlets]]\nname = \"out-{format}\"\nkind = \"amqp1\"\nurl = \"amqp://{login}127.0.0.1:{port}\"\n\
         format = \"{format}\"\n"
    )
}

/// What Proton sends is revoked and accepted, whatever form it has; poison is set aside and stops nothing.
async fn every_form_comes_in(place: &Place) {
    let port = free_port();
    let mut proton = Peer::python(port).await;
    let hub =
        hub(place, &source(NOBODY, port, "subscription = \"revocations\"\nclient_id = \"hub\"\nprefetch = 4"), 1).await;
    proton.expect("receiver revocations True").await;
    let text = r#"{"event":{"payloadData":{"revokedToken":"b","ttl":"5000","expiryTime":4102444800000,"type":"JWT"}}}"#;
    let messages = [
        "map 0123",
        &format!("string {text}"),
        r#"data application/json {"jti":"c","ttl":3600}"#,
        "sequence",
        "string no JSON",
        "data application/json {",
        "nested",
        "map z",
    ];
    for message in messages {
        proton.say(message);
    }
    until_tokens(&hub, &["0123", "after-nested", "b", "c", "z"]).await;
    let all = |lines: Vec<String>| (1..=messages.len()).all(|n| lines.contains(&format!("accepted {n}")));
    until("all are accepted", async || all(proton.printed()).then_some(())).await;
    until_messages(&hub, "unknown_format", 2).await;
    until_messages(&hub, "malformed_json", 1).await;
}

/// A hub that stops does not end its durable subscription: the connection goes, and no word of the link. In this process,
/// so that there is time to say one.
async fn a_stop_is_no_unsubscribing(place: &Place) {
    let port = free_port();
    let mut proton = Peer::python(port).await;
    let mut config = place.config();
    let source = json!({"name": "in", "kind": "amqp1", "url": format!("amqp://127.0.0.1:{port}"), "subscription": "s"});
    config.sources = vec![serde_json::from_value(source).unwrap()];
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    proton.expect("receiver s True").await;
    until("it is connected", async || (hub.metric("link_up", "").await >= 1.0).then_some(())).await;
    hub.stop().await;
    proton.expect("gone").await;
}

/// While the store is away nothing is accepted: a hub that is killed then has lost nothing.
async fn nothing_is_accepted_before_it_is_committed(place: &Place) {
    let port = free_port();
    let mut proton = Peer::python(port).await;
    let wire = Proxy::new(place).await;
    let behind = Place { url: wire.url(place), folder: tempfile::tempdir().unwrap() };
    let hub = hub(&behind, &source(NOBODY, port, ""), 1).await;
    proton.expect("receiver revocation-hub-in False").await;
    proton.say("map a");
    proton.expect("sent 1").await;
    proton.expect("accepted 1").await;
    until_tokens(&hub, &["a"]).await;
    assert_eq!(hub.metric("link_failures_total", "").await, 0.0);
    wire.set(Wire::Cut);
    proton.say("map b");
    proton.expect("sent 2").await;
    until("a commit fails", async || (hub.metric("link_failures_total", "").await >= 1.0).then_some(())).await;
    assert_eq!(tokens(&hub).await, ["a"]);
    assert_eq!(proton.printed().last().unwrap(), "sent 2", "not accepted yet");
    wire.set(Wire::Good);
    proton.expect("accepted 2").await;
    until_tokens(&hub, &["a", "b"]).await;
}

/// What the hub sends Proton reads, in order, as maps and as JSON; a peer that goes and comes back gets the rest.
async fn an_outlet_speaks_to_proton(place: &Place) {
    let port = free_port();
    let mut proton = Peer::python(port).await;
    let hub = hub(place, &(outlet(NOBODY, port, "map") + &outlet(NOBODY, port, "json")), 2).await;
    hub.revoke(&json!({"jti": "a", "exp": 4_102_444_800_i64})).await;
    let got = async |proton: &mut Peer| -> Value {
        loop {
            if let Some(json) = proton.line().await.strip_prefix("got ") {
                return serde_json::from_str(json).unwrap();
            }
        }
    };
    let mut both = [got(&mut proton).await, got(&mut proton).await];
    both.sort_by_key(|message| message["jms"].is_null());
    let [map, text] = both;
    let epoch = json!(hub.snapshot().await.cursor.epoch.to_string());
    assert_eq!(map["body"]["revokedToken"], "a");
    assert_eq!(map["body"]["ttl"], "5000");
    assert_eq!(map["body"]["expiryTime"], 4_102_444_800_000_i64);
    assert_eq!((&map["jms"], &map["durable"], &map["origin"]), (&json!(2), &json!(true), &epoch));
    let body: Value = serde_json::from_str(text["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["event"]["payloadData"]["revokedToken"], "a");
    assert_eq!((&text["type"], &text["origin"]), (&json!("application/json"), &epoch));

    drop(proton);
    until_linked(&hub, 0).await;
    let names: Vec<String> = (0..300).map(|i| format!("t-{i:03}")).collect();
    for name in &names {
        hub.revoke(&token(name)).await;
    }
    let mut proton = Peer::python(port).await;
    let mut maps = Vec::new();
    while maps.len() < names.len() {
        if let Some(token) = got(&mut proton).await["body"]["revokedToken"].as_str() {
            maps.push(token.to_owned());
        }
    }
    assert_eq!(maps, names);
}

/// RabbitMQ's plugin: out by one link, in by another, and known again.
async fn rabbitmq_brings_back_what_the_hub_said(place: &Place) {
    let mut broker = Server::start("rabbitmq").await;
    let settings =
        source(GUEST, broker.port, "") + &outlet(GUEST, broker.port, "map") + &outlet(GUEST, broker.port, "json");
    let hub = hub(place, &settings, 3).await;
    hub.revoke(&token("a")).await;
    until_messages(&hub, "own", 2).await;
    assert_eq!(hub.snapshot().await.cursor.seq, 1);
    // Another hub does not know them as its own.
    let other = tempfile::tempdir().unwrap();
    let other = Place { url: format!("sqlite://{}", other.path().join("log.db").display()), folder: other };
    // It comes by TLS; with a trust of its own, because who trusts only the system gets no connection.
    let secure = |name: &str, more: &str| {
        let login = source(GUEST, broker.port + 1, more).replace("amqp://", "amqps://");
        login.replace("\"in\"", &format!("\"{name}\"")).replace("127.0.0.1", "localhost")
    };
    let ca_file = format!("ca_file = \"{}\"", broker.ca_file().display());
    let settings = secure("in", &ca_file) + &secure("wary", "");
    let second = crate::far::hub(&other, &settings, 1).await;
    until("the wary one refuses", async || {
        (second.metric("link_failures_total", "name=\"wary\"").await >= 1.0).then_some(())
    })
    .await;
    assert!(second.printed().contains("no TLS"), "{}", second.printed());
    hub.revoke(&token("b")).await;
    until_tokens(&second, &["b"]).await;
    // The broker restarts.
    broker.end("-TERM");
    until_linked(&hub, 0).await;
    broker.again();
    broker.until_listening().await;
    until_linked(&hub, 3).await;
    until_linked(&second, 1).await;
    hub.revoke(&token("c")).await;
    until_tokens(&second, &["b", "c"]).await;
}

on_sqlite!(
    every_form_comes_in,
    a_stop_is_no_unsubscribing,
    an_outlet_speaks_to_proton,
    rabbitmq_brings_back_what_the_hub_said
);
on_postgres!(nothing_is_accepted_before_it_is_committed);
