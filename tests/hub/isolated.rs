//! Isolated: a slow or dead gateway costs one cursor; it delays nobody and loses nothing.

use revocation_hub::cli::promise::{Promise, Start};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::*;
use crate::stalled::{body, stalled};

const TOTAL: u64 = 20_000;
const BATCH: u64 = 500;
const READERS: usize = 50;
/// Several that stall, so that a queue per client would show in the memory.
const STALLED: usize = 10;

/// Reads to the end of what is posted and makes sure that it is all there, in order, each once.
async fn everything(mut stream: Stream) {
    let ids = stream.ids(TOTAL).await;
    assert!(ids.iter().map(|(seq, _)| *seq).eq(1..=TOTAL));
}

async fn a_reader_that_never_reads_delays_nobody_and_misses_nothing(place: &Place) {
    // They are read again at the end, so they must not be cut before, however long the rest takes.
    let mut hub = Process::launch(place, "limits = { stall_timeout = \"1h\" }", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    let mut dead = Vec::new();
    for _ in 0..STALLED {
        dead.push(stalled(&hub, "/v1/events").await);
    }
    let mut reading = JoinSet::new();
    for _ in 0..READERS {
        reading.spawn(everything(hub.stream(Start::Now).await));
    }
    until("all streams are open", async || {
        (hub.metric("streams", "").await == (READERS + STALLED) as f64).then_some(())
    })
    .await;
    let memory = hub.metric("process_resident_memory_bytes", "").await;
    for batch in 0..TOTAL / BATCH {
        let lines: Vec<Value> = (0..BATCH)
            .map(|i| {
                let mut line = token(format!("{batch}-{i}"));
                line["reason"] = "a reason that is long enough to fill a socket sooner; ".repeat(4).into();
                line
            })
            .collect();
        assert_eq!(hub.post_lines(&lines).await.expect(200).json()["revoked"], BATCH);
    }
    reading.join_all().await;

    // Everybody else is done, and the dead ones were not even handed everything.
    let handed = hub.metric("stream_bytes_total", "").await;
    let grown = hub.metric("process_resident_memory_bytes", "").await - memory;
    let one = body(dead.pop().unwrap(), Promise::new(Start::Now));
    everything(one).await;
    let each = {
        // The next one that reads to its end takes as much as every stream does.
        let before = hub.metric("stream_bytes_total", "").await;
        let mut stream = hub.stream(Start::Earliest).await;
        stream.follow(&mut Map::new(), TOTAL).await;
        hub.metric("stream_bytes_total", "").await - before
    };
    assert!(handed < each * (READERS + STALLED - 1) as f64, "{handed} of {each} each: nobody was stalled");
    // The revocations themselves, the shared frames, and one batch per stalled stream: far less than a copy for each.
    assert!(each * STALLED as f64 > 60e6 && grown < 60e6, "{grown} bytes more, {each} per stream");
    for stream in dead {
        everything(body(stream, Promise::new(Start::Now))).await;
    }
}

async fn a_reader_that_goes_away_leaves_nothing_behind(place: &Place) {
    let hub = place.hub().await;
    for round in 1..=20 {
        let streams = [hub.stream(Start::Now).await, hub.stream(Start::Earliest).await];
        hub.revoke(&token(round)).await;
        drop(streams);
        drop(stalled(&hub, "/v1/events").await);
    }
    until("their streams have ended", async || (hub.metric("streams", "").await == 0.0).then_some(())).await;
    assert!(hub.metric("streams_ended_total", "client").await >= 40.0);
}

both_stores!(a_reader_that_never_reads_delays_nobody_and_misses_nothing, a_reader_that_goes_away_leaves_nothing_behind,);
