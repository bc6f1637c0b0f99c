//! Complete: a snapshot and the events after its cursor are everything that is in force; nothing is missing and nothing
//! comes twice, whatever happens in between.
//!
//! The property test lets writers, the clock and clients loose on each other and compares at the end. Its choices come
//! from a seed, which a failure prints; `HUB_TEST_SEED=<seed>` makes the same choices again (how the tasks interleave
//! stays the scheduler's business, so a rare failure may take a few runs to come back).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::clock::Clock;
use revocation_hub::revocation::Cursor;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row, SqliteConnection};
use tokio::task::JoinSet;

use crate::harness::*;

const SKEW: i64 = 10;
/// So few that most changes hit what is there.
const TARGETS: u64 = 40;
const WRITERS: usize = 4;
const CHANGES: usize = 60;
const CLIENTS: usize = 6;
/// Runs of the property test per store.
const RUNS: u64 = 6;

/// A hub is stopped and started anew whenever the log has grown by so much. A hub that has just loaded the log knows
/// only what is left of it, which is what a client that comes back late meets.
const RESTART: u64 = 50;

struct World {
    /// One of them may be gone at the moment.
    hubs: RwLock<Vec<Api>>,
    clock: Clock,
    /// The newest position that was acknowledged.
    acknowledged: AtomicU64,
    writing: AtomicUsize,
    /// The writers are done and every hub is there.
    finished: AtomicBool,
}

impl World {
    fn any(&self, rng: &mut StdRng) -> Api {
        let hubs = self.hubs.read();
        hubs[rng.random_range(0..hubs.len())].clone()
    }
}

/// A revocation of one of few targets, with expiries that the clock will meet.
fn revocation(rng: &mut StdRng, now: i64) -> Value {
    let n = rng.random_range(0..TARGETS);
    // Some are over already when they arrive, or in the very second.
    let exp = now + rng.random_range(-SKEW - 2..120);
    match n % 5 {
        0 => json!({"sub": n.to_string(), "issued_before": now + rng.random_range(-50..50), "exp": exp}),
        1 => json!({"sid": n.to_string(), "exp": exp}),
        2 => json!({"client_id": n.to_string(), "exp": exp}),
        _ => token_until(n, exp),
    }
}

async fn write(world: Arc<World>, mut rng: StdRng) {
    let mut known: Vec<String> = Vec::new();
    let mut left = CHANGES;
    while left > 0 {
        let api = world.any(&mut rng);
        let now = world.clock.now();
        let answer = match rng.random_range(0..10) {
            0..5 => api.try_post(&revocation(&mut rng, now)).await,
            5..7 => {
                let n = rng.random_range(1..12);
                api.try_post(&(0..n).map(|_| revocation(&mut rng, now)).collect()).await
            }
            7..9 if !known.is_empty() => {
                let id = &known[rng.random_range(0..known.len())];
                api.try_delete(&format!("/v1/revocations/{id}")).await
            }
            _ => {
                world.clock.advance(rng.random_range(1..15));
                left -= 1;
                continue;
            }
        };
        match answer {
            Ok(answer) if matches!(answer.status, 200 | 201) => {
                let answer = answer.json();
                known.extend(answer["id"].as_str().map(str::to_owned));
                world.acknowledged.fetch_max(cursor(&answer["cursor"]).seq, Ordering::SeqCst);
                left -= 1;
            }
            Ok(answer) if answer.status == 404 => left -= 1,
            // The hub is stopping, or gone: what has become of it nobody can say.
            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.text()),
            Err(_) => {}
        }
    }
    world.writing.fetch_sub(1, Ordering::SeqCst);
}

/// One gateway: what it believes, and how it came to believe it.
struct Client {
    map: Map,
    promise: Promise,
}

impl Client {
    /// Starts over with a snapshot. Nothing happens when the hub is gone; the same goes for the others.
    async fn load(&mut self, api: &Api) {
        if let Some(Snapshot { cursor, map }) = api.try_snapshot().await {
            *self = Self { map, promise: Promise::new(Start::After(cursor)) };
        }
    }

    /// Takes the difference instead of a stream.
    async fn catch_up(&mut self, api: &Api) {
        let Some(asked) = self.promise.cursor().cloned() else { return };
        let Some(difference) = api.try_since(&asked).await else { return };
        let difference = difference.unwrap_or_else(|answer| panic!("{asked}: {answer:?}"));
        assert!(difference.cursor.seq >= asked.seq);
        for id in &difference.lifted {
            self.map.remove(id);
        }
        self.map.extend(difference.revoked);
        self.promise.restart(difference.cursor);
    }

    /// Follows a stream until it is cut somewhere, be it in the middle of an event, or until `enough` says so.
    async fn follow(self, api: &Api, ask: Ask, cut: Option<usize>, enough: impl Fn(&Cursor) -> bool) -> Self {
        let Self { mut map, mut promise } = self;
        promise.reconnect();
        let asked = promise.cursor().cloned();
        let mut stream = match api.try_open(promise, ask).await {
            Ok(stream) => stream,
            Err((promise, answer)) => {
                assert!(answer.as_ref().is_none_or(|answer| answer.status == 503), "{answer:?}");
                return Self { map, promise };
            }
        };
        if let Some(bytes) = cut {
            stream.cut_after(bytes);
        }
        loop {
            match stream.next().await {
                Got::Event(Seen::Reset { reason }, _) => panic!("reset ({reason}) though {asked:?} was given by a hub"),
                Got::Event(seen, at) => {
                    fold(&mut map, &seen);
                    if enough(&at) {
                        break;
                    }
                }
                Got::Comment => {}
                Got::End => break,
            }
        }
        Self { map, promise: stream.into_promise() }
    }
}

async fn live(world: Arc<World>, mut rng: StdRng) -> Map {
    // From nothing at all, unless it takes a snapshot first.
    let mut client = Client { map: Map::new(), promise: Promise::new(Start::Earliest) };
    while !world.finished.load(Ordering::SeqCst) {
        let api = world.any(&mut rng);
        match rng.random_range(0..10) {
            0 => client.load(&api).await,
            1..4 => client.catch_up(&api).await,
            // Away for a while.
            4 => {
                let until = world.acknowledged.load(Ordering::SeqCst) + rng.random_range(0..100);
                while world.acknowledged.load(Ordering::SeqCst) < until && !world.finished.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            n => {
                let ask = if n % 2 == 0 { Ask::Header } else { Ask::Query };
                // Even a cut before `hello` is over leaves it where it was.
                let bytes = rng.random_range(0..6000);
                client = client.follow(&api, ask, Some(bytes), |_| world.finished.load(Ordering::SeqCst)).await;
            }
        };
    }
    // All is said and every hub is there; now it hears the rest.
    let api = world.any(&mut rng);
    let head = world.acknowledged.load(Ordering::SeqCst);
    match client.promise.cursor().cloned() {
        Some(at) if rng.random() => {
            // The replica may be behind for a moment; asked about the head it waits until it is not.
            api.since(&Cursor { seq: head, ..at }).await.unwrap();
            client.catch_up(&api).await;
        }
        _ => client = client.follow(&api, Ask::Header, None, |at| at.seq >= head).await,
    }
    assert!(client.promise.cursor().unwrap().seq >= head);
    client.map
}

/// What is in force by the rows on disk: id, and expiry and `issued_before` as they travel.
async fn in_force(place: &Place, now: i64) -> Vec<(String, Option<i64>, Option<i64>)> {
    let (id, lifted) = if place.is_postgres() {
        ("replace(id::text, '-', '')", "not lifted")
    } else {
        ("lower(hex(id))", "lifted = 0")
    };
    let sql = format!(
        "select {id} as id, exp, issued_before from revocation where {lifted} and exp > {} order by 1",
        now - SKEW
    );
    let sql = sqlx::AssertSqlSafe(sql);
    let read = |id: String, exp: i64, before: Option<i64>| (id, Some(exp), before);
    if place.is_postgres() {
        let mut conn = PgConnection::connect(&place.url).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
        rows.iter().map(|row| read(row.get(0), row.get(1), row.get(2))).collect()
    } else {
        let mut conn = SqliteConnection::connect(&place.url).await.unwrap();
        let rows = sqlx::query(sql).fetch_all(&mut conn).await.unwrap();
        rows.iter().map(|row| read(row.get(0), row.get(1), row.get(2))).collect()
    }
}

/// What a client keeps when it drops by itself what is over.
fn without_expired(mut map: Map, now: i64) -> Map {
    map.retain(|_, entry| entry["exp"].as_i64().is_none_or(|exp| exp + SKEW > now));
    map
}

async fn one_run(place: &Place, seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let clock = Clock::manual(NOW);
    let start = async |i: usize| {
        let mut config = place.config();
        config.clock_skew = Duration::from_secs(SKEW.cast_unsigned());
        config.store.prune_interval = Duration::from_millis(5);
        config.store.prune_batch = 3;
        // The second hub hears of the first one's commits only when it looks, so that it is often behind.
        config.store.listen_notify = i == 0;
        TestHub::start(config, clock.clone()).await
    };
    let mut hubs = Vec::new();
    for i in 0..if place.is_postgres() { 2 } else { 1 } {
        hubs.push(start(i).await);
    }
    let world = Arc::new(World {
        hubs: RwLock::new(hubs.iter().map(|hub| Api::clone(hub)).collect()),
        clock: clock.clone(),
        acknowledged: AtomicU64::new(0),
        writing: AtomicUsize::new(WRITERS),
        finished: AtomicBool::new(false),
    });
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        writers.spawn(write(world.clone(), StdRng::seed_from_u64(rng.random())));
    }
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(live(world.clone(), StdRng::seed_from_u64(rng.random())));
    }
    let mut next = RESTART;
    loop {
        let grown = until("the log grows", async || {
            let grown = world.acknowledged.load(Ordering::SeqCst) >= next;
            (grown || world.writing.load(Ordering::SeqCst) == 0).then_some(grown)
        });
        if !grown.await {
            break;
        }
        next += RESTART;
        let i = rng.random_range(0..hubs.len());
        hubs.remove(i).stop().await;
        hubs.insert(i, start(i).await);
        world.hubs.write()[i] = Api::clone(&hubs[i]);
    }
    writers.join_all().await;
    world.finished.store(true, Ordering::SeqCst);
    let maps = within("the clients", clients.join_all()).await;

    let now = clock.now();
    let truth = in_force(place, now).await;
    for hub in &hubs {
        // A hub that does not listen may still be behind; this is how a client would ask it to be there.
        let epoch = hub.snapshot().await.cursor.epoch;
        hub.since(&Cursor { epoch, seq: world.acknowledged.load(Ordering::SeqCst) }).await.unwrap();
        let snapshot = without_expired(hub.snapshot().await.map, now);
        let listed: Vec<_> = snapshot
            .iter()
            .map(|(id, entry)| (id.clone(), entry["exp"].as_i64(), entry["issued_before"].as_i64()))
            .collect();
        assert_eq!(listed, truth, "the snapshot and the rows");
        for (i, map) in maps.iter().enumerate() {
            assert_eq!(without_expired(map.clone(), now), snapshot, "client {i}");
        }
    }
    for hub in hubs {
        hub.stop().await;
    }
    place.sql("delete from revocation").await;
}

/// Tells the seed when the test fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HUB_TEST_SEED={}", self.0);
        }
    }
}

async fn every_client_ends_with_exactly_what_is_in_force(place: &Place) {
    let given = std::env::var("HUB_TEST_SEED").ok().map(|seed| seed.parse().expect("a number"));
    for _ in 0..RUNS {
        let seed = Seed(given.unwrap_or_else(rand::random));
        one_run(place, seed.0).await;
    }
}

/// The seam itself, without chance: revocations arrive between the snapshot and the stream, and while the stream opens.
async fn there_is_no_gap_and_no_duplicate_between_snapshot_and_stream(place: &Place) {
    let hub = place.hub().await;
    for i in 0..20 {
        hub.revoke(&token(format!("before-{i}"))).await;
        let Snapshot { cursor, mut map } = hub.snapshot().await;
        hub.revoke(&token(format!("between-{i}"))).await;
        let api = Api::clone(&hub);
        let during = tokio::spawn(async move { api.revoke(&token(format!("during-{i}"))).await });
        let mut stream = hub.stream(Start::After(cursor.clone())).await;
        within("the post", during).await.unwrap();
        // The promise checker has an eye on duplicates.
        let ids = stream.ids(cursor.seq + 2).await;
        assert_eq!(ids.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [cursor.seq + 1, cursor.seq + 2]);
        hub.stream(Start::After(cursor.clone())).await.follow(&mut map, cursor.seq + 2).await;
        assert_eq!(map, hub.snapshot().await.map);
    }
}

async fn all_ways_to_start_lead_to_the_same(place: &Place) {
    let hub = place.hub().await;
    let empty = hub.snapshot().await.cursor;
    for i in 0..100 {
        hub.revoke(&token(i)).await;
    }
    for id in hub.snapshot().await.map.keys().step_by(3) {
        hub.lift(id).await;
    }
    let Snapshot { cursor, map } = hub.snapshot().await;
    let mut earliest = Map::new();
    hub.stream(Start::Earliest).await.follow(&mut earliest, cursor.seq).await;
    assert_eq!(earliest, map);
    let mut resumed = Map::new();
    hub.stream(Start::After(empty.clone())).await.follow(&mut resumed, cursor.seq).await;
    assert_eq!(resumed, map);
    assert_eq!(hub.since(&empty).await.unwrap().revoked, map);
    let lines = hub.send(hub.request(reqwest::Method::GET, "/v1/revocations").header("accept", "application/x-ndjson"));
    let lines = lines.await.unwrap().expect(200);
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), map.len());
    assert!(lines.iter().all(|line| map[line["id"].as_str().unwrap()] == *line));
}

both_stores!(
    every_client_ends_with_exactly_what_is_in_force,
    there_is_no_gap_and_no_duplicate_between_snapshot_and_stream,
    all_ways_to_start_lead_to_the_same,
);
