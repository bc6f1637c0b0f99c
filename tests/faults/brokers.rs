//! A message broker between the sources and the hub: what it has is not taken from it before it is on disk here.

use std::collections::BTreeSet;

use lapin::BasicProperties;
use serde_json::json;

use crate::broker::{Client, Server, next_json, outlet, source, unique, until_linked, values};
use crate::harness::*;
use crate::scene::{TIMEOUT, program, ready};
use crate::tally::{Trial, trials};

/// What WSO2 publishes, as JSON.
fn message(jti: &str) -> Vec<u8> {
    let event = json!({"event": {"payloadData": {
        "eventId": jti, "revokedToken": jti, "ttl": "3600", "expiryTime": 4_102_444_800_000_i64, "type": "JWT", "tenantId": -1234,
    }}});
    event.to_string().into_bytes()
}

/// Publishes messages that outlive the broker.
async fn publish(client: &Client, jtis: &BTreeSet<String>) {
    for jti in jtis {
        let properties = BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        client.publish_with("tokenRevocation", &message(jti), properties).await;
    }
}

async fn until_known(hub: &Process, jtis: &BTreeSet<String>) {
    until("the hub has all of them", async || {
        let known: BTreeSet<String> = values(hub, "jti").await.into_iter().collect();
        known.is_superset(jtis).then_some(())
    })
    .await;
}

/// The broker is killed while one side publishes to the hub and the other hears it from the hub.
async fn rabbitmq_is_killed(place: &Place) {
    let mut broker = Server::start("rabbitmq");
    let client = Client::new(&broker.amqp()).await;
    client.queue("sts", &["tokenRevocation"]).await;
    client.queue("gateways", &["toGateways"]).await;
    let settings = source(&broker.amqp(), "queue = \"sts\"")
        + &outlet("out", &broker.amqp(), "routing_keys = [\"toGateways\"]\nexcept_sources = []");
    let hub = ready(Process::launch_by(program(), &place.url, place, &settings, &[])).await;
    until_linked(&hub, 2).await;
    let mut client = client;
    let mut heard = BTreeSet::new();
    for number in 0..trials() {
        let trial = Trial::of("RabbitMQ is killed under a source and an outlet");
        let names = |what: &str| (0..20).map(|n| format!("{what} {number} {n}")).collect::<BTreeSet<String>>();
        let (before, after, own) = (names("before"), names("after"), names("own"));
        publish(&client, &before).await;
        broker.end("-KILL");
        // It is not there, and the hub goes on: what is written meanwhile goes out when it is back.
        for jti in &own {
            hub.revoke(&token(jti)).await;
        }
        assert!(hub.is_ready().await);
        broker.again();
        client = Client::new(&broker.amqp()).await;
        publish(&client, &after).await;
        let all: BTreeSet<String> = before.into_iter().chain(after).chain(own).collect();
        until_known(&hub, &all).await;
        let mut consumer = client.consume("gateways").await;
        while !heard.is_superset(&all) {
            let message = next_json(&mut consumer).await;
            heard.insert(message["event"]["payloadData"]["revokedToken"].as_str().unwrap().to_owned());
        }
        trial.passed(all.len());
    }
}

/// The store does not answer: the broker keeps its messages, and gets no acknowledgement for those that it has handed out.
async fn the_broker_keeps_its_messages(place: &Place) {
    let shared = crate::broker::shared();
    let (queue, key) = (unique("queue"), unique("key"));
    let client = Client::new(&shared).await;
    client.queue(&queue, &[&key]).await;
    let wire = Proxy::new(place).await;
    let mut command = program();
    let prefetch = 7;
    let settings = source(&shared, &format!("queue = \"{queue}\"\nprefetch = {prefetch}"));
    command.env("REVOCATION_HUB_BOOKMARK_INTERVAL", "100ms");
    let mut hub = Some(ready(Process::launch_by(command, &wire.url(place), place, &settings, &[])).await);
    until_linked(hub.as_ref().unwrap(), 1).await;
    for number in 0..trials() {
        let trial = Trial::of("Postgres is away while a broker delivers");
        let jtis: BTreeSet<String> = (0..20).map(|n| format!("{number} {n}")).collect();
        wire.set(Wire::Mute);
        for jti in &jtis {
            client.publish(&key, "application/json", &message(jti)).await;
        }
        until("the source holds back", async || {
            let sources = hub.as_ref().unwrap().get("/v1/sources").await.json();
            (sources.to_string().contains("\"holding\"")).then_some(())
        })
        .await;
        // Longer than the store may take, so that whoever gave up would have done it by now.
        tokio::time::sleep(2 * TIMEOUT).await;
        let in_hand = 20 - prefetch;
        assert_eq!(client.counts(&queue).await.0, in_hand, "the rest is not even handed out");
        // Every other time the hub dies with them in its hand: then they are the broker's again.
        if number % 2 == 0 {
            hub.take().unwrap().kill();
            client.until_ready(&queue, 20).await;
            wire.set(Wire::Good);
            hub = Some(hub_by_with(&wire, place, &settings).await);
        } else {
            wire.set(Wire::Good);
        }
        until_known(hub.as_ref().unwrap(), &jtis).await;
        client.until_ready(&queue, 0).await;
        trial.passed(jtis.len());
    }
}

async fn hub_by_with(wire: &Proxy, place: &Place, settings: &str) -> Process {
    ready(Process::launch_by(program(), &wire.url(place), place, settings, &[])).await
}

on_postgres!(rabbitmq_is_killed, the_broker_keeps_its_messages);
