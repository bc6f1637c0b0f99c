//! Outlets that send: the log, from a cursor held in the store, to another system that confirms.
//!
//! **Pattern.** Whoever holds the outlet's lease reads the ledger from the outlet's cursor, sends in `seq` order, and moves
//! the cursor when everything up to there is confirmed. A page may be confirmed in parts, and the cursor goes with them: what
//! was delivered before something failed is not sent again. A crash in between sends some of it again and leaves nothing out.
//!
//! **Concurrency.** One task per outlet and replica; the lease (by the database's clock) lets one of them send. It is
//! renewed beside the sending, so a slow other side costs nothing; one that cannot renew in time stops sending before the
//! lease ends, whatever it was doing. After a failure the outlet is given up, so that a replica that can reach the other
//! side gets its turn.
//!
//! **Invariants.**
//! * The stored cursor is never ahead of what was confirmed.
//! * When the log becomes another one, or goes back, everything in force is sent once more.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Start;
use crate::ledger::{Ledger, Reach};
use crate::link::{Link, State, keep_up};
use crate::revocation::{Cursor, Row};
use crate::store::positions::Positions;

/// How long an outlet belongs to a replica that does not renew.
const LEASE: Duration = Duration::from_secs(15);
/// When it renews.
const RENEW: Duration = Duration::from_secs(5);
/// So long before its end a lease that could not be renewed counts as lost.
const MARGIN: Duration = Duration::from_secs(1);
/// Between two attempts at a store that does not answer.
const PAUSE: Duration = Duration::from_millis(500);
/// Rows read from the ledger at once.
const PAGE: usize = 512;

/// A session with the other system.
#[async_trait]
pub trait Session: Send {
    /// Sends rows in their order and returns when the other side has confirmed all of them, or the first ones: those are not
    /// sent again, the others are sent next. An error says that none was confirmed, so one that comes after something was
    /// confirmed is left for the next call to run into. Bounded in time by the implementation.
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent>;

    /// Whether the session is still one, asked every few seconds, so that people do not read "connected" until the next
    /// revocation. An error ends it. Answers at once.
    async fn check(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// What became of rows that were to be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many of the first rows are done with: confirmed, or left out.
    pub done: usize,
    /// So many of those could not be expressed in the other side's format and were left out.
    pub skipped: u64,
}

impl Sent {
    /// More is done.
    pub fn add(&mut self, done: usize, skipped: u64) {
        self.done += done;
        self.skipped += skipped;
    }

    /// What to return when something fails: the error, unless there is something to write down first.
    pub fn or(self, error: anyhow::Error) -> anyhow::Result<Self> {
        if self.done > 0 { Ok(self) } else { Err(error) }
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
        self.release(&holder).await;
    }

    async fn session(&self, holder: &str) -> anyhow::Result<Infallible> {
        let (since, stored) = self.hold(holder).await?;
        self.link.is(State::Connecting);
        let error = tokio::select! {
            // The lease first: without it nothing more is sent.
            biased;
            lost = self.keep(holder, since) => lost,
            Err(error) = self.publish(holder, stored) => error,
        };
        self.release(holder).await;
        Err(error)
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

    /// Renews a lease that was asked for at `since`, again and again. Returns only when it is lost. As it never renews one
    /// that may have ended, nobody else can have had the outlet in between.
    async fn keep(&self, holder: &str, mut since: Instant) -> anyhow::Error {
        loop {
            let end = since + LEASE - MARGIN;
            tokio::time::sleep_until(since + RENEW).await;
            let renewing = async {
                loop {
                    let asked = Instant::now();
                    match self.positions.hold(&self.name, holder, LEASE).await {
                        Ok(held) => return held.map(|_| asked),
                        Err(error) => tracing::debug!(name = self.name, %error, "renewing the outlet's lease"),
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            };
            match tokio::time::timeout_at(end, renewing).await {
                Ok(Some(asked)) => since = asked,
                Ok(None) => return anyhow::anyhow!("another replica has taken this outlet over"),
                Err(_) => return anyhow::anyhow!("the store did not let this replica keep the outlet"),
            }
        }
    }

    async fn release(&self, holder: &str) {
        // If it fails the others wait for the end of the lease.
        let _ = tokio::time::timeout(RENEW, self.positions.release(&self.name, holder)).await;
    }

    async fn publish(&self, holder: &str, stored: Option<Cursor>) -> anyhow::Result<Infallible> {
        let mut pulse = self.ledger.subscribe();
        let mut resets = pulse.borrow_and_update().resets;
        let mut cursor = self.place(stored).await;
        self.link.reached(cursor.seq);
        let mut session = self.connect.connect().await?;
        self.link.is(State::Connected);
        let mut checked = Instant::now();
        loop {
            if checked.elapsed() >= RENEW {
                session.check().await?;
                checked = Instant::now();
            }
            // Marked as seen before the ledger is read, so that what comes after the reading wakes us.
            let now = *pulse.borrow_and_update();
            let page = self.ledger.rows(&cursor.epoch, cursor.seq, PAGE).filter(|_| now.resets == resets);
            let Some(page) = page else {
                // Another log, or one that went back: everything in force once more, as soon as that is known.
                let end = self.loaded().await;
                let again = pulse.borrow_and_update().resets;
                if again != resets || end.epoch != cursor.epoch {
                    (resets, cursor) = (again, Cursor { seq: 0, ..end });
                }
                continue;
            };
            self.link.reached(cursor.seq);
            self.link.measure(page.head);
            if page.seq == cursor.seq {
                // The ledger lives as long as we do, so waiting for it cannot fail.
                if tokio::time::timeout(RENEW, pulse.changed()).await.is_err() {
                    session.check().await?;
                }
                continue;
            }
            cursor.seq = self.send(&mut *session, page.rows, page.seq).await?;
            self.advance(holder, &cursor).await?;
        }
    }

    /// Sends a page that ends at `end`; returns the position up to which everything is done.
    async fn send(&self, session: &mut dyn Session, mut rows: Vec<Row>, end: u64) -> anyhow::Result<u64> {
        let excepted: Vec<u64> = rows
            .extract_if(.., |row| self.except_sources.contains(&row.revocation.source))
            .map(|row| row.seq)
            .collect();
        let mut reached = end;
        if !rows.is_empty() {
            let Sent { done, skipped } = session.send(&rows).await?;
            anyhow::ensure!(done > 0, "nothing was sent, and nothing said why");
            if skipped > 0 {
                self.link.set_aside(skipped, "not_expressible");
            }
            self.link.delivered((done as u64).saturating_sub(skipped), "confirmed");
            if let (Some(last), true) = (rows.get(done - 1), done < rows.len()) {
                reached = last.seq;
            }
        }
        let passed = excepted.iter().filter(|seq| **seq <= reached).count() as u64;
        if passed > 0 {
            self.link.passed_over(passed, "except_sources");
        }
        Ok(reached)
    }

    /// Writes the cursor down. While the store is away it tries again, as long as the lease lasts: what was confirmed
    /// need not be sent again for that.
    async fn advance(&self, holder: &str, cursor: &Cursor) -> anyhow::Result<()> {
        loop {
            match self.positions.advance(&self.name, holder, cursor).await {
                Ok(true) => return Ok(()),
                Ok(false) => anyhow::bail!("another replica has taken this outlet over"),
                Err(error) => tracing::debug!(name = self.name, %error, "writing the outlet's cursor"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn place(&self, stored: Option<Cursor>) -> Cursor {
        self.loaded().await;
        // Another replica may have read the store earlier than this one. But a cursor that the log does not reach is one of
        // rows that were lost.
        match stored {
            Some(cursor) if self.ledger.reach(&cursor.epoch, cursor.seq).await == Reach::Here => cursor,
            None if self.start == Start::Now => self.loaded().await,
            _ => Cursor { seq: 0, ..self.loaded().await },
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

#[cfg(test)]
mod tests;
