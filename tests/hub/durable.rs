//! Durable: what was acknowledged is never lost, however the process ends.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use revocation_hub::cli::promise::{Promise, Start};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::harness::*;

const WRITERS: usize = 8;
/// Every fourth request brings so many at once, which have to be there together or not at all.
const GROUP: usize = 5;

/// What writers did, over all rounds.
#[derive(Default)]
struct Record {
    /// The `jti`s of what was acknowledged.
    acknowledged: Mutex<BTreeSet<String>>,
    /// The `jti`s of each group that was sent, whatever came back.
    groups: Mutex<Vec<Vec<String>>>,
    sent: AtomicUsize,
    stop: AtomicBool,
    progress: Notify,
}

impl Record {
    /// Waits until so many more than `before` were acknowledged.
    async fn until_acknowledged(&self, before: usize, more: usize) {
        within("revocations are acknowledged", async {
            while self.acknowledged.lock().len() < before + more {
                self.progress.notified().await;
            }
        })
        .await;
    }
}

/// Writes without a pause until the hub is gone or the record says stop.
async fn write(api: Api, record: Arc<Record>) {
    while !record.stop.load(Ordering::SeqCst) {
        let n = record.sent.fetch_add(1, Ordering::SeqCst);
        let (jtis, body) = if n.is_multiple_of(4) {
            let jtis: Vec<String> = (0..GROUP).map(|i| format!("{n}-{i}")).collect();
            record.groups.lock().push(jtis.clone());
            let body = Value::Array(jtis.iter().map(token).collect());
            (jtis, body)
        } else {
            (vec![n.to_string()], token(n))
        };
        match api.try_post(&body).await {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                record.acknowledged.lock().extend(jtis);
                record.progress.notify_one();
            }
            // While it stops it may refuse, which promises nothing.
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            Err(_) => return,
        }
    }
}

fn writers(hub: &Process, record: &Arc<Record>) -> JoinSet<()> {
    (0..WRITERS).map(|_| write((**hub).clone(), record.clone())).collect()
}

/// Reads a stream to its end and returns what its client knows then.
async fn read(mut stream: Stream, mut map: Map) -> (Promise, Map) {
    loop {
        match stream.next().await {
            Got::Event(seen, _) => fold(&mut map, &seen),
            Got::Comment => {}
            Got::End => return (stream.into_promise(), map),
        }
    }
}

fn jtis(map: &Map) -> BTreeSet<String> {
    map.values().map(|entry| entry["jti"].as_str().unwrap().to_owned()).collect()
}

/// Everything acknowledged is there, and each group as a whole or not at all.
fn check(record: &Record, snapshot: &Snapshot) {
    let there = jtis(&snapshot.map);
    let acknowledged = record.acknowledged.lock();
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    for group in record.groups.lock().iter() {
        let found = group.iter().filter(|jti| there.contains(*jti)).count();
        assert!(found == 0 || found == GROUP, "{found} of {group:?}");
    }
}

/// `kill -9` in the middle of concurrent posts, again and again. A client follows through all of it; what it was shown
/// before a crash must have been on disk, or its positions would mean something else afterwards.
async fn nothing_acknowledged_is_lost_by_fifty_kills_in_a_row(place: &Place) {
    let record = Arc::new(Record::default());
    let (mut promise, mut map) = (Promise::new(Start::Earliest), Map::new());
    let mut epoch = None;
    for round in 0..50 {
        let mut hub = Process::start(place).await;
        let snapshot = hub.snapshot().await;
        check(&record, &snapshot);
        assert_eq!(*epoch.get_or_insert(snapshot.cursor.epoch.clone()), snapshot.cursor.epoch);
        // What the client had before the crash, brought up to date, is what there is.
        let mut stream = hub.resume(promise, Ask::Header).await;
        stream.follow(&mut map, snapshot.cursor.seq).await;
        assert_eq!(map, snapshot.map, "round {round}");
        let reading = tokio::spawn(read(stream, map));
        let before = record.acknowledged.lock().len();
        let writing = writers(&hub, &record);
        // Another moment of the hub's life each time.
        record.until_acknowledged(before, 1 + round * 7 % 60).await;
        hub.kill();
        within("the writers notice", writing.join_all()).await;
        (promise, map) = within("the reader notices", reading).await.unwrap();
    }
    let hub = Process::start(place).await;
    let snapshot = hub.snapshot().await;
    check(&record, &snapshot);
    // Whatever is in the log has its record, and no record is about anything else.
    let mut recorded: Vec<String> = Vec::new();
    let mut after = String::new();
    loop {
        let page = hub.get(&format!("/v1/audit?limit=1000{after}")).await.expect(200).json();
        let targets = page["records"].as_array().unwrap().iter().flat_map(|r| r["targets"].as_array().unwrap());
        recorded.extend(targets.map(|target| target["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    recorded.sort_unstable();
    assert!(recorded.iter().eq(snapshot.map.keys()), "{} records, {} rows", recorded.len(), snapshot.map.len());
}

/// SIGTERM under load: the process finishes what it has begun and exits with 0.
async fn nothing_acknowledged_is_lost_by_a_graceful_end(place: &Place) {
    let record = Arc::new(Record::default());
    for _ in 0..2 {
        let mut hub = Process::start(place).await;
        check(&record, &hub.snapshot().await);
        let before = record.acknowledged.lock().len();
        let writing = writers(&hub, &record);
        record.until_acknowledged(before, 100).await;
        hub.terminate();
        assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
        within("the writers notice", writing.join_all()).await;
    }
    let hub = Process::start(place).await;
    check(&record, &hub.snapshot().await);
}

both_stores!(nothing_acknowledged_is_lost_by_fifty_kills_in_a_row, nothing_acknowledged_is_lost_by_a_graceful_end);
