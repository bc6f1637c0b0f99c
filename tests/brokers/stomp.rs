//! STOMP with ActiveMQ, and a JMS client in Java on the other side of it.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;

use crate::far::{Peer, Server, hub, tokens, until_linked, until_messages, until_tokens};
use crate::harness::{Place, Process, Proxy, Wire, token, until};

fn source(port: u16, topic: &str) -> String {
    format!(
        "[[sources]]\nname = \"in\"\nkind = \"stomp\"\nurl = \"stomp://127.0.0.1:{port}\"\n\
         destination = \"/topic/{topic}\"\nclient_id = \"hub\"\nsubscription = \"revocations\"\n"
    )
}

fn outlet(port: u16, destination: &str, format: &str) -> String {
    format!(
        "[[outlets]]\nname = \"out-{format}\"\nkind = \"stomp\"\nurl = \"stomp://127.0.0.1:{port}\"\n\
         destination = \"{destination}\"\nformat = \"{format}\"\n"
    )
}

/// The JSON text of WSO2 that revokes a token.
fn text(token: &str) -> String {
    json!({"event": {"payloadData": {"eventId": "e", "revokedToken": token, "ttl": "5000",
        "expiryTime": 4_102_444_800_000_i64, "type": "JWT", "tenantId": -1234}}})
    .to_string()
}

/// What a Java program publishes is revoked, and what the hub publishes a Java program reads with `getString`.
async fn every_form_comes_in_and_goes_out(place: &Place) {
    let broker = Server::start("activemq").await;
    let mut maps = Peer::java(&broker, "subscribe", "maps").await;
    let mut texts = Peer::java(&broker, "subscribe", "texts").await;
    let settings = [
        source(broker.port, "tokenRevocation"),
        outlet(broker.port, "/topic/maps", "map"),
        outlet(broker.port, "/topic/texts", "json"),
    ];
    let hub = hub(place, &settings.concat(), 3).await;
    let mut java = Peer::java(&broker, "publish", "tokenRevocation").await;
    java.done("map 0123 & <x>").await;
    java.done(&format!("text {}", text("b"))).await;
    java.done(r#"text {"jti":"c","ttl":3600}"#).await;
    java.done(&format!("bytes {}", text("d"))).await;
    // Poison stops nothing.
    java.done("empty").await;
    java.done("text no JSON").await;
    java.done("text <map><entry/></map>").await;
    java.done("map e").await;
    until_tokens(&hub, &["0123 & <x>", "b", "c", "d", "e"]).await;
    until_messages(&hub, "no_token", 1).await;
    until_messages(&hub, "unknown_format", 1).await;
    until_messages(&hub, "malformed_map", 1).await;

    let cursor = hub.snapshot().await.cursor;
    for token in ["0123 & <x>", "b", "c", "d", "e"] {
        let line = maps.line().await;
        assert!(line.starts_with(&format!("map {token} 5000 ")), "{line}");
        assert!(line.ends_with(&format!(" -1234 JWT {}", cursor.epoch)), "{line}");
        let line = texts.line().await;
        let json: serde_json::Value = serde_json::from_str(line.strip_prefix("text ").unwrap()).unwrap();
        assert_eq!(json["event"]["payloadData"]["revokedToken"], token);
    }
    // What XML cannot say, and what WSO2 has no name for, is counted; what comes after is sent.
    hub.revoke(&json!({"sid": "s", "ttl": 3600})).await;
    hub.revoke(&json!({"jti": "not \u{fffe} in XML", "ttl": 3600})).await;
    hub.revoke(&token("last")).await;
    assert!(maps.line().await.starts_with("map last "));
    until("they are counted", async || {
        (hub.metric("link_messages_total", "outcome=\"not_expressible\"").await as u64 == 3).then_some(())
    })
    .await;
}

/// Hub, broker, and the same hub again: nothing new, and it ends there.
async fn what_the_hub_said_itself_is_left(place: &Place) {
    let broker = Server::start("activemq").await;
    let settings = source(broker.port, "tokenRevocation") + &outlet(broker.port, "/topic/tokenRevocation", "map");
    let hub = hub(place, &settings, 2).await;
    hub.revoke(&token("a")).await;
    until_messages(&hub, "own", 1).await;
    let snapshot = hub.snapshot().await;
    assert_eq!((snapshot.map.len(), snapshot.cursor.seq), (1, 1));
}

/// Neither the hub nor the broker need to be there: the durable subscription keeps what was sent meanwhile.
async fn a_broker_that_crashes_and_a_hub_that_is_killed_lose_nothing(place: &Place) {
    let mut broker = Server::start("activemq").await;
    let settings = source(broker.port, "tokenRevocation");
    let mut first = hub(place, &settings, 1).await;
    let mut java = Peer::java(&broker, "publish", "tokenRevocation").await;
    java.done("map a").await;
    until_tokens(&first, &["a"]).await;
    // The broker goes and comes back: the link heals by itself.
    broker.end("-KILL");
    until_linked(&first, 0).await;
    broker.again();
    broker.until_listening().await;
    java.done("map b").await;
    until_tokens(&first, &["a", "b"]).await;
    // The hub is away, and the broker restarts as well.
    first.kill();
    java.done("map c").await;
    broker.crash();
    java.done("map d").await;
    let second = hub(place, &settings, 1).await;
    until_tokens(&second, &["a", "b", "c", "d"]).await;
}

/// While the store is away nothing is acknowledged: a hub that is killed then has lost nothing.
async fn nothing_is_acknowledged_before_it_is_committed(place: &Place) {
    let broker = Server::start("activemq").await;
    let wire = Proxy::new(place).await;
    let behind = Place { url: wire.url(place), folder: tempfile::tempdir().unwrap() };
    let settings = source(broker.port, "tokenRevocation");
    let mut first = hub(&behind, &settings, 1).await;
    let mut java = Peer::java(&broker, "publish", "tokenRevocation").await;
    java.done("map a").await;
    until_tokens(&first, &["a"]).await;
    assert_eq!(first.metric("link_failures_total", "").await, 0.0);
    wire.set(Wire::Cut);
    java.done("map b").await;
    until("a commit fails", async || (first.metric("link_failures_total", "").await >= 1.0).then_some(())).await;
    assert_eq!(tokens(&first).await, ["a"]);
    first.kill();
    let second = hub(place, &settings, 1).await;
    until_tokens(&second, &["a", "b"]).await;
}

/// First time each was received, in that order.
fn firsts(peer: &Peer) -> Vec<String> {
    let mut seen = HashSet::new();
    let token = |line: String| Some(line.strip_prefix("map ")?.split(' ').next()?.to_owned());
    peer.printed().into_iter().filter_map(token).filter(|token| seen.insert(token.clone())).collect()
}

/// The outlet goes on where it was, whoever restarts.
async fn an_outlet_keeps_the_order_and_leaves_nothing_out(place: &Place) {
    let mut broker = Server::start("activemq").await;
    let settings = outlet(broker.port, "/queue/gateways", "map");
    let mut first = hub(place, &settings, 1).await;
    let names: Vec<String> = (0..600).map(|i| format!("t-{i:04}")).collect();
    let (early, rest) = names.split_at(200);
    let (meanwhile, late) = rest.split_at(200);
    for name in early {
        first.revoke(&token(name)).await;
    }
    broker.crash();
    for name in meanwhile {
        first.revoke(&token(name)).await;
    }
    first.kill();
    let second = hub(place, &settings, 1).await;
    for name in late {
        second.revoke(&token(name)).await;
    }
    let java = Peer::java(&broker, "subscribe", "queue:gateways").await;
    until("everything arrives", async || (firsts(&java).len() == names.len()).then_some(())).await;
    assert_eq!(firsts(&java), names);
}

/// 10,000 messages of two Java programs through everything that can happen to them, and out again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm() {
    const EACH: usize = 5_000;
    let mut broker = Server::start("activemq").await;
    let mut postgres = Server::start("postgres").await;
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
    let behind = Place { url, folder: tempfile::tempdir().unwrap() };
    let settings = source(broker.port, "tokenRevocation") + &outlet(broker.port, "/queue/gateways", "map");
    let mut here = hub(&behind, &settings, 2).await;
    let mut java = [
        Peer::java(&broker, "publish", "tokenRevocation").await,
        Peer::java(&broker, "publish", "tokenRevocation").await,
    ];
    for (peer, name) in java.iter_mut().zip(["a", "b"]) {
        peer.say(&format!("storm {name} {EACH}"));
    }
    let sent = |java: &[Peer; 2]| java.iter().map(|p| p.printed().len() * 100).sum::<usize>();
    // A trouble after every thousand messages sent: five times the hub, twice the broker, once Postgres.
    for (at, trouble) in ["hub", "broker", "hub", "postgres", "hub", "broker", "hub", "hub"].into_iter().enumerate() {
        patiently("the storm goes on", async || (sent(&java) >= (at + 1) * 1_000).then_some(())).await;
        match trouble {
            "hub" => {
                here.kill();
                here = Process::launch(&behind, &settings, &[]);
                here.until_listening().await;
            }
            "broker" => broker.crash(),
            _ => {
                postgres.end("-INT");
                patiently("the hub misses it", async || {
                    let failures = here.metric("link_failures_total", "").await;
                    (failures >= 1.0 || !here.is_ready().await).then_some(())
                })
                .await;
                postgres.again();
            }
        }
    }
    for peer in &java {
        patiently("it has sent everything", async || (peer.printed().last()? == "done").then_some(())).await;
    }
    patiently("all are revoked", async || {
        (here.metric("live_revocations", "").await as usize == 2 * EACH).then_some(())
    })
    .await;
    let snapshot = here.snapshot().await;
    assert_eq!(snapshot.cursor.seq as usize, 2 * EACH, "each once");
    // The order of each producer is the order of the log, and of what comes out.
    let out = Peer::java(&broker, "subscribe", "queue:gateways").await;
    patiently("all come out", async || (firsts(&out).len() == 2 * EACH).then_some(())).await;
    let received = firsts(&out);
    for name in ["a", "b"] {
        let of: Vec<&String> = received.iter().filter(|token| token.starts_with(name)).collect();
        assert_eq!(of.len(), EACH);
        assert!(of.is_sorted(), "the order of {name}");
    }
}

/// Looks again and again, longer than tests usually do.
async fn patiently<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let wait = tokio::time::timeout(Duration::from_secs(240), async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    wait.await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

on_sqlite!(
    every_form_comes_in_and_goes_out,
    what_the_hub_said_itself_is_left,
    a_broker_that_crashes_and_a_hub_that_is_killed_lose_nothing,
    an_outlet_keeps_the_order_and_leaves_nothing_out,
);
on_postgres!(nothing_is_acknowledged_before_it_is_committed);
