//! Where the log stands, and whether it is still the one that its epoch names.
//!
//! Two things tell that it may have lost rows. It is not where its epoch was made: another server, timeline, database or
//! table. Or its head is behind one that this process has seen in the same epoch: a volume was rolled back. Both are asked
//! under the lock of every append, so that no position is ever handed out twice by a process that knows better.

use parking_lot::Mutex;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::{Failed, epoch};
use crate::revocation::Epoch;

/// The farthest that this process has seen the log. To be taken before a statement is sent: what a statement sees is not
/// older than that.
#[derive(Clone, Debug)]
pub(super) struct Seen(Option<(Epoch, u64)>);

/// Keeps [`Seen`].
#[derive(Default)]
pub(super) struct Known(Mutex<Option<(Epoch, u64)>>);

impl Known {
    pub(super) fn seen(&self) -> Seen {
        Seen(self.0.lock().clone())
    }

    /// Says that something committed was seen.
    pub(super) fn learn(&self, epoch: &Epoch, head: u64) {
        let mut known = self.0.lock();
        match &mut *known {
            Some((same, farthest)) if same == epoch => *farthest = head.max(*farthest),
            other => *other = Some((epoch.clone(), head)),
        }
    }
}

impl Seen {
    /// Whether the log has been farther than this.
    pub(super) fn is_beyond(&self, epoch: &Epoch, head: u64) -> bool {
        self.0.as_ref().is_some_and(|(same, farthest)| same == epoch && *farthest > head)
    }

    /// The epoch and the least head that a log of that epoch must have, for SQL. Without one the epoch is none.
    pub(super) fn fence(&self) -> (&str, i64) {
        self.0.as_ref().map_or(("", 0), |(epoch, head)| (epoch.as_str(), head.cast_signed()))
    }
}

/// Epoch and head of a row `epoch, head, home, tableoid::bigint` of `log`; `taken` positions were added to the head already.
/// `here` is where the session leads to, all but the table.
pub(super) fn judge(log: &PgRow, here: Option<&str>, seen: &Seen, taken: u64) -> Result<(Epoch, u64), Failed> {
    let (epoch, head) = (epoch(log.try_get(0)?)?, log.try_get::<i64, _>(1)?.cast_unsigned());
    let made: Option<&str> = log.try_get(2)?;
    let table: i64 = log.try_get(3)?;
    let elsewhere = made.zip(here).is_some_and(|(made, here)| made != format!("{here}{table}"));
    if elsewhere || seen.is_beyond(&epoch, head - taken) {
        return Err(Failed::moved());
    }
    Ok((epoch, head))
}
