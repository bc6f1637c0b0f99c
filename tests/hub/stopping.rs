//! How a hub ends: streams leave one after the other, and what was asked is answered. Hubs that are replaced under load are in
//! `tests/faults/stopping.rs`.

use std::time::Duration;

use revocation_hub::cli::promise::{Promise, Start};
use revocation_hub::clock::Clock;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::*;
use crate::raw::Raw;
use crate::stalled::stalled;

/// More than is sent to somebody who does not read.
const MUCH: u64 = 20_000;
const STREAMS: u32 = 100;

async fn fill(hub: &Api) {
    let lines: Vec<_> = (0..MUCH).map(|i| token(format!("fill-{i}"))).collect();
    assert_eq!(hub.post_lines(&lines).await.expect(200).json()["revoked"], MUCH);
    until("the hub shows them", async || (hub.metric("head", "").await >= MUCH as f64).then_some(())).await;
}

/// One that does not read keeps the hub in the middle of its end for as long as the test needs to look.
async fn streams_leave_one_after_the_other_and_no_new_ones_come(place: &Place) {
    let mut config = place.config();
    (config.shutdown.drain, config.shutdown.grace) = (Duration::from_secs(1000), Duration::from_secs(1001));
    config.limits.stall_timeout = Duration::from_secs(1000);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    fill(&hub).await;
    let dead = stalled(&hub, "/v1/events?since=earliest").await;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(hub.stream(Start::Now).await);
    }
    let mut raw = Raw::connect(&hub).await;
    raw.send("GET /v1/events HTTP/1.0\r\nHost: hub\r\n\r\n").await;
    let mut writer = Raw::connect(&hub).await;
    let body = token("begun before").to_string();
    let head = "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length:";
    writer.send(format!("{head} {}\r\n\r\n", body.len())).await;
    until("all streams are open", async || (hub.metric("streams", "").await == f64::from(STREAMS + 2)).then_some(()))
        .await;

    hub.begin_to_stop();
    assert!(!hub.is_ready().await);
    assert_eq!(hub.metric("draining", "").await, 1.0);
    let refused = hub.try_open(Promise::new(Start::Now), Ask::Header).await;
    let answer = refused.err().expect("no new streams").1.unwrap();
    assert_eq!((answer.status, &*answer.code()), (503, "stopping"));
    assert!(answer.header("retry-after").is_some());
    assert_eq!(answer.header("connection"), Some("close"), "the next request goes to another replica");
    writer.send(body).await;
    assert_eq!(writer.answer().await.expect("an answer").status, 201);
    hub.revoke(&token("begun after")).await;

    let mut leaving = JoinSet::new();
    for mut stream in streams {
        leaving.spawn(async move {
            while stream.next().await != Got::End {}
            assert!(stream.is_complete(), "ended in good order");
            Instant::now()
        });
    }
    let mut ends = within("all have left", leaving.join_all()).await;
    ends.sort();
    // At most 10 ms for each: one second for these. Of a hundred at random the middle half does not fall into a tenth of it.
    let middle = ends[ends.len() * 3 / 4] - ends[ends.len() / 4];
    assert!(middle > Duration::from_millis(100), "half of them left within {middle:?}");
    let last = raw.rest().await;
    assert!(last.ends_with(b"\n\n"), "the last frame is whole: {}", String::from_utf8_lossy(&last));
    assert_eq!(hub.metric("streams_ended_total", "shutdown").await, f64::from(STREAMS + 1));

    drop(dead);
    hub.stop().await;
}

/// With a grace and a drain that nobody would wait for.
async fn nobody_waits_longer_than_there_are_streams(place: &Place) {
    let long = "grace = \"1h\"\ndrain = \"59m\"";
    for streams in 0..3 {
        let mut hub = Process::launch_to_end(place, "", long, &[]);
        hub.until_listening().await;
        hub.until_ready().await;
        let mut open = Vec::new();
        for _ in 0..streams {
            open.push(hub.stream(Start::Now).await);
        }
        hub.terminate();
        assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
    }
}

async fn a_second_signal_ends_it_at_once(place: &Place) {
    let settings = "limits = { stall_timeout = \"1h\" }";
    let mut hub = Process::launch_to_end(place, settings, "grace = \"1h\"\ndrain = \"59m\"", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    fill(&hub).await;
    let _dead = stalled(&hub, "/v1/events?since=earliest").await;
    until("the stream is open", async || (hub.metric("streams", "").await == 1.0).then_some(())).await;
    hub.terminate();
    until("it is stopping", async || hub.printed().contains("a second signal").then_some(())).await;
    assert!(!hub.is_ready().await);
    hub.terminate();
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
}

async fn a_drain_as_long_as_the_grace_is_refused(place: &Place) {
    let mut hub = Process::launch_to_end(place, "", "grace = \"5s\"\ndrain = \"5s\"", &[]);
    assert_eq!(hub.ended().await.code(), Some(64));
    let printed = hub.printed();
    assert!(printed.contains("shutdown.drain") && printed.contains("shutdown.grace"), "{printed}");
}

on_sqlite!(
    streams_leave_one_after_the_other_and_no_new_ones_come,
    nobody_waits_longer_than_there_are_streams,
    a_second_signal_ends_it_at_once,
    a_drain_as_long_as_the_grace_is_refused,
);
