//! `revocation-hub bench`: drives a hub over its public interface and prints one table.
//!
//! The hub is always another process, our own child or one that runs already, and is only spoken to as a gateway or a
//! token service would. Each section starts from a fresh hub where that is possible, so that none inherits the
//! memory or the entries of another. A figure that could not be measured is "-" with a reason.

pub mod args;
mod catchup;
mod fanout;
mod http;
mod ingest;
mod marker;
mod memory;
mod overload;
mod post;
mod progress;
mod response;
mod scratch;
mod server;
mod snapshot;
mod stats;
mod stop;
mod streams;
mod table;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;

use crate::clock::Clock;
use anyhow::{Context, bail};
pub use args::Args;
use args::{Plan, Section};
use fanout::Faults;
use progress::Progress;
use server::Server;
use std::time::Duration;
use stop::Stop;
use table::{Header, Row};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Measures, prints, and fails when a promise was broken: a delivery missing or doubled, a hub that died, more memory than
/// `--max-memory` under overload.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let stop = Stop::default();
    // Whatever ends this future ends the hub that was started for it.
    let _guard = StopOnDrop(stop.clone());
    let mut terminate = signal(SignalKind::terminate())?;
    let (send, done) = oneshot::channel();
    let bench = Bench::new(args, stop.clone());
    std::thread::Builder::new().name("bench".into()).spawn(move || {
        // The receiver is gone only when nobody waits any more.
        let _ = send.send(bench.conduct());
    })?;
    let mut done = std::pin::pin!(done);
    let report = tokio::select! {
        report = &mut done => report.context("the bench panicked")?,
        _ = tokio::signal::ctrl_c() => interrupted(&stop, done).await?,
        _ = terminate.recv() => interrupted(&stop, done).await?,
    };
    report.print()?;
    let Faults { missing, duplicates } = report.faults;
    if report.died {
        bail!("the hub ended while it was measured");
    }
    if missing + duplicates > 0 {
        bail!("{missing} deliveries missing, {duplicates} doubled");
    }
    if let Some(broken) = report.broken {
        bail!(broken);
    }
    Ok(())
}

/// Ends the hub and gives the sections a moment to come home; their temporary files go with them.
async fn interrupted(
    stop: &Stop,
    done: impl Future<Output = Result<Report, oneshot::error::RecvError>>,
) -> anyhow::Result<Report> {
    stop.now();
    let _ = tokio::time::timeout(Duration::from_secs(5), done).await;
    bail!("interrupted")
}

struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.now();
    }
}

struct Report {
    header: Header,
    rows: Vec<Row>,
    faults: Faults,
    /// A hub of ours ended without having been asked to.
    died: bool,
    /// What did not hold under overload.
    broken: Option<String>,
    json: bool,
}

impl Report {
    fn print(&self) -> anyhow::Result<()> {
        if self.json {
            println!("{}", serde_json::to_string_pretty(&table::json(&self.header, &self.rows))?);
        } else {
            print!("{}", table::markdown(&self.header, &self.rows));
        }
        Ok(())
    }
}

struct Bench {
    args: Args,
    plan: Plan,
    stop: Stop,
    progress: Progress,
    /// File descriptors we and the hub we start may have open.
    sockets: u64,
    rows: Vec<Row>,
    faults: Faults,
    overload: Option<overload::Outcome>,
    died: bool,
}

impl Bench {
    fn new(args: Args, stop: Stop) -> Self {
        let plan = Plan::new(&args);
        let want = plan.most_sockets() as u64;
        let sockets = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(0);
        let sockets = if sockets == 0 { want } else { sockets };
        Self {
            args,
            plan,
            stop,
            progress: Progress::new(),
            sockets,
            rows: Vec::new(),
            faults: Faults::default(),
            overload: None,
            died: false,
        }
    }

    /// Runs the sections one after the other. An interrupted run has only the rows so far, and is not printed.
    fn conduct(mut self) -> Report {
        let plan = self.plan.clone();
        if plan.wants(Section::Ingest) {
            self.section("ingest", |bench, server| {
                ingest::run(&server.target, plan.cell, &bench.stop, bench.progress, &mut bench.rows)
            });
        }
        if plan.wants(Section::Fanout) {
            self.section("fan-out", |bench, server| {
                let (stop, progress) = (bench.stop.clone(), bench.progress);
                let faults = fanout::run(&server.target, &plan, bench.sockets, &stop, progress, &mut bench.rows)?;
                bench.faults.missing += faults.missing;
                bench.faults.duplicates += faults.duplicates;
                Ok(())
            });
        }
        if plan.wants(Section::Memory) {
            self.section("memory", |bench, server| {
                let (streams, sockets) = (plan.idle_streams, bench.sockets);
                let row = memory::per_stream(server, streams, sockets, &bench.stop, bench.progress)?;
                bench.rows.push(row);
                Ok(())
            });
        }
        if plan.wants(Section::Snapshot) || plan.wants(Section::Memory) {
            self.section("snapshot", |bench, server| bench.full(server, &plan));
        } else if plan.wants(Section::Catchup) {
            self.section("catch-up", |bench, server| bench.catch_up(server, plan.missed));
        }
        if plan.wants(Section::Overload) {
            self.section("overload", |bench, server| {
                let (stop, progress) = (bench.stop.clone(), bench.progress);
                let (faults, outcome) = overload::run(server, &plan, &stop, progress, &mut bench.rows)?;
                bench.faults.missing += faults.missing;
                bench.faults.duplicates += faults.duplicates;
                bench.overload = Some(outcome);
                Ok(())
            });
        }
        self.progress.clear();
        let broken = match &self.overload {
            Some(outcome) => outcome.complaint(plan.max_memory),
            // Whoever asks for a ceiling is not to believe that it was looked at.
            None => plan.max_memory.map(|_| "--max-memory: the section overload did not come to its end".to_owned()),
        };
        let header = self.header();
        Report { header, rows: self.rows, faults: self.faults, died: self.died, broken, json: self.args.json }
    }

    /// Gives `work` a hub. What goes wrong is a row of the table, and the next section runs all the same.
    fn section(&mut self, name: &'static str, work: impl FnOnce(&mut Self, &Server) -> anyhow::Result<()>) {
        if self.stop.asked() {
            return;
        }
        self.progress.say(format!("{name}: waiting for the hub"));
        let server = Server::start(&self.args, &self.stop);
        let outcome = server.and_then(|server| {
            let outcome = work(self, &server);
            if server.has_ended() && !self.stop.asked() {
                self.died = true;
                bail!("the hub ended by itself: {}", server.last_words());
            }
            if server.in_memory() {
                self.rows.iter_mut().filter(|r| r.section == "ingest" && name == "ingest").for_each(|r| {
                    *r = r.clone().remark("on a RAM disk: nothing is durable");
                });
            }
            outcome
        });
        if let Err(e) = outcome {
            self.rows.push(Row::missing(name, "the rest", "not measured", &format!("{e:#}")));
        }
    }

    /// The sections that want many live revocations.
    fn full(&mut self, server: &Server, plan: &Plan) -> anyhow::Result<()> {
        let target = &server.target;
        let there = if server.fresh { 0 } else { post::live(target)? };
        let wanted = plan.entries.saturating_sub(there);
        let before = plan.wants(Section::Memory).then(|| memory::rested(server, &self.stop)).transpose()?;
        let run = marker::Run::new();
        let took = post::fill(target, &self.stop, self.progress, wanted, |n| run.scattered_name(n))?;
        if let Some(before) = before {
            let after = memory::rested(server, &self.stop)?;
            let row = memory::per_revocation(before, after, wanted);
            self.rows.push(row.more("fill", wanted as f64 / took.as_secs_f64(), "revocations/s"));
        }
        if plan.wants(Section::Snapshot) {
            let entries = there + wanted;
            snapshot::run(target, entries, &self.stop, self.progress, &mut self.rows)?;
        }
        if plan.wants(Section::Catchup) {
            self.catch_up(server, plan.missed)?;
        }
        Ok(())
    }

    fn catch_up(&mut self, server: &Server, missed: u64) -> anyhow::Result<()> {
        let (row, lost) = catchup::run(&server.target, missed, &self.stop, self.progress)?;
        self.rows.push(row);
        self.faults.missing += lost;
        Ok(())
    }

    fn header(&self) -> Header {
        let hub = match (&self.args.url, &self.args.database_url) {
            (Some(url), _) => url.clone(),
            // Without what may be a password.
            (None, Some(url)) => format!("own hub on {}", url.split(':').next().unwrap_or("a database")),
            (None, None) => "own hub on SQLite".into(),
        };
        Header {
            version: env!("CARGO_PKG_VERSION"),
            hub,
            cpus: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            time: Clock::system().now(),
        }
    }
}
