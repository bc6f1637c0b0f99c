//! Large batches of new targets, several at once: each writes its rows before it takes the log's lock, with positions that
//! are foretold, and under the lock only says so. So the server works on as many of them as there are writers, and the lock
//! is held for as long as a commit takes.
//!
//! **Foretold** is the head that the log will have when everybody before has committed: it was read at the start of the
//! transaction, and the batches of this process that are on their way come on top of it, each after the one before. The lock
//! decides: where the head is not the foretold one, because another hub has written or somebody before has failed, all of it
//! is rolled back and done again in the way that cannot fail so. What others see is the same either way: a position is
//! visible when every smaller one is.
//!
//! **Deadlocks.** Rows with the same position, or of the same target, wait for each other on the unique indexes, and whoever
//! waits there may hold the lock. So nobody here waits for the lock (`nowait`: where it is taken, the positions are others'
//! already), and for a row only for a moment: two replicas that are told the same at the same time hold each other up for
//! no longer than that.

use parking_lot::Mutex;
use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Executor};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::session::Session;
use super::standing::{Seen, judge};
use super::{Failed, audit, copy, no_log, sql};
use crate::revocation::Epoch;
use crate::store::Commit;
use crate::store::audit::Draft;
use crate::store::merge::Plan;

/// From so many changes on the server saves more than the additional round trips cost.
pub(super) const WORTHWHILE: usize = 512;

/// What became of a batch.
pub(super) enum Outcome {
    /// It is on disk.
    Committed(Commit),
    /// A target was there; nothing was done.
    NotNew,
    /// The log went another way; nothing was done.
    Otherwise,
}

/// Where the log will stand when the batches on their way have committed.
#[derive(Default)]
pub(super) struct Foresight(Mutex<Option<Tip>>);

struct Tip {
    epoch: Epoch,
    head: u64,
    /// Tells when the batch that ends at this head has committed; an error when it has failed.
    committed: oneshot::Receiver<()>,
}

/// The positions of one batch.
struct Place<'a> {
    foresight: &'a Foresight,
    base: u64,
    before: Option<oneshot::Receiver<()>>,
    committed: Option<oneshot::Sender<()>>,
}

impl Foresight {
    /// The place of a batch of `n` that has read `head`.
    fn place(&self, epoch: &Epoch, head: u64, n: usize) -> Place<'_> {
        let (sender, committed) = oneshot::channel();
        let mut tip = self.0.lock();
        let (base, before) = match tip.take() {
            Some(last) if last.epoch == *epoch && last.head > head => (last.head, Some(last.committed)),
            _ => (head, None),
        };
        *tip = Some(Tip { epoch: epoch.clone(), head: base + n as u64, committed });
        Place { foresight: self, base, before, committed: Some(sender) }
    }
}

impl Place<'_> {
    /// Waits for the batch before; whether it has committed.
    async fn turn(&mut self) -> bool {
        match self.before.take() {
            Some(before) => before.await.is_ok(),
            None => true,
        }
    }

    fn done(mut self) {
        if let Some(committed) = self.committed.take() {
            let _ = committed.send(());
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // It has failed, and whoever comes after it will: the next one asks the log again.
        if self.committed.is_some() {
            *self.foresight.0.lock() = None;
        }
    }
}

/// Appends what is planned for an empty log.
pub(super) async fn append(
    foresight: &Foresight,
    session: &mut Session,
    mut plan: Plan,
    drafts: impl Fn(&Plan) -> Vec<Draft>,
    seen: &Seen,
    notify: bool,
) -> Result<Outcome, Failed> {
    let Session { conn, home } = session;
    let log = sqlx::raw_sql(sql::LOOK).fetch_all(&mut *conn).await?;
    let log = log.first().ok_or_else(no_log)?;
    let (epoch, head) = judge(log, home.as_deref(), seen, 0)?;
    let mut place = foresight.place(&epoch, head, plan.rows.len());
    plan.shift(place.base);
    let written = async {
        copy::send(conn, &plan.rows).await?;
        // Also before the lock.
        audit::note(conn, &epoch, &drafts(&plan)).await
    };
    let outcome = match written.await {
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => clash(&*e),
        Err(sqlx::Error::Database(e)) if sql::disagrees(&*e) => Outcome::Otherwise,
        Err(error) => return Err(error.into()),
        Ok(()) if !place.turn().await => Outcome::Otherwise,
        Ok(()) => {
            let agree = AssertSqlSafe(sql::agree(&epoch, place.base, plan.head, notify));
            match conn.execute(sqlx::raw_sql(agree)).await {
                Ok(_) => {
                    place.done();
                    let Plan { rows, head, outcomes } = plan;
                    return Ok(Outcome::Committed(Commit { epoch, head, outcomes, rows, at: Instant::now() }));
                }
                Err(sqlx::Error::Database(e)) if sql::disagrees(&*e) => Outcome::Otherwise,
                Err(error) => return Err(Failed::at_commit(error)),
            }
        }
    };
    drop(place);
    conn.execute("rollback").await?;
    Ok(outcome)
}

/// Two rows met: of the same target, or of the same position.
fn clash(error: &dyn DatabaseError) -> Outcome {
    if error.constraint() == Some("revocation_seq_key") { Outcome::Otherwise } else { Outcome::NotNew }
}
