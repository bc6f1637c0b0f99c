//! How a hub ends: streams leave one after the other, what was asked is answered, and nothing is lost when replicas are
//! replaced one by one.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::clock::Clock;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::harness::*;
use crate::isolated::stalled;
use crate::raw::Raw;

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

// ---- a rolling restart -----------------------------------------------------------------------------------------

const WRITERS: usize = 4;
const READERS: usize = 8;
const ROUNDS: usize = 4;

/// The replicas that a load balancer would name.
type Replicas = Arc<Mutex<Vec<Api>>>;

fn any(replicas: &Replicas) -> Api {
    replicas.lock().choose(&mut rand::rng()).expect("there is always one").clone()
}

/// Revokes one token after the other until it is told to end, each until some replica has said yes; returns how many.
async fn write(replicas: Replicas, writer: usize, end: CancellationToken, done: Arc<Mutex<Vec<String>>>) {
    for number in 0.. {
        if end.is_cancelled() {
            return;
        }
        let jti = format!("w{writer}-{number}");
        loop {
            match any(&replicas).try_post(&token(&jti)).await {
                Ok(answer) if matches!(answer.status, 200 | 201) => break,
                Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
                // Gone between the look and the request, or while it answered: nobody knows, so once more.
                Err(_) => {}
            }
            tokio::task::yield_now().await;
        }
        done.lock().push(jti);
    }
}

/// Follows the stream from one replica to the next until `end` names the last position; returns the positions and names of
/// everything that came.
async fn read(replicas: Replicas, mut end: tokio::sync::watch::Receiver<Option<u64>>) -> Vec<(u64, String)> {
    let (mut promise, mut got) = (Promise::new(Start::Earliest), Vec::new());
    loop {
        promise.reconnect();
        let mut stream = match any(&replicas).try_open(promise, Ask::Header).await {
            Ok(stream) => stream,
            Err((back, answer)) => {
                assert!(answer.as_ref().is_none_or(|a| a.status == 503), "{answer:?}");
                promise = back;
                tokio::task::yield_now().await;
                continue;
            }
        };
        // Some leave by themselves, in the middle of whatever comes.
        stream.cut_after(rand::random_range(2_000..200_000));
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                _ = end.changed() => Got::Comment,
            };
            match next {
                Got::Event(Seen::Revoked(value), at) => got.push((at.seq, value["jti"].as_str().unwrap().to_owned())),
                Got::Event(Seen::Reset { reason }, _) => panic!("reset: {reason}"),
                Got::Event(..) | Got::Comment => {}
                Got::End => break,
            }
            if let Some(last) = *end.borrow()
                && got.last().is_some_and(|(seq, _)| *seq >= last)
            {
                return got;
            }
        }
        promise = stream.into_promise();
    }
}

/// Two replicas on one Postgres are replaced one after the other, again and again, under writers and readers.
async fn a_rolling_restart_loses_nothing_and_duplicates_nothing(place: &Place) {
    let mut processes = vec![Process::start(place).await, Process::start(place).await];
    let replicas: Replicas = Arc::new(Mutex::new(processes.iter().map(|p| Api::clone(p)).collect()));
    let (stop_writing, acknowledged) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let (last, end) = tokio::sync::watch::channel(None);
    let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
    for writer in 0..WRITERS {
        writing.spawn(write(replicas.clone(), writer, stop_writing.clone(), acknowledged.clone()));
    }
    for _ in 0..READERS {
        reading.spawn(read(replicas.clone(), end.clone()));
    }
    let some_more = async || {
        let before = acknowledged.lock().len();
        until("the writers get on", async || (acknowledged.lock().len() >= before + 50).then_some(())).await;
    };
    for _ in 0..ROUNDS {
        some_more().await;
        let new = Process::start(place).await;
        replicas.lock().push(Api::clone(&new));
        processes.push(new);
        some_more().await;
        let mut old = processes.remove(0);
        old.terminate();
        until("it says that it is not ready", async || (!old.is_ready().await).then_some(())).await;
        // A load balancer takes it out only now that it knows.
        let address = old.url().to_owned();
        replicas.lock().retain(|api| api.url() != address);
        assert_eq!(old.ended().await.code(), Some(0), "{}", old.printed());
    }
    some_more().await;
    stop_writing.cancel();
    within("the writers end", writing.join_all()).await;
    // A position that one replica has given is on the other a moment later.
    let answer = processes[1].post(&token("the last one")).await.expect(201);
    let head = cursor(&answer.json()["cursor"]).seq;
    let truth = until("the other replica has it", async || {
        Some(processes[0].snapshot().await).filter(|truth| truth.cursor.seq >= head)
    })
    .await;
    last.send_replace(Some(truth.cursor.seq));

    let there: std::collections::BTreeSet<_> =
        truth.map.values().map(|v| v["jti"].as_str().unwrap().to_owned()).collect();
    let acknowledged = acknowledged.lock().clone();
    assert!(acknowledged.iter().all(|jti| there.contains(jti)), "acknowledged and lost");
    for got in within("the readers end", reading.join_all()).await {
        assert!(got.iter().map(|(seq, _)| *seq).eq(1..=truth.cursor.seq), "each position once and in order");
        let names: std::collections::BTreeSet<_> = got.into_iter().map(|(_, jti)| jti).collect();
        assert_eq!(names, there);
    }
}

on_sqlite!(
    streams_leave_one_after_the_other_and_no_new_ones_come,
    nobody_waits_longer_than_there_are_streams,
    a_second_signal_ends_it_at_once,
    a_drain_as_long_as_the_grace_is_refused,
);
on_postgres!(a_rolling_restart_loses_nothing_and_duplicates_nothing);
