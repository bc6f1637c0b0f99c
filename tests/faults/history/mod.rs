//! Histories: many write, many read and hop between the hubs, and everything around them breaks at random. Afterwards
//! everything is mended, and then nothing acknowledged may be missing anywhere, nothing be there that nobody sent, no
//! position have meant two things, nothing lifted be back, and no client have been told that it was current when it was not.
//!
//! The plan of the faults, and what each writer and reader means to do, come from the seed that a failure prints. What
//! meets what when is the machine's.

mod book;
mod faults;
mod reader;
mod world;
mod writer;

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Place, until, within};
use crate::postgres::Postgres;
use crate::tally::{Trial, drawn, number};
use faults::{Fault, Server};
use world::World;

const WRITERS: usize = 4;
const READERS: usize = 4;

/// How long things break.
const TROUBLE: Duration = Duration::from_millis(2500);

/// A history in which less was acknowledged says nothing.
const AT_LEAST: usize = 20;

/// Runs the histories that were asked for, and notes what was tried.
async fn histories(what: &str, seeds: impl Iterator<Item = u64>, mut one: impl AsyncFnMut(u64) -> Outcome) {
    let mut broken = Vec::new();
    for seed in seeds {
        // Now, because one that gets stuck says nothing at its end.
        println!("{what}: seed {seed}");
        let began = Instant::now();
        let trial = Trial::of(&format!("histories of {what}"));
        let outcome = one(seed).await;
        let (seconds, losses) = (began.elapsed().as_secs_f64(), &outcome.losses);
        println!("seed {seed}: {seconds:.1} s, {}; wrong: {losses:?}", outcome.summary);
        for (fault, trials) in &outcome.faults {
            // What was acknowledged in one history belongs to all of its faults.
            drawn(&format!("{what}: {fault}"), *trials, losses.len());
        }
        trial.counted(outcome.acknowledged, losses.len());
        broken.extend(outcome.losses.into_iter().map(|loss| format!("seed {seed}: {loss}")));
    }
    assert!(broken.is_empty(), "TEST_FAULT_SEED=… runs one again\n{}", broken.join("\n"));
}

/// The seeds that were asked for, in a few lanes that run beside each other.
fn lanes() -> Vec<impl Iterator<Item = u64>> {
    let base = std::env::var("TEST_FAULT_SEED").ok().map(|text| text.parse::<u64>().expect("a number"));
    let count = if base.is_some() { 1 } else { number("TEST_FAULT_SEEDS", 10) };
    let base = base.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let lanes = number("TEST_FAULT_LANES", 1_u64);
    (0..lanes).map(|lane| (base + lane..base + count).step_by(lanes as usize)).collect()
}

/// What came of one history.
struct Outcome {
    faults: Vec<(&'static str, usize)>,
    acknowledged: usize,
    losses: Vec<String>,
    summary: String,
}

/// One history on hubs that are there already.
async fn history(seed: u64, world: World, server: &mut Server<'_>) -> Outcome {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut writing = JoinSet::new();
    for n in 0..WRITERS {
        writing.spawn(writer::write(world.clone(), n, StdRng::seed_from_u64(rng.random())));
    }
    let mut reading = JoinSet::new();
    for n in 0..READERS {
        reading.spawn(reader::read(world.clone(), n, StdRng::seed_from_u64(rng.random())));
    }
    let end = Instant::now() + TROUBLE;
    let mut tried: Vec<(&'static str, usize)> = Vec::new();
    while Instant::now() < end {
        // The pace of the plan, and nothing that anybody waits for.
        tokio::time::sleep(Duration::from_millis(rng.random_range(20..200))).await;
        let fault = Fault::random(&mut rng, server.is_postgres());
        match tried.iter_mut().find(|(name, _)| *name == fault.name()) {
            Some((_, count)) => *count += 1,
            None => tried.push((fault.name(), 1)),
        }
        server.strike(&world, fault, &mut rng).await;
    }
    until("something is acknowledged", async || (world.book(|book| book.acknowledged()) >= AT_LEAST).then_some(()))
        .await;
    world.stop_writing();
    within("the writers end", writing.join_all()).await;
    for hub in 0..world.hubs() {
        until("the hubs are ready", async || world.api(hub).is_ready().await.then_some(())).await;
    }
    world.stop_reading().await;
    let maps = within("the readers end", reading.join_all()).await;
    let acknowledged = world.book(|book| book.acknowledged());
    let mut losses = world.check(maps).await;
    losses.extend(server.check(&world).await);
    let summary = world.book(|book| format!("{}; faults: {tried:?}", book.summary()));
    Outcome { faults: tried, acknowledged, losses, summary }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_on_postgres_keep_every_promise() {
    join_all(lanes().into_iter().map(on_postgres)).await;
}

async fn on_postgres(seeds: impl Iterator<Item = u64>) {
    let mut postgres = Postgres::start().await;
    histories("two hubs on Postgres", seeds, async |seed| {
        let place = postgres.place().await;
        let outcome = {
            let (mut server, world) = Server::postgres(&mut postgres, &place).await;
            history(seed, world, &mut server).await
        };
        // After a crash the server looks at every file that it has.
        postgres.sql(&format!("drop database {} with (force)", place.database())).await;
        outcome
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_hub_on_sqlite_keeps_every_promise() {
    join_all(lanes().into_iter().map(on_sqlite)).await;
}

async fn on_sqlite(seeds: impl Iterator<Item = u64>) {
    histories("one hub on SQLite", seeds, async |seed| {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("log.db").display());
        let place = Place { url, folder };
        let (mut server, world) = Server::sqlite(&place).await;
        history(seed, world, &mut server).await
    })
    .await;
}
