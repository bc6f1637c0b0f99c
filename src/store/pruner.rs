//! The pruner: takes what has expired off the disk, in small transactions, and counts the messages that are parked there.
//!
//! It is told what is over by the feed, which has read every row there is: what it did not take in because it was over
//! already, and what it has swept out of the ledger. So the store needs no index on the expiry, which would cost every
//! revocation as it comes. Each replica tells its own pruner; a row that another one has deleted costs a look.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Pruned, Store};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::revocation::Id;

/// Batches of old records that one round deletes at most: ten times as many records in 10 s as a hub takes requests.
const BATCHES: usize = 200;

/// How the pruner paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two rounds.
    pub interval: Duration,
    /// Rows deleted in one transaction.
    pub batch: usize,
    /// `clock_skew`, seconds.
    pub clock_skew: i64,
    /// How long records of the audit are kept.
    pub audit_retention: Duration,
}

/// What prunes.
pub struct Pruner {
    /// Where.
    pub store: Arc<dyn Store>,
    /// Tells what is over.
    pub clock: Clock,
    /// How fast.
    pub pace: Pace,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Ids of rows that are over. Sixteen bytes each, and never more than there are rows.
    pub over: mpsc::UnboundedReceiver<Vec<Id>>,
}

impl Pruner {
    /// Prunes until `stop`. A store that is away is tried again in the next round; the feed is the one that reports it.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ids = Vec::new();
        loop {
            // Any replica may have parked or dropped messages, so they are counted where they are.
            if let Ok(count) = self.store.parked_count().await {
                self.metrics.parked.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.pace.interval) => {}
            }
            // Small, and nobody waits for it: what is left over is for the next round.
            if let Err(error) = self.store.forget(self.clock.now(), self.pace.batch).await {
                tracing::debug!(%error, "forgetting old ids");
            }
            self.forget_audit().await;
            while let Ok(more) = self.over.try_recv() {
                ids.extend(more);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                left = self.prune(ids) => ids = left,
            }
        }
    }

    /// Deletes records that are too old, a batch in one transaction and some batches in one round: what a burst has left is
    /// gone after a few.
    async fn forget_audit(&self) {
        let retention = i64::try_from(self.pace.audit_retention.as_millis()).unwrap_or(i64::MAX);
        let before = self.clock.millis().saturating_sub(retention);
        for _ in 0..BATCHES {
            let began = tokio::time::Instant::now();
            match self.store.forget_audit(before, self.pace.batch).await {
                Ok(gone) => {
                    self.metrics.audit_pruned.inc_by(gone);
                    self.metrics.audit_prune_last_success.set(self.clock.now());
                    if gone < self.pace.batch as u64 {
                        return;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "pruning the audit");
                    self.metrics.audit_prune_failed.inc();
                    return;
                }
            }
            tokio::time::sleep(began.elapsed()).await;
        }
    }

    /// Deletes what is over, and returns what is still to be deleted.
    async fn prune(&self, mut ids: Vec<Id>) -> Vec<Id> {
        let before = self.clock.now().saturating_sub(self.pace.clock_skew);
        let mut held = Vec::new();
        loop {
            let began = tokio::time::Instant::now();
            let rest = ids.len().saturating_sub(self.pace.batch);
            // Also when there is nothing to delete: it shows that it would work.
            match self.store.prune(&ids[rest..], before).await {
                Ok(Pruned { deleted, left }) => {
                    ids.truncate(rest);
                    held.extend(left);
                    self.metrics.pruned.inc_by(deleted);
                    self.metrics.prune_last_success.set(self.clock.now());
                }
                Err(error) => {
                    tracing::debug!(%error, "pruning");
                    self.metrics.prune_failed.inc();
                    ids.extend(held);
                    return ids;
                }
            }
            if ids.is_empty() {
                return held;
            }
            // Writers get at least as much time as pruning takes.
            tokio::time::sleep(began.elapsed()).await;
        }
    }
}
