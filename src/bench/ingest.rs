//! Durable revocations per second: an answer counts once the hub has said that it is committed.

use crate::bench::http::{Client, Target};
use crate::bench::marker::Run;
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::stats::Histogram;
use crate::bench::stop::Stop;
use crate::bench::table::{Figure, Row};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECTION: &str = "ingest";
/// A cell ends after so many revocations, so that the sum of all stays in memory.
const MOST: u64 = 500_000;

pub fn run(
    target: &Target,
    cell: Duration,
    stop: &Stop,
    progress: Progress,
    rows: &mut Vec<Row>,
) -> anyhow::Result<()> {
    for connections in [1, 16, 64] {
        let load = format!("single POSTs, {}", connections_text(connections));
        progress.say(format!("ingest: {load}"));
        let outcome = closed_loop(target, connections, 1, cell, stop);
        rows.push(outcome.row(load));
        stop.check()?;
    }
    for batch in [1_000, 10_000] {
        for connections in [1, 4] {
            let load = format!("NDJSON, batches of {batch}, {}", connections_text(connections));
            progress.say(format!("ingest: {load}"));
            let outcome = closed_loop(target, connections, batch, cell, stop);
            rows.push(outcome.row(load));
            stop.check()?;
        }
    }
    Ok(())
}

fn connections_text(n: usize) -> String {
    if n == 1 { "1 connection".into() } else { format!("{n} connections") }
}

#[derive(Debug, Default)]
struct Outcome {
    requests: Histogram,
    revocations: u64,
    /// From the end of the warm-up to the last answer.
    span: Duration,
    errors: u64,
    first_error: Option<String>,
}

impl Outcome {
    fn row(&self, load: String) -> Row {
        let rate = (self.revocations > 0).then(|| self.revocations as f64 / self.span.as_secs_f64());
        let row = Row::new(SECTION, load, Figure::new("durable revocations", rate, "/s")).latency(&self.requests);
        match &self.first_error {
            Some(e) => row.remark(format!("{} errors, the first: {e}", self.errors)),
            None => row,
        }
    }

    fn add(&mut self, other: &Self) {
        self.requests.add(&other.requests);
        self.revocations += other.revocations;
        self.span = self.span.max(other.span);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or_else(|| other.first_error.clone());
    }
}

/// Each connection has one request in flight and sends the next when the answer is there.
fn closed_loop(target: &Target, connections: usize, batch: u64, cell: Duration, stop: &Stop) -> Outcome {
    let (run, next, gate) = (Run::new(), AtomicU64::new(0), Barrier::new(connections));
    let warm_up = (cell / 10).min(Duration::from_secs(1));
    let worker = || {
        let mut client = Client::new(target);
        let mut mine = Outcome::default();
        let connected = client.connect();
        gate.wait();
        if let Err(e) = connected {
            return Outcome { errors: 1, first_error: Some(format!("{e:#}")), ..mine };
        }
        let measured = Instant::now() + warm_up;
        while !stop.asked() && measured.elapsed() < cell {
            let from = next.fetch_add(batch, Relaxed);
            if from >= MOST {
                break;
            }
            // The body is made before the clock starts.
            let body = (batch > 1).then(|| post::batch(from..from + batch, |n| run.name(n)));
            let begin = Instant::now();
            let done = match &body {
                Some(body) => post::ndjson(&mut client, body),
                None => post::single(&mut client, &run.name(from), from).map(|_| ()),
            };
            if begin < measured {
                continue;
            }
            match done {
                Ok(()) => {
                    mine.requests.record(begin.elapsed());
                    mine.revocations += batch;
                    mine.span = measured.elapsed();
                }
                Err(e) => {
                    mine.errors += 1;
                    mine.first_error.get_or_insert_with(|| format!("{e:#}"));
                    // A hub that refuses is not to be hammered.
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        mine
    };
    let mut sum = Outcome::default();
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..connections).map(|_| scope.spawn(worker)).collect();
        for thread in all {
            match thread.join() {
                Ok(one) => sum.add(&one),
                Err(_) => sum.first_error = Some("a publisher panicked".into()),
            }
        }
    });
    sum
}
