//! Hubs that are told to end while they have something in hand, one after the other and by somebody in a hurry.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::seq::IndexedRandom;
use revocation_hub::cli::promise::{Promise, Seen, Start};
use sqlx::Executor as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::harness::*;
use crate::scene::{program, ready, written};
use crate::tally::{Trial, trials};

// ---- a commit in flight ----------------------------------------------------------------------------------------

/// A hub that does not give its database up before the test is over.
fn patient() -> Command {
    let mut command = program();
    command.env("REVOCATION_HUB_STORE__TIMEOUT", "1h").env("REVOCATION_HUB_FEED__MAX_LAG", "2h");
    command.env("REVOCATION_HUB_SHUTDOWN__GRACE", "1h").env("REVOCATION_HUB_SHUTDOWN__DRAIN", "1s");
    command
}

/// A hub whose commit waits for the log, which somebody else holds.
async fn waiting_commit(
    place: &Place,
    jti: &str,
) -> (Process, sqlx::PgConnection, tokio::task::JoinHandle<reqwest::Result<Answer>>) {
    let hub = ready(Process::launch_by(patient(), &place.url, place, "", &[])).await;
    let mut holder = place.postgres().await;
    holder.execute("begin; select head from log for update").await.unwrap();
    let (api, body) = (Api::clone(&hub), token(jti));
    let post = tokio::spawn(async move { api.try_post(&body).await });
    until("the commit waits", async || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'revocation-hub' and wait_event_type = 'Lock'";
        (place.number(sql).await >= 1).then_some(())
    })
    .await;
    (hub, holder, post)
}

/// The last commit comes to its end within the grace, and its sender is told.
async fn a_commit_in_flight_ends_before_the_hub_does(place: &Place) {
    for number in 0..trials() {
        let trial = Trial::of("SIGTERM while a commit is in flight");
        let jti = format!("in flight {number}");
        let (mut hub, mut holder, post) = waiting_commit(place, &jti).await;
        hub.terminate();
        until("it says that it is not ready", async || (!hub.is_ready().await).then_some(())).await;
        holder.execute("rollback").await.unwrap();
        let answer = post.await.unwrap().unwrap().expect(201);
        assert!(hub.ended().await.success(), "{}", hub.printed());
        let hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
        let map = hub.snapshot().await.map;
        assert_eq!(map[answer.json()["id"].as_str().unwrap()]["jti"], *jti);
        trial.passed(1);
    }
}

/// Somebody insists while a commit waits. It ends at once, nobody is told that the write was done, and what was acknowledged
/// before is there. The two signals come so close to each other that the second one meets a hub that is just taking the first.
async fn a_second_signal_waits_for_no_commit(place: &Place) {
    for number in 0..trials() {
        let trial = Trial::of("a second signal while a commit is in flight");
        let jti = format!("in flight {number}");
        let (mut hub, mut holder, post) = waiting_commit(place, &jti).await;
        // Repetitions write nothing, so they need no lock; and this one was acknowledged.
        let before = hub.snapshot().await.map;
        // Two kinds, because the kernel makes one of two of a kind that nobody has taken yet.
        let both = "kill -TERM \"$1\"; kill -INT \"$1\"";
        let sent = Command::new("sh").args(["-c", both, "sh", &hub.pid().to_string()]).status().unwrap();
        assert!(sent.success());
        // The lock is still held, and any other patience is an hour.
        assert!(hub.ended().await.success(), "{}", hub.printed());
        assert!(post.await.unwrap().is_err(), "nobody can have answered");
        holder.execute("rollback").await.unwrap();
        let hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
        let map = hub.snapshot().await.map;
        let new: Vec<_> = map.iter().filter(|(id, _)| !before.contains_key(*id)).collect();
        assert!(before.iter().all(|(id, entry)| map.get(id) == Some(entry)), "acknowledged and lost");
        assert!(new.iter().all(|(_, entry)| entry["jti"] == *jti), "{new:?}");
        written(&hub, &token(format!("after {number}"))).await;
        trial.passed(before.len() + 1);
    }
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
    for number in 0..trials() {
        let trial = Trial::of("rolling restart of two hubs under load");
        trial.passed(rolling_restart(place, number).await);
    }
}

async fn rolling_restart(place: &Place, number: usize) -> usize {
    let mut processes = vec![Process::start(place).await, Process::start(place).await];
    let replicas: Replicas = Arc::new(Mutex::new(processes.iter().map(|p| Api::clone(p)).collect()));
    let (stop_writing, acknowledged) = (CancellationToken::new(), Arc::new(Mutex::new(Vec::new())));
    let (last, end) = tokio::sync::watch::channel(None);
    let (mut writing, mut reading) = (JoinSet::new(), JoinSet::new());
    for writer in 0..WRITERS {
        writing.spawn(write(replicas.clone(), number * WRITERS + writer, stop_writing.clone(), acknowledged.clone()));
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
    let answer = processes[1].post(&token(format!("the last one of {number}"))).await.expect(201);
    let head = cursor(&answer.json()["cursor"]).seq;
    let truth = until("the other replica has it", async || {
        Some(processes[0].snapshot().await).filter(|truth| truth.cursor.seq >= head)
    })
    .await;
    last.send_replace(Some(truth.cursor.seq));

    let there: BTreeSet<_> = truth.map.values().map(|v| v["jti"].as_str().unwrap().to_owned()).collect();
    let acknowledged = acknowledged.lock().clone();
    assert!(acknowledged.iter().all(|jti| there.contains(jti)), "acknowledged and lost");
    for got in within("the readers end", reading.join_all()).await {
        assert!(got.iter().map(|(seq, _)| *seq).eq(1..=truth.cursor.seq), "each position once and in order");
        let names: BTreeSet<_> = got.into_iter().map(|(_, jti)| jti).collect();
        assert_eq!(names, there);
    }
    acknowledged.len()
}

on_postgres!(
    a_commit_in_flight_ends_before_the_hub_does,
    a_second_signal_waits_for_no_commit,
    a_rolling_restart_loses_nothing_and_duplicates_nothing,
);
