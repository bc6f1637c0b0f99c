//! The feed: the only way into the ledger.
//!
//! **Pattern.** One task keeps the ledger equal to the store. It reads the store from its own head on, woken by four
//! reasons: a commit of this process, a hint from the database (`LISTEN`), an outlet that was shown a newer cursor, and
//! a jittered timer. The reasons are only hints; what counts is what the table says.
//!
//! A commit of this process brings its rows along. They are taken as they are when they begin right after the ledger's
//! head: positions are gap-free and in commit order, so reading the table could show nothing else. If anything came in
//! between, the table is read.
//!
//! **Concurrency.** One task; nothing else writes to the ledger.
//!
//! **Invariants.**
//! * Nothing uncommitted is ever shown: rows come from a committed read or from a commit that has returned.
//! * The ledger is confirmed, and a bookmark given, only after a successful read of the store.
//! * Another epoch means that the log is not the one the ledger holds: what it lost is put back, and it is loaded anew. When
//!   the log shows that it may have lost rows, the feed gives it another epoch; see [`recovery`].

mod recovery;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::ledger::Ledger;
use crate::metrics::Metrics;
use crate::revocation::{Epoch, Id, Row};
use crate::store::{Commit, Page, Store, StoreError};

/// Rows read at once. Large enough to load a million in seconds, small enough to let readers in between.
const PAGE: usize = 4096;

/// Rows kept until others' before them have been read, which is a matter of milliseconds unless the store does not answer.
const MAX_STRAY: usize = 65_536;

/// How long encoded lists are kept when nobody asks for them.
const FORGET_PIECES: Duration = Duration::from_secs(600);

/// After so many rows it is worth returning free memory to the system.
const GIVE_BACK_AFTER: u64 = 10_000;

/// How the feed paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The store is read at least this often, ± 20 %.
    pub poll_interval: Duration,
    /// Streams get a bookmark this often.
    pub bookmark_interval: Duration,
    /// What is over is removed this often.
    pub sweep_interval: Duration,
    /// `clock_skew`, seconds.
    pub clock_skew: i64,
    /// Tables that are gone are made again.
    pub migrate: bool,
    /// The database's clock and this machine's may differ by so much before it is worth a warning.
    pub max_clock_offset: Duration,
}

/// The task that keeps the ledger equal to the store.
pub struct Feed {
    store: Arc<dyn Store>,
    ledger: Arc<Ledger>,
    clock: Clock,
    pace: Pace,
    metrics: Arc<Metrics>,
    applied: watch::Sender<u64>,
    over: mpsc::UnboundedSender<Vec<Id>>,
    epoch: Option<Epoch>,
    head: u64,
    failures: u32,
    last_read: Option<i64>,
    /// The head when memory was last given back.
    tidy_head: u64,
    /// Rows that this process has committed and the ledger could not take, because others' before them have not been read.
    stray: Vec<Row>,
    /// When a client's word last led to a new epoch.
    believed: Option<Instant>,
    clock_is_off: bool,
}

impl Feed {
    /// A feed that has read nothing. `over` takes the ids of rows that may leave the disk.
    pub fn new(
        store: Arc<dyn Store>,
        ledger: Arc<Ledger>,
        clock: Clock,
        pace: Pace,
        metrics: Arc<Metrics>,
        over: mpsc::UnboundedSender<Vec<Id>>,
    ) -> Self {
        let applied = watch::Sender::new(0);
        Self {
            store,
            ledger,
            clock,
            pace,
            metrics,
            applied,
            over,
            epoch: None,
            head: 0,
            failures: 0,
            last_read: None,
            tidy_head: 0,
            stray: Vec::new(),
            believed: None,
            clock_is_off: false,
        }
    }

    /// Tells how far the ledger has come.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Runs until `stop`. `commits` brings what this process has committed.
    pub async fn run(mut self, mut commits: mpsc::Receiver<Commit>, stop: CancellationToken) {
        let hints: Arc<Notify> = self.store.hints();
        let mut next_read = Instant::now();
        let mut next_tick = Instant::now() + self.pace.bookmark_interval;
        let mut next_sweep = Instant::now() + self.pace.sweep_interval;
        let mut next_forget = Instant::now() + FORGET_PIECES;
        loop {
            let mut read = None;
            tokio::select! {
                // Stopping first, then the work that others wait for.
                biased;
                () = stop.cancelled() => return,
                Some(commit) = commits.recv() => if !self.take(commit) { read = Some("commit") },
                () = hints.notified() => read = Some("notify"),
                () = self.ledger.poked() => read = Some("cursor"),
                () = sleep_until(next_read) => read = Some("timer"),
                () = sleep_until(next_tick) => {
                    // A bookmark says how fresh the stream is, so read now and say it of now.
                    read = Some("bookmark");
                    next_tick = Instant::now() + self.pace.bookmark_interval;
                }
                () = sleep_until(next_sweep) => {
                    self.sweep();
                    next_sweep = Instant::now() + self.pace.sweep_interval;
                    if Instant::now() >= next_forget {
                        self.ledger.forget_pieces();
                        next_forget = Instant::now() + FORGET_PIECES;
                    }
                }
            }
            if let Some(reason) = read {
                self.metrics.feed_wakeups.with_label_values(&[reason]).inc();
                // While the store is away there is one pace, that of the retries; a hint cannot make it answer.
                if self.failures == 0 || Instant::now() >= next_read {
                    next_read = Instant::now() + self.read(&mut commits).await;
                }
                if reason == "bookmark" {
                    self.ledger.tick(if self.failures == 0 { self.last_read } else { None });
                }
            }
        }
    }

    /// Takes the rows of a commit if they follow the ledger's head; says whether nothing is left to read.
    fn take(&mut self, commit: Commit) -> bool {
        if self.epoch.as_ref() != Some(&commit.epoch) {
            return false;
        }
        if commit.head <= self.head {
            return true;
        }
        let gap_free = commit.rows.len() as u64 == commit.head - self.head;
        let follows = gap_free && commit.rows.first().is_some_and(|row| row.seq == self.head + 1);
        if !follows || self.ledger.is_loading() {
            let room = MAX_STRAY.saturating_sub(self.stray.len());
            self.metrics.feed_unkept.inc_by(commit.rows.len().saturating_sub(room) as u64);
            self.stray.extend(commit.rows.into_iter().take(room));
            return false;
        }
        self.apply(&commit.rows, commit.head, commit.at);
        true
    }

    fn apply(&mut self, rows: &[Row], head: u64, committed: Instant) {
        let cutoff = self.clock.now().saturating_sub(self.pace.clock_skew);
        self.ledger.apply_committed(rows, head, cutoff, committed);
        self.tell_pruner(rows.iter().filter(|row| row.revocation.exp.0 <= cutoff).map(|row| row.id).collect());
        self.head = rows.last().map_or(head, |row| row.seq.max(head));
        self.applied.send_replace(self.head);
        self.metrics.feed_rows.inc_by(rows.len() as u64);
    }

    /// Reads to the end of the log and returns how long to wait before the next time.
    async fn read(&mut self, commits: &mut mpsc::Receiver<Commit>) -> Duration {
        match self.catch_up(commits).await {
            Ok(()) => {
                if self.failures > 0 {
                    tracing::info!(attempts = self.failures, "the store answers again");
                }
                self.failures = 0;
                self.pace.poll_interval.mul_f64(0.8 + 0.4 * rand::random::<f64>())
            }
            Err(error) => {
                if self.failures == 0 {
                    tracing::error!(%error, "cannot read the store; streams stay open and get no bookmarks");
                }
                self.failures += 1;
                self.metrics.feed_failures.inc();
                if matches!(error, StoreError::Absent(_)) && self.begin_again().await {
                    return Duration::ZERO;
                }
                // 0.1 s, doubling to 3.2 s, each between half and all of it.
                let backoff = Duration::from_millis(100 << (self.failures - 1).min(5));
                backoff.mul_f64(0.5 + 0.5 * rand::random::<f64>())
            }
        }
    }

    /// Another database, an empty one, answers in the place of the one that was there. It gets its tables, and then what this
    /// process holds: that it was acknowledged counts, and not where.
    async fn begin_again(&self) -> bool {
        let first = self.failures == 1;
        if !self.pace.migrate {
            if first {
                tracing::error!(
                    "the database has no log; run `revocation-hub migrate`. Do not restart the hubs: they put back what they hold"
                );
            }
            return false;
        }
        match self.store.prepare(true).await {
            Ok(_) => {
                tracing::error!("the database had no log; it has a new one now");
                true
            }
            Err(error) => {
                if first {
                    tracing::error!(%error, "the database has no log, and none can be made");
                }
                false
            }
        }
    }

    /// One page of the log; the database's clock comes with it.
    async fn read_page(&mut self, after: u64) -> Result<Page, StoreError> {
        let own = self.clock.own_millis();
        let page = self.store.read_after(after, PAGE).await?;
        // Before anything of it is judged by the time.
        if let Some(millis) = page.millis {
            self.follow(millis, own, self.clock.own_millis());
        }
        Ok(page)
    }

    fn follow(&mut self, millis: i64, asked: i64, answered: i64) {
        let behind = self.clock.follow(millis, asked, answered);
        self.metrics.clock_offset.set(behind as f64 / 1000.0);
        let off = u128::from(behind.unsigned_abs()) > self.pace.max_clock_offset.as_millis();
        if std::mem::replace(&mut self.clock_is_off, off) != off {
            if off {
                tracing::warn!(
                    millis = behind,
                    "the database's clock is ahead of (or, below zero, behind) this machine's; the database's is the one that counts"
                );
            } else {
                tracing::info!(millis = behind, "this machine's clock agrees with the database's again");
            }
        }
    }

    async fn catch_up(&mut self, commits: &mut mpsc::Receiver<Commit>) -> Result<(), StoreError> {
        loop {
            let (began, time) = (Instant::now(), self.clock.now());
            let page = self.read_page(self.head).await?;
            let another = self.epoch.as_ref() != Some(&page.epoch);
            if let Some(reason) = self.doubt(&page, another) {
                self.renew(&page.epoch, reason).await?;
                continue;
            }
            if another {
                self.turn_to(page.epoch, page.head, commits).await?;
                continue;
            }
            let last = page.rows.len() < PAGE;
            let head = match page.rows.last() {
                Some(row) if !last => row.seq,
                _ => page.head,
            };
            if head > self.head {
                self.apply(&page.rows, head, Instant::now());
            }
            if last {
                self.stray.clear();
                let loading = self.ledger.is_loading();
                self.ledger.confirm(began);
                if loading {
                    let entries = self.ledger.stats().live.iter().sum::<usize>();
                    tracing::info!(revocations = entries, head, epoch = %page.epoch, "loaded");
                }
                // What the database said of this very read is never later than what was read; our own idea of its clock may be.
                self.last_read = Some(page.millis.map_or(time, |millis| time.min(self.clock.seconds(millis))));
                return Ok(());
            }
        }
    }

    fn sweep(&mut self) {
        let over = self.ledger.sweep(self.clock.now().saturating_sub(self.pace.clock_skew));
        let removed = over.len() as u64;
        self.metrics.ledger_swept.inc_by(removed);
        self.tell_pruner(over);
        // Many came or went: what they passed through on their way is free by now.
        if removed + self.head.abs_diff(self.tidy_head) > GIVE_BACK_AFTER {
            self.tidy_head = self.head;
            tokio::task::spawn_blocking(crate::memory::give_back);
        }
    }

    /// Every row there is comes by here, so whatever is over is told, and nothing has to be searched on the disk.
    fn tell_pruner(&self, over: Vec<Id>) {
        if !over.is_empty() {
            // The pruner ends first only when the hub does.
            let _ = self.over.send(over);
        }
    }
}
