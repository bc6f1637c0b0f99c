//! Everything at once: while producers publish, the broker is restarted twice, the hub is killed five times and Postgres is
//! stopped once. Nothing is lost, nothing is twice, and each producer's order is kept.
//!
//! `TEST_STORM` says how many messages; `./scripts/storm` has 100,000.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::formats::wso2::map;
use revocation_hub::formats::wso2::value::{Map, Value};
use sqlx::{Connection as _, PgConnection};

use super::broker::*;
use crate::harness::{PATIENCE, Place, Process, until};

/// Producers, each with an order of its own.
const PRODUCERS: usize = 2;
/// Messages of a producer that are on their way at once.
const WINDOW: usize = 250;

/// A map message such as an STS of WSO2 publishes.
fn message(producer: usize, n: usize) -> Vec<u8> {
    let text = |text: &str| Value::Text(text.to_owned());
    let members = [
        ("eventId", text(&format!("e{producer}-{n}"))),
        ("revokedToken", text(&format!("p{producer}-{n:06}"))),
        ("ttl", text("5000")),
        ("expiryTime", Value::I64(4_102_444_800_000)),
        ("type", text("JWT")),
        ("tenantId", Value::I32(-1234)),
    ];
    map::encode(&Map(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())).unwrap()
}

/// Publishes `count` messages in order. What was not confirmed is published again, from the first of them on.
async fn produce(url: String, producer: usize, count: usize, confirmed: Arc<AtomicUsize>) {
    let mut at = 0;
    while at < count {
        let Some(client) = Client::try_new(&url).await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        while at < count {
            let end = (at + WINDOW).min(count);
            // A client that waits for a confirm for ever is no client.
            let window = tokio::time::timeout(Duration::from_secs(10), window(&client, producer, at..end)).await;
            let Ok(Ok(())) = window else { break };
            confirmed.fetch_add(end - at, Ordering::SeqCst);
            at = end;
        }
    }
}

async fn window(client: &Client, producer: usize, numbers: std::ops::Range<usize>) -> lapin::Result<()> {
    let mut confirms = Vec::new();
    for n in numbers {
        let properties = BasicProperties::default().with_content_type("amqp/map".into()).with_delivery_mode(2);
        let (exchange, key) = ("amq.topic".into(), "tokenRevocation".into());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        confirms.push(client.channel.basic_publish(exchange, key, options, &message(producer, n), properties).await?);
    }
    for confirm in confirms {
        let confirmation = confirm.await?;
        assert!(confirmation.is_ack() && confirmation.take_message().is_none(), "the queue is bound");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_loses_nothing_and_keeps_every_order() {
    let all: usize = std::env::var("TEST_STORM").map_or(10_000, |text| text.parse().unwrap());
    let (mut broker, mut postgres) = (Server::start("rabbitmq"), Server::start("postgres"));
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port);
    until("Postgres is there", async || PgConnection::connect(&url).await.ok()).await;
    let place = Place { url, folder: tempfile::tempdir().unwrap() };
    let settings = source(&broker.amqp(), "queue = \"sts\"");
    Client::new(&broker.amqp()).await.queue("sts", &["tokenRevocation"]).await;

    let confirmed = Arc::new(AtomicUsize::new(0));
    let producers: Vec<_> =
        (0..PRODUCERS).map(|n| tokio::spawn(produce(broker.amqp(), n, all / PRODUCERS, confirmed.clone()))).collect();
    // Trouble comes after each further tenth of the messages.
    let reached = async |tenths: usize| {
        let stands = async || {
            let now = confirmed.load(Ordering::SeqCst);
            (now, now * 10 >= all * tenths)
        };
        until_long(&format!("{tenths} tenths are confirmed"), stands).await;
    };
    let mut hub = Some(hub(&place, &settings, 1).await);
    let again = async |hub: &mut Option<Process>| {
        hub.take().unwrap().kill();
        let mut next = Process::launch(&place, &settings, &[]);
        next.until_listening().await;
        *hub = Some(next);
    };
    reached(1).await;
    again(&mut hub).await;
    reached(2).await;
    broker.end("-TERM");
    again(&mut hub).await;
    broker.again();
    reached(4).await;
    again(&mut hub).await;
    reached(5).await;
    postgres.end("-INT");
    reached(6).await;
    again(&mut hub).await;
    postgres.again();
    reached(7).await;
    broker.end("-KILL");
    broker.again();
    reached(9).await;
    again(&mut hub).await;
    for producer in producers {
        producer.await.unwrap();
    }

    let hub = hub.unwrap();
    hub.until_ready().await;
    let live = async || {
        let live = hub.metric("live_revocations", "").await as usize;
        (live, live == all)
    };
    until_long("all has arrived", live).await;
    Client::new(&broker.amqp()).await.until_ready("sts", 0).await;
    // A position for each and no more: nothing was written twice.
    assert_eq!(hub.snapshot().await.cursor.seq, all as u64);
    let mut stream = hub.stream(Start::Earliest).await;
    let mut orders = vec![Vec::new(); PRODUCERS];
    stream
        .until("the stream has shown all", |seen, at| {
            if let Seen::Revoked(value) = seen {
                let jti = value["jti"].as_str().unwrap();
                let (producer, n) = jti[1..].split_once('-').unwrap();
                orders[producer.parse::<usize>().unwrap()].push(n.parse::<usize>().unwrap());
            }
            (at.seq == all as u64).then_some(())
        })
        .await;
    for order in orders {
        assert!(order.iter().copied().eq(0..all / PRODUCERS), "a producer's order is not kept");
    }
}

/// Waits for something that may take minutes when there are many messages, as long as `progress` goes on rising.
async fn until_long(what: &str, mut progress: impl AsyncFnMut() -> (usize, bool)) {
    let (mut best, mut since) = (0, tokio::time::Instant::now());
    loop {
        let (now, done) = progress().await;
        if done {
            return;
        }
        if now > best {
            (best, since) = (now, tokio::time::Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "waited in vain: {what}; it stands at {now}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
