//! Outlets that send: the log, from a cursor held in the store, to another system that confirms.
//!
//! **Pattern.** Whoever holds the outlet's lease reads the ledger from the outlet's cursor, sends in `seq` order, and moves
//! the cursor when everything up to there is confirmed. A crash in between sends some of it again and leaves nothing out.
//!
//! **Concurrency.** One task per outlet and replica; the lease (by the database's clock) lets one of them send. One that
//! cannot renew in time stops sending before the lease ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Start;
use crate::ledger::Ledger;
use crate::link::{Link, State, keep_up};
use crate::revocation::{Cursor, Row};
use crate::store::positions::Positions;

/// How long an outlet belongs to a replica that does not renew.
const LEASE: Duration = Duration::from_secs(15);
/// When it renews.
const RENEW: Duration = Duration::from_secs(5);
/// Rows read from the ledger at once.
const PAGE: usize = 512;

/// A session with the other system.
#[async_trait]
pub trait Session: Send {
    /// Sends rows in their order and returns when the other side has confirmed all of them; says how many could not be
    /// expressed in its format and were left out. Bounded in time by the implementation.
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<u64>;

    /// Whether the session is still one, asked every few seconds, so that people do not read "connected" until the next
    /// revocation. An error ends it. Answers at once.
    async fn check(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Makes sessions.
#[async_trait]
pub trait Connect: Send + Sync + 'static {
    /// Connects and signs in; bounded in time by the implementation.
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>>;
}

/// See the module's documentation.
pub struct Publisher {
    /// The outlet's name, under which its cursor is kept.
    pub name: String,
    /// Where a new outlet starts.
    pub start: Start,
    /// Sources whose revocations are left out.
    pub except_sources: Vec<String>,
    /// Where cursors are.
    pub positions: Arc<dyn Positions>,
    /// What is read.
    pub ledger: Arc<Ledger>,
    /// What people see.
    pub link: Arc<Link>,
    /// The way to the other system.
    pub connect: Box<dyn Connect>,
}

impl Publisher {
    /// Publishes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        // A random name: two replicas never have the same, not even on copied machines.
        let holder = format!("{:032x}", rand::random::<u128>());
        keep_up(&self.link, &stop, || self.session(&holder)).await;
        let _ = tokio::time::timeout(RENEW, self.positions.release(&self.name, &holder)).await;
    }

    async fn session(&self, holder: &str) -> anyhow::Result<Infallible> {
        let (mut renewed, stored) = self.hold(holder).await?;
        let mut cursor = self.place(stored).await;
        let mut session = self.connect.connect().await?;
        self.link.is(State::Connected);
        let mut pulse = self.ledger.subscribe();
        loop {
            if renewed.elapsed() >= RENEW {
                (renewed, _) = self.hold(holder).await?;
                session.check().await?;
                self.link.is(State::Connected);
            }
            pulse.mark_unchanged();
            let Some(page) = self.ledger.rows(&cursor.epoch, cursor.seq, PAGE) else {
                // Another epoch: everything in force once more, as soon as that is known.
                let now = self.loaded().await;
                if now.epoch != cursor.epoch {
                    cursor = Cursor { epoch: now.epoch, seq: 0 };
                }
                continue;
            };
            self.link.lags(page.head.saturating_sub(cursor.seq));
            if page.seq == cursor.seq {
                let wait = RENEW.saturating_sub(renewed.elapsed());
                let _ = tokio::time::timeout(wait, pulse.changed()).await;
                continue;
            }
            let mut rows = page.rows;
            let all = rows.len();
            rows.retain(|row| !self.except_sources.contains(&row.revocation.source));
            let excepted = (all - rows.len()) as u64;
            if !rows.is_empty() {
                // A lease that may have ended meanwhile is no lease.
                let left = LEASE.saturating_sub(renewed.elapsed());
                let skipped = tokio::time::timeout(left, session.send(&rows)).await;
                let skipped = skipped.context("the other side did not confirm in time")??;
                if skipped > 0 {
                    self.link.set_aside(skipped, "not_expressible");
                }
                self.link.delivered(rows.len() as u64 - skipped, "confirmed");
            }
            if excepted > 0 {
                self.link.set_aside(excepted, "except_sources");
            }
            cursor.seq = page.seq;
            let kept = self.positions.advance(&self.name, holder, &cursor).await?;
            anyhow::ensure!(kept, "another replica has taken this outlet over");
        }
    }

    /// Waits until the outlet is ours; says since when, and where it stands.
    async fn hold(&self, holder: &str) -> anyhow::Result<(Instant, Option<Cursor>)> {
        loop {
            let asked = Instant::now();
            if let Some(held) = self.positions.hold(&self.name, holder, LEASE).await? {
                return Ok((asked, held.cursor));
            }
            self.link.is(State::Standby);
            // Not all replicas at the same moment.
            tokio::time::sleep(RENEW.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
        }
    }

    async fn place(&self, stored: Option<Cursor>) -> Cursor {
        let now = self.loaded().await;
        match stored {
            Some(cursor) if cursor.epoch == now.epoch => {
                // Another replica may have read the store earlier than this one.
                let _ = tokio::time::timeout(RENEW, self.ledger.reach(cursor.seq)).await;
                cursor
            }
            Some(_) => Cursor { seq: 0, ..now },
            None if self.start == Start::Now => now,
            None => Cursor { seq: 0, ..now },
        }
    }

    /// The end of the log, as soon as it is known.
    async fn loaded(&self) -> Cursor {
        let mut pulse = self.ledger.subscribe();
        loop {
            pulse.mark_unchanged();
            if let Some(cursor) = self.ledger.cursor() {
                return cursor;
            }
            let _ = pulse.changed().await;
        }
    }
}
