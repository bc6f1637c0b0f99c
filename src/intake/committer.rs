//! The committer: one transaction after the other, each with everything that has come together meanwhile.
//!
//! Large transactions are handed to the store several at once if it has a use for that (see [`Store::appends_at_once`]).
//! It keeps them apart and in an order of its own: nothing here or in the feed depends on which of them comes first, and
//! when one fails the others stand by themselves. They hold different requests, whose senders all still wait for an
//! answer, so no order between them was ever promised.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::IntakeError;
use crate::actor::Actor;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::revocation::Cursor;
use crate::store::audit::{Cause, Note};
use crate::store::{Change, Commit, Outcome, Store, StoreError};

/// How many changes one transaction takes, so that its duration stays bounded. A larger request goes alone.
const MAX_BATCH: usize = 4096;

/// With so many changes nobody else joins, where the next transaction can stand ready meanwhile: the cost of a commit is
/// spread thin enough, and what comes next is better parsed while the database works than after it.
const ENOUGH: usize = 1000;

/// From so many changes on a transaction is large and does not wait for the end of the one before. Small ones wait and
/// become one.
pub(super) const LARGE: usize = 512;

/// How long an answer waits for the feed to take the commit in. The commit is on disk already; a feed that is late only
/// means that the sender may not see its own revocation at once.
const VISIBILITY_PATIENCE: Duration = Duration::from_secs(1);

/// One request on its way to the store.
pub(super) struct Job {
    pub(super) changes: Vec<Change>,
    /// Who asks.
    pub(super) actor: Arc<Actor>,
    /// The source that the revocations carry.
    pub(super) source: Arc<str>,
    /// When it was sent.
    pub(super) queued: Instant,
    pub(super) reply: oneshot::Sender<Result<Committed, IntakeError>>,
}

/// The outcome of one request.
#[derive(Clone, Debug)]
pub struct Committed {
    /// The end of the log after the commit.
    pub cursor: Cursor,
    /// One per change.
    pub outcomes: Vec<Outcome>,
}

/// What goes into one transaction.
#[derive(Default)]
struct Batch {
    jobs: Vec<Job>,
    size: usize,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Leaves those that came later than what has failed.
    fn fail(&mut self, failed: &Failed) {
        self.jobs = std::mem::take(&mut self.jobs).into_iter().filter_map(|job| job.fail(failed)).collect();
        self.size = self.jobs.iter().map(|job| job.changes.len()).sum();
    }

    /// Takes the request in, or gives it back when both together would be too much.
    fn join(&mut self, job: Job) -> Result<(), Job> {
        if !self.is_empty() && self.size + job.changes.len() > MAX_BATCH {
            return Err(job);
        }
        self.size += job.changes.len();
        self.jobs.push(job);
        Ok(())
    }
}

/// A transaction that did not succeed, and when it began. Whoever was waiting by then has waited for as long as the store may
/// take, and is not to wait for that again: with a store that does not answer, each transaction would add as much.
struct Failed {
    began: Instant,
    error: StoreError,
}

impl Job {
    /// Tells its sender of the failure; gives it back when it came later.
    fn fail(self, failed: &Failed) -> Option<Self> {
        if self.queued > failed.began {
            return Some(self);
        }
        let _ = self.reply.send(Err(IntakeError::Store(repeat(&failed.error))));
        None
    }
}

/// The task that commits.
pub struct Committer {
    jobs: mpsc::Receiver<Job>,
    /// Is notified of each large request. Of small ones it need not hear before a transaction has ended.
    large: Arc<Notify>,
    desk: Desk,
}

/// What it takes to commit.
struct Desk {
    store: Arc<dyn Store>,
    clock: Clock,
    skew: i64,
    metrics: Arc<Metrics>,
}

impl Committer {
    pub(super) fn new(
        jobs: mpsc::Receiver<Job>,
        large: Arc<Notify>,
        store: Arc<dyn Store>,
        clock: Clock,
        skew: i64,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { jobs, large, desk: Desk { store, clock, skew, metrics } }
    }

    /// Runs until every [`super::Intake`] is gone and the queue is empty. `commits` takes each commit to the feed;
    /// `applied` tells how far the feed has come.
    pub async fn run(self, commits: mpsc::Sender<Commit>, applied: watch::Receiver<u64>) {
        let Self { mut jobs, large, desk } = self;
        let mut running = FuturesUnordered::new();
        let mut next = Batch::default();
        let mut held = None;
        let at_once = desk.store.appends_at_once();
        let enough = if at_once > 1 { ENOUGH } else { MAX_BATCH };
        loop {
            while next.size < enough {
                let Some(job) = held.take().or_else(|| jobs.try_recv().ok()) else { break };
                if let Err(job) = next.join(job) {
                    held = Some(job);
                    break;
                }
            }
            let full = next.size >= LARGE || held.is_some();
            if !next.is_empty() && (running.is_empty() || (full && running.len() < at_once)) {
                running.push(desk.commit(std::mem::take(&mut next), &commits, &applied));
            } else if running.is_empty() {
                held = jobs.recv().await;
                if held.is_none() {
                    return;
                }
            } else {
                tokio::select! {
                    Some(done) = running.next() => if let Err(failed) = done {
                        next.fail(&failed);
                        held = held.and_then(|job: Job| job.fail(&failed));
                        while held.is_none() && let Ok(job) = jobs.try_recv() {
                            held = job.fail(&failed);
                        }
                    },
                    () = large.notified(), if running.len() < at_once => {}
                }
            }
            if running.is_empty() {
                // Requests that are just being read get the chance to come along.
                tokio::task::yield_now().await;
            }
        }
    }
}

impl Desk {
    async fn commit(
        &self,
        batch: Batch,
        commits: &mpsc::Sender<Commit>,
        applied: &watch::Receiver<u64>,
    ) -> Result<(), Failed> {
        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(batch.jobs.len());
        let mut notes = Vec::with_capacity(batch.jobs.len());
        let mut received = Vec::with_capacity(batch.jobs.len());
        let at = self.clock.millis();
        for mut job in batch.jobs {
            let (actor, source, cause) = (job.actor, job.source, Cause::Request);
            notes.push(Note { actor, source, cause, at, changes: job.changes.len() });
            replies.push((job.changes.len(), job.reply));
            received.push(job.queued);
            if changes.is_empty() {
                changes = job.changes;
            } else {
                changes.append(&mut job.changes);
            }
        }
        let began = Instant::now();
        let result = self.store.append_as(&changes, &notes, self.clock.now(), self.skew).await;
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        match result {
            Ok(mut commit) => {
                self.metrics.commit_size.observe(changes.len() as f64);
                for at in received {
                    self.metrics.received_to_committed.observe((commit.at - at).as_secs_f64());
                }
                let cursor = Cursor { epoch: commit.epoch.clone(), seq: commit.head };
                let mut outcomes = std::mem::take(&mut commit.outcomes).into_iter();
                let wrote = !commit.rows.is_empty();
                // A full channel means the feed is behind; it will find the rows in the store, and until then nobody else has
                // them.
                if wrote && let Err(full) = commits.try_send(commit) {
                    self.metrics.feed_unkept.inc_by(full.into_inner().rows.len() as u64);
                }
                let answers: Vec<_> = replies
                    .into_iter()
                    .map(|(n, reply)| {
                        (reply, Committed { cursor: cursor.clone(), outcomes: outcomes.by_ref().take(n).collect() })
                    })
                    .collect();
                answer_when_visible(answers, cursor.seq, wrote.then(|| applied.clone()));
                Ok(())
            }
            Err(error) => {
                self.metrics.commit_failed.inc();
                // Told to each sender; the feed reports the state of the store in the log.
                for (_, reply) in replies {
                    let _ = reply.send(Err(IntakeError::Store(repeat(&error))));
                }
                Err(Failed { began, error })
            }
        }
    }
}

/// Answers without holding up the next commit.
fn answer_when_visible(
    answers: Vec<(oneshot::Sender<Result<Committed, IntakeError>>, Committed)>,
    head: u64,
    applied: Option<watch::Receiver<u64>>,
) {
    let answer = |answers: Vec<(oneshot::Sender<_>, _)>| {
        for (reply, committed) in answers {
            let _ = reply.send(Ok(committed));
        }
    };
    match applied {
        Some(mut applied) if *applied.borrow() < head => {
            tokio::spawn(async move {
                let _ = tokio::time::timeout(VISIBILITY_PATIENCE, applied.wait_for(|seq| *seq >= head)).await;
                answer(answers);
            });
        }
        _ => answer(answers),
    }
}

fn repeat(error: &StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(text) => StoreError::Unavailable(text.clone()),
        StoreError::Absent(text) => StoreError::Absent(text.clone()),
        other => StoreError::Refused(other.to_string()),
    }
}
