//! The store: the log of revocations on disk, compacted by id.
//!
//! **Pattern.** One row per target. A change (later expiry, wider rule, lift) does not add a row: it moves the
//! target's row to a new `seq`. A one-row table `log` holds the epoch and the head.
//!
//! **Concurrency.** A writer locks the `log` row first, then reads the rows it is about to change, then writes rows
//! and head in the same transaction. So writers, on however many replicas, stand in one queue until their commit is
//! done. Readers lock nothing. Pruning does not take the `log` row: it deletes only what can no longer match. Large batches
//! of new targets write their rows before they take the lock (Postgres), with the positions that they will have.
//!
//! **Invariants.**
//! * `seq` is gap-free at commit and its order is commit order: when a reader sees `seq = n`, every row that will ever
//!   have a smaller `seq` is already visible. (With a plain sequence it would not be: a number drawn early can commit
//!   late, and a reader that remembers the last number passes it for ever.)
//! * A row leaves the store only when `exp + clock_skew` has passed, or by being moved.
//! * What [`Store::append`] returned is on disk.
//! * A change and its record in the [`audit`] are on disk together or not at all.
//!
//! What a change does to a row is decided in [`merge`], once for all engines.

pub mod audit;
pub mod dump;
pub mod merge;
pub mod migrations;
pub mod parking;
pub mod positions;
pub mod postgres;
pub mod pruner;
pub mod seen;
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::revocation::{Epoch, Id, Revocation, Row};

/// One change that intake asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make a target invalid, or widen what is already there. With the target's id, because a digest is worth computing
    /// only once; see [`Change::revoke`].
    Revoke(Id, Revocation),
    /// The same, but its expiry is only a span from now (a `ttl`, or the longest life of a token). A token's own expiry
    /// does not move, so when a single token is named again the same span again says nothing new.
    RevokeFor(Id, Revocation),
    /// Take a revocation back.
    Lift(Id),
    /// Say again what was acknowledged in an earlier epoch, if the log has lost it.
    PutBack(Box<PutBack>),
}

/// A row that a hub still holds in memory from an epoch that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutBack {
    /// As it was, with its position of then.
    pub row: Row,
    /// Up to here the log's positions are still those of then, see [`Store::base`].
    pub base: Option<u64>,
}

impl Change {
    /// The change that revokes.
    pub fn revoke(revocation: Revocation) -> Self {
        Self::Revoke(revocation.target.id(), revocation)
    }

    /// The id of the target that it changes.
    pub fn id(&self) -> Id {
        match self {
            Change::Revoke(id, _) | Change::RevokeFor(id, _) | Change::Lift(id) => *id,
            Change::PutBack(back) => back.row.id,
        }
    }
}

/// What became of one [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target's row now stands at this position.
    Revoked(u64),
    /// What was there already says as much or more; it stands at this position.
    Unchanged(u64),
    /// The tombstone stands at this position.
    Lifted(u64),
    /// There is nothing (live) of this id to lift.
    NotFound,
}

/// The result of one committed [`Store::append`].
#[derive(Clone, Debug)]
pub struct Commit {
    /// The log's incarnation.
    pub epoch: Epoch,
    /// The head after the commit.
    pub head: u64,
    /// One outcome per change, in the order of the changes.
    pub outcomes: Vec<Outcome>,
    /// The rows this commit wrote, in `seq` order; they take the positions up to `head` without a gap. Positions that
    /// were overtaken within the batch are not among them: there is one row per target.
    pub rows: Vec<Row>,
    /// When it was confirmed.
    pub at: Instant,
}

/// A piece of the log, read in one consistent view.
#[derive(Clone, Debug)]
pub struct Page {
    /// The log's incarnation.
    pub epoch: Epoch,
    /// The head in the same view as the rows.
    pub head: u64,
    /// Rows after the asked position, in `seq` order, at most as many as asked for.
    pub rows: Vec<Row>,
    /// The log stands on another server, timeline, database or table than its epoch was made on: a promoted standby or a
    /// restored backup. Rows may be missing, so the epoch has to be renewed; nothing can be appended before.
    pub moved: bool,
    /// Its head is behind what this process has seen of it: a volume that was rolled back. The same holds.
    pub shrunk: bool,
    /// The database's clock, milliseconds since 1970. `None` where it is this machine's.
    pub millis: Option<i64>,
}

/// What became of [`Store::renew_as`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// The epoch that the log has now.
    pub epoch: Epoch,
    /// Whether this call has given it.
    pub here: bool,
}

/// What one call of [`Store::prune`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows it deleted.
    pub deleted: u64,
    /// Rows that are still there and will be over: a writer holds them or has moved them, or the clock went back. To be
    /// tried again.
    pub left: Vec<Id>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, or not in time, or is for the moment not able to (starting, read-only, out of connections,
    /// disk full). Nothing is known about what was asked; asking again is safe.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// It will not work until a person has done something (wrong password, no such database, unknown schema).
    #[error("{0}")]
    Refused(String),
    /// There is no log: the database is empty, or has lost it. Once more [`Store::prepare`] makes one.
    #[error("{0}")]
    Absent(String),
    /// Another hub has the file.
    #[error(
        "{path} is in use by another revocation-hub; one hub per SQLite file (for several hubs, name a Postgres with --database-url)"
    )]
    Locked {
        /// The database file.
        path: String,
    },
    /// The schema is older than this program, and `migrate_on_start` is off.
    #[error("the database needs migrations that are not applied: {}; run `revocation-hub migrate`", .0.join(", "))]
    PendingMigrations(Vec<String>),
}

impl StoreError {
    /// Whether waiting and asking again can help.
    pub fn is_transient(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Absent(_))
    }
}

/// How to use a store.
#[derive(Clone, Debug)]
pub struct Options {
    /// Connections to Postgres at most (at least two; one more listens). SQLite needs no more than its own three.
    pub max_connections: u32,
    /// The bound of every call, waiting for a connection and for other writers included. Applying migrations may take
    /// longer.
    pub timeout: Duration,
    /// Tell other hubs about commits and be told by them (Postgres `NOTIFY`). Without it they see them when they look.
    pub listen_notify: bool,
    /// How long the connection that listens may be silent before it has to prove that it lives.
    pub beat_interval: Duration,
}

/// The store that `url` names. Does not reach for the server yet: that is [`Store::prepare`]'s, which can be repeated.
/// A SQLite file is created and locked here.
pub async fn connect(url: &str, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    // No arm may print the URL: it can hold a password, also one that was pasted in front of a wrong scheme.
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => Ok(Arc::new(postgres::PostgresStore::new(url, options)?)),
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            Ok(Arc::new(sqlite::SqliteStore::open(path, options).await?))
        }
        _ => Err(StoreError::Refused(
            "the database URL has to start with postgres://, postgresql:// or sqlite:// (sqlite:///var/lib/revocation-hub/log.db)".into(),
        )),
    }
}

/// The store that `url` names, to read beside the hub that uses it. It has to be there, with a schema that this program
/// knows; appending to it fails.
pub async fn connect_to_read(url: &str, options: &Options) -> Result<Arc<dyn Store>, StoreError> {
    match url.split_once(':') {
        Some(("sqlite", rest)) => {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            Ok(Arc::new(sqlite::SqliteStore::open_to_read(path, options)?))
        }
        _ => connect(url, options).await,
    }
}

/// A durable log of revocations. A third engine implements this and [`connect`] learns its scheme.
#[async_trait]
pub trait Store: audit::Audit + parking::Parking + positions::Positions + seen::Seen + Send + Sync + 'static {
    /// What to call it in logs: engine and place, without credentials.
    fn describe(&self) -> String;

    /// Makes the store usable: applies pending migrations under a lock when `migrate`, else refuses with
    /// [`StoreError::PendingMigrations`] if there are any; creates the log's row. May be called again after an error.
    /// Returns the names of the migrations it applied.
    async fn prepare(&self, migrate: bool) -> Result<Vec<String>, StoreError>;

    /// Applies the changes in their order in one transaction, with the records of the notes, and returns when it is on disk.
    /// `now` is NumericDate seconds and `skew` is `clock_skew` in seconds; a row whose `exp + skew` has passed counts as
    /// absent.
    async fn append_as(
        &self,
        changes: &[Change],
        notes: &[audit::Note],
        now: i64,
        skew: i64,
    ) -> Result<Commit, StoreError>;

    /// The same without anybody to record: for measuring and for tests. What is acknowledged to somebody has a note.
    async fn append(&self, changes: &[Change], now: i64, skew: i64) -> Result<Commit, StoreError> {
        self.append_as(changes, &[], now, skew).await
    }

    /// Whether its clock is the one that counts: then [`Page::millis`] tells it.
    fn has_clock(&self) -> bool {
        false
    }

    /// How many calls of [`Store::append`] at once are of use. One at a time where they cannot overlap; then a larger
    /// group is what saves work.
    fn appends_at_once(&self) -> usize {
        1
    }

    /// Up to `limit` rows with a position after `after`.
    async fn read_after(&self, after: u64, limit: usize) -> Result<Page, StoreError>;

    /// Gives the log a new epoch, because it may have lost its last rows. When its epoch is no longer `expected`, somebody
    /// else has done so, and nothing is changed.
    async fn renew_as(&self, expected: &Epoch, note: &audit::Note) -> Result<Renewed, StoreError>;

    /// The same by nobody, for tests; returns the epoch that it has now.
    async fn renew(&self, expected: &Epoch) -> Result<Epoch, StoreError> {
        let (actor, source) = (Arc::default(), audit::HUB.into());
        let note = audit::Note { actor, source, cause: audit::Cause::ByHand, at: 0, changes: 0 };
        Ok(self.renew_as(expected, &note).await?.epoch)
    }

    /// Up to which position the log still is what it was under `epoch`, which is over; `None` when it never had it.
    async fn base(&self, epoch: &Epoch) -> Result<Option<u64>, StoreError>;

    /// The row of this id, a tombstone included.
    async fn get(&self, id: Id) -> Result<Option<Row>, StoreError>;

    /// Deletes those of the rows of `ids` that have `exp <= before` (NumericDate seconds), in one short transaction. Waits
    /// for no writer.
    async fn prune(&self, ids: &[Id], before: i64) -> Result<Pruned, StoreError>;

    /// Is notified when another process may have moved the head. A hint: the table is the truth.
    fn hints(&self) -> Arc<Notify>;

    /// Ends background work and connections.
    async fn close(&self);
}
