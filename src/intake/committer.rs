//! The committer: one transaction after the other, each with everything that has come together meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::IntakeError;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::revocation::Cursor;
use crate::store::{Change, Commit, Outcome, Store, StoreError};

/// How many changes one transaction takes, so that its duration stays bounded. A larger request goes alone.
const MAX_BATCH: usize = 4096;

/// With so many changes a transaction does not wait for more to join: the cost of a commit is spread thin enough, and what
/// comes next is better parsed while the database works than after it.
const ENOUGH: usize = 1000;

/// How long an answer waits for the feed to take the commit in. The commit is on disk already; a feed that is late only
/// means that the sender may not see its own revocation at once.
const VISIBILITY_PATIENCE: Duration = Duration::from_secs(1);

/// One request on its way to the store.
pub(super) struct Job {
    pub(super) changes: Vec<Change>,
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

/// The task that commits.
pub struct Committer {
    jobs: mpsc::Receiver<Job>,
    store: Arc<dyn Store>,
    clock: Clock,
    skew: i64,
    metrics: Arc<Metrics>,
}

impl Committer {
    pub(super) fn new(
        jobs: mpsc::Receiver<Job>,
        store: Arc<dyn Store>,
        clock: Clock,
        skew: i64,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { jobs, store, clock, skew, metrics }
    }

    /// Runs until every [`super::Intake`] is gone and the queue is empty. `commits` takes each commit to the feed;
    /// `applied` tells how far the feed has come.
    pub async fn run(mut self, commits: mpsc::Sender<Commit>, applied: watch::Receiver<u64>) {
        let mut held = None;
        while let Some(first) = match held.take() {
            Some(job) => Some(job),
            None => self.jobs.recv().await,
        } {
            let mut size = first.changes.len();
            let mut batch = vec![first];
            // Requests that are just being read get the chance to come along.
            tokio::task::yield_now().await;
            while size < ENOUGH {
                let Ok(job) = self.jobs.try_recv() else { break };
                if size + job.changes.len() > MAX_BATCH {
                    held = Some(job);
                    break;
                }
                size += job.changes.len();
                batch.push(job);
            }
            self.commit(batch, &commits, &applied).await;
        }
    }

    async fn commit(&self, batch: Vec<Job>, commits: &mpsc::Sender<Commit>, applied: &watch::Receiver<u64>) {
        let mut changes = Vec::new();
        let mut replies = Vec::with_capacity(batch.len());
        for mut job in batch {
            replies.push((job.changes.len(), job.reply));
            changes.append(&mut job.changes);
        }
        let began = Instant::now();
        let result = self.store.append(&changes, self.clock.now(), self.skew).await;
        self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
        match result {
            Ok(mut commit) => {
                self.metrics.commit_size.observe(changes.len() as f64);
                let cursor = Cursor { epoch: commit.epoch.clone(), seq: commit.head };
                let mut outcomes = std::mem::take(&mut commit.outcomes).into_iter();
                let wrote = !commit.rows.is_empty();
                // A full channel means the feed is behind; it will find the rows in the store.
                if wrote {
                    let _ = commits.try_send(commit);
                }
                let answers: Vec<_> = replies
                    .into_iter()
                    .map(|(n, reply)| {
                        (reply, Committed { cursor: cursor.clone(), outcomes: outcomes.by_ref().take(n).collect() })
                    })
                    .collect();
                answer_when_visible(answers, cursor.seq, wrote.then(|| applied.clone()));
            }
            Err(error) => {
                self.metrics.commit_failed.inc();
                // Told to each sender; the feed reports the state of the store in the log.
                for (_, reply) in replies {
                    let _ = reply.send(Err(IntakeError::Store(repeat(&error))));
                }
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
        other => StoreError::Refused(other.to_string()),
    }
}
