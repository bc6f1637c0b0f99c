//! The pruner: takes what has expired off the disk, in small transactions, and counts the messages that are parked there.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Store;
use crate::clock::Clock;
use crate::metrics::Metrics;

/// How the pruner paces itself.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Time between two rounds.
    pub interval: Duration,
    /// Rows deleted in one transaction.
    pub batch: usize,
    /// `clock_skew`, seconds.
    pub clock_skew: i64,
}

/// Prunes until `stop`. A store that is away is tried again in the next round; the feed is the one that reports it.
pub async fn run(store: Arc<dyn Store>, clock: Clock, pace: Pace, metrics: Arc<Metrics>, stop: CancellationToken) {
    loop {
        // Any replica may have parked or dropped messages, so they are counted where they are.
        if let Ok(count) = store.parked_count().await {
            metrics.parked.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pace.interval) => {}
        }
        // Small, and nobody waits for it: what is left over is for the next round.
        if let Err(error) = store.forget(clock.now(), pace.batch).await {
            tracing::debug!(%error, "forgetting old ids");
        }
        let before = clock.now().saturating_sub(pace.clock_skew);
        loop {
            let began = tokio::time::Instant::now();
            match store.prune(before, pace.batch).await {
                Ok(deleted) => {
                    metrics.pruned.inc_by(deleted);
                    metrics.prune_last_success.set(clock.now());
                    if deleted < pace.batch as u64 {
                        break;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "pruning");
                    metrics.prune_failed.inc();
                    break;
                }
            }
            // Writers get at least as much time as pruning takes.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(began.elapsed()) => {}
            }
        }
    }
}
