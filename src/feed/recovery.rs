//! When the log is no longer the one it was.
//!
//! A promoted standby may lack the last rows of the old primary, and would hand out their positions again. A restored backup
//! is behind its clients. Then the same cursor means two things, and a client that resumes misses what stands at positions
//! it has already passed. So the log gets a new epoch as soon as one of these is seen:
//!
//! * `moved`: it is on another server, timeline, database or table than its epoch was made on. The store refuses to append
//!   until the epoch is new, so no position is ever handed out twice in one epoch.
//! * `shrunk`: its head is behind what this process has read from it, or written to it. Here too the store refuses.
//! * `ahead`: a client has a cursor of this epoch that the log does not reach.
//!
//! Then, and also when another replica has renewed the epoch or the name leads to another database altogether, what the
//! ledger still holds and the log has lost is **put back**: it was acknowledged. This is the one place where something goes
//! from the ledger to the store. The old ledger goes on answering meanwhile, as it does while the store is away; only then is
//! the new log loaded, so that no client sees a state without what was acknowledged to it.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Feed, PAGE};
use crate::revocation::{Epoch, Id, Row};
use crate::store::audit::{Cause, HUB, Note};
use crate::store::merge::{Lost, Stands, lost};
use crate::store::{Change, Commit, Outcome, Page, PutBack, Renewed, StoreError};

/// Rows put back in one transaction: writers get in between.
const BATCH: usize = 1000;

/// So often may the word of a client lead to a new epoch. A restored backup happens less often, and a client that makes
/// cursors up shall not keep every gateway reloading.
const BELIEVE_EVERY: Duration = Duration::from_secs(600);

impl Feed {
    /// What speaks against the log still being the one that its epoch names, by the name it has in the metric.
    pub(super) fn doubt(&mut self, page: &Page, another: bool) -> Option<&'static str> {
        // Taken in any case: a claim on another epoch is none.
        let claim = self.ledger.claim();
        if page.moved {
            return Some("moved");
        }
        if another && !page.shrunk {
            return None;
        }
        if page.shrunk || page.head < self.head {
            return Some("shrunk");
        }
        claim.filter(|(epoch, seq)| *epoch == page.epoch && *seq > page.head)?;
        if self.believed.is_some_and(|at| at.elapsed() < BELIEVE_EVERY) {
            tracing::warn!(
                "a client is ahead of the log, soon after another one was; it was told to load the list again"
            );
            return None;
        }
        self.believed = Some(Instant::now());
        Some("ahead")
    }

    /// Gives the log a new epoch in place of `old`.
    pub(super) async fn renew(&self, old: &Epoch, reason: &'static str) -> Result<(), StoreError> {
        let cause = match reason {
            "moved" => Cause::Moved,
            "shrunk" => Cause::Shrunk,
            _ => Cause::Ahead,
        };
        let Renewed { epoch: new, here } = self.store.renew_as(old, &self.note(cause, 0)).await?;
        // All replicas see it, and one of them is the first.
        if here {
            self.metrics.epoch_renewals.with_label_values(&[reason]).inc();
        }
        tracing::error!(%old, %new, reason, here, "the log may have lost rows and has a new epoch; every client will load it again");
        Ok(())
    }

    /// Makes the ledger that of the epoch `new`, still to be loaded, after what the log lost was put back.
    pub(super) async fn turn_to(
        &mut self,
        new: Epoch,
        head: u64,
        commits: &mut mpsc::Receiver<Commit>,
    ) -> Result<(), StoreError> {
        // What the ledger holds, which is older than `self.epoch` when that one was not loaded to its end.
        if let Some(old) = self.ledger.epoch() {
            // Commits of this process that have not been looked at: acknowledged, and perhaps lost.
            while let Ok(commit) = commits.try_recv() {
                self.take(commit);
            }
            let count = self.put_back(&old, &new).await?;
            let old_head = self.head;
            tracing::error!(%old, old_head, %new, head, put_back = count, "the log is not the one it was; loading it anew");
            self.metrics.feed_resets.inc();
        }
        self.stray.clear();
        self.ledger.begin(new.clone());
        self.epoch = Some(new);
        self.head = 0;
        self.applied.send_replace(0);
        Ok(())
    }

    /// Puts back what this process holds of the epoch `old` and the log, now of the epoch `new`, has lost. Returns how many
    /// rows that were. Doing it again changes nothing, so an error on the way only means to begin anew.
    async fn put_back(&mut self, old: &Epoch, new: &Epoch) -> Result<usize, StoreError> {
        let base = self.store.base(old).await?;
        let stands = self.positions(new).await?;
        let cutoff = self.clock.now().saturating_sub(self.pace.clock_skew);
        let wanted =
            |row: &Row| row.revocation.exp.0 > cutoff && lost(row, base, stands.get(&row.id).copied()) != Lost::Nothing;
        let mut count = 0;
        let mut after = 0;
        while let Some(rows) = self.ledger.rows(old, after, PAGE) {
            (after, count) = (rows.seq, count + self.say_again(rows.rows, base, wanted).await?);
            if after >= rows.head {
                break;
            }
        }
        Ok(count + self.say_again(self.stray.clone(), base, wanted).await?)
    }

    async fn say_again(
        &self,
        mut rows: Vec<Row>,
        base: Option<u64>,
        wanted: impl Fn(&Row) -> bool,
    ) -> Result<usize, StoreError> {
        rows.retain(wanted);
        let changes: Vec<_> = rows.into_iter().map(|row| Change::PutBack(Box::new(PutBack { row, base }))).collect();
        let mut count = 0;
        for batch in changes.chunks(BATCH) {
            let note = self.note(Cause::PutBack, batch.len());
            let commit = self.store.append_as(batch, &[note], self.clock.now(), self.pace.clock_skew).await?;
            let said = commit.outcomes.iter().filter(|o| matches!(o, Outcome::Revoked(_) | Outcome::Lifted(_))).count();
            self.metrics.put_back.inc_by(said as u64);
            count += said;
        }
        Ok(count)
    }

    /// What the audit says of what nobody has asked for.
    fn note(&self, cause: Cause, changes: usize) -> Note {
        Note { actor: Arc::default(), source: HUB.into(), cause, at: self.clock.millis(), changes }
    }

    /// Where each target stands in the log. An error when the log changes its epoch meanwhile.
    async fn positions(&self, epoch: &Epoch) -> Result<HashMap<Id, Stands>, StoreError> {
        let mut all = HashMap::new();
        let mut after = 0;
        loop {
            let page = self.store.read_after(after, PAGE).await?;
            if page.moved || page.shrunk || page.epoch != *epoch {
                return Err(StoreError::Unavailable("the log got a new epoch once more".into()));
            }
            let last = page.rows.len() < PAGE;
            after = page.rows.last().map_or(after, |row| row.seq);
            all.extend(page.rows.iter().map(|row| (row.id, Stands::from(row))));
            if last {
                return Ok(all);
            }
        }
    }
}
