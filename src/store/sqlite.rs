//! The log in SQLite, the default.
//!
//! **Concurrency.** One hub has the file (see [`file`]), one connection writes, a few read beside it (WAL). The writing
//! connection is taken out of its slot and only put back after success: an error or a dropped future drops it, and
//! SQLite rolls back.
//!
//! **Cost.** Each call of sqlx goes to the connection's thread and back, which costs as much as writing several rows, so
//! an append is two calls whatever its size: rows travel as one JSON text.

mod audit;
mod file;
pub mod inspect;
mod links;
mod seen;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::sqlite::{
    SqliteArguments, SqliteAutoVacuum, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Executor, Row as _, Sqlite, query::Query};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use self::file::DatabaseFile;
use super::audit::{Cause, Draft, HUB, Note, drafts};
use super::{Change, Commit, Options, Page, Pruned, Renewed, Store, StoreError, merge, migrations};
use crate::revocation::{Cursor, Epoch, Expiry, Id, Kind, Revocation, Row, Target};

const READERS: u32 = 2;

/// Pages given back to the file system by one call of prune: 1 MiB, far more than it frees.
const VACUUM: &str = "pragma incremental_vacuum(256)";

/// `immediate`: the lock first, then the reading, so that nothing can come in between.
const LOCK_AND_READ: &str = "begin immediate;
    select l.epoch, l.head, r.seq, r.id, r.kind, r.iss, r.value, r.issued_before, r.exp, r.revoked_at, r.reason, r.source, r.wso2_key, r.lifted
    from log l left join revocation r on r.id in (select unhex(value) from json_each(?1))";

/// A new position is above every stored one, so a row that moves never meets another. Kind, iss and value never change:
/// they are the id.
const WRITE_AND_COMMIT: &str = "
    insert into revocation (seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted)
    select value->>0, unhex(value->>1), value->>2, value->>3, value->>4, value->>5, value->>6, value->>7, value->>8,
        value->>9, value->>10, value->>11
    from json_each(?1) where true
    on conflict (id) do update set seq = excluded.seq, issued_before = excluded.issued_before, exp = excluded.exp,
        revoked_at = excluded.revoked_at, reason = excluded.reason, source = excluded.source,
        wso2_key = excluded.wso2_key, lifted = excluded.lifted;
    insert into audit (at, action, first_seq, last_seq, source, client, detail, ids, keys, epoch)
    select value->>0, value->>1, value->>2, value->>3, value->>4, value->>5, value->>6, unhex(value->>7),
        unhex(value->>8), (select epoch from log)
    from json_each(?3);
    update log set head = ?2;
    commit";

/// Head, epoch and rows in one statement, so from one snapshot.
const READ_AFTER: &str = "select l.epoch, l.head, r.* from log l left join (
        select seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted
        from revocation where seq > ?1 order by seq limit ?2
    ) r on true";

/// Puts a new epoch in place of the one that was expected. What earlier epochs know of the log reaches no further than what
/// is left of it, and a thousand of them are remembered: those that reach farthest, and the one that is just over.
const RENEW: &str = "begin immediate;
    update former_epoch set base = min(base, (select head from log)) where exists (select 1 from log where epoch = ?1);
    insert into former_epoch (epoch, base) select epoch, head from log where epoch = ?1;
    insert into audit (at, action, source, client, detail, ids, keys, epoch)
    select ?3, 3, ?4, ?5, ?6, x'', x'', ?2 from log where epoch = ?1;
    delete from former_epoch where epoch in (
        select epoch from former_epoch where epoch <> ?1 order by base desc limit -1 offset 1000
    );
    update log set epoch = ?2 where epoch = ?1;
    commit";

const GET: &str = "select seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted
    from revocation where id = ?1";

const LEFT: &str =
    "select id from revocation where id in (select unhex(value) from json_each(?1)) and exp < 9223372036854775807";
const PRUNE: &str = "delete from revocation where id in (select unhex(value) from json_each(?1)) and exp <= ?2";

/// The log in one SQLite file; for one hub.
pub struct SqliteStore {
    connect: SqliteConnectOptions,
    readers: SqlitePool,
    writer: tokio::sync::Mutex<Option<SqliteConnection>>,
    limit: Duration,
    /// Nobody else writes, so nobody triggers it.
    hints: Arc<Notify>,
    path: String,
    /// `None` when closed, or when the file belongs to somebody else.
    lock: Mutex<Option<std::fs::File>>,
}

impl SqliteStore {
    /// Takes the file `path` for this hub and makes it if it is missing.
    pub async fn open(path: &str, options: &Options) -> Result<Self, StoreError> {
        let given = path.to_owned();
        let file = tokio::task::spawn_blocking(move || DatabaseFile::open(&given));
        let file = file.await.map_err(|e| StoreError::Unavailable(format!("SQLite: {e}")))??;
        Ok(Self::new(path, &file.path, Some(file.lock), options))
    }

    /// Reads the file `path`, which has to be there, also while a hub has it.
    pub fn open_to_read(path: &str, options: &Options) -> Result<Self, StoreError> {
        let file = std::fs::canonicalize(path);
        let file = file.map_err(|e| StoreError::Refused(format!("cannot find the SQLite database {path}: {e}")))?;
        Ok(Self::new(path, &file, None, options))
    }

    fn new(path: &str, file: &Path, lock: Option<std::fs::File>, options: &Options) -> Self {
        let connect = SqliteConnectOptions::new()
            .filename(file)
            // Other processes are people with a shell, or a backup; neither takes long.
            .busy_timeout(options.timeout)
            // Before anything is written, or it does nothing.
            .auto_vacuum(SqliteAutoVacuum::Incremental)
            .journal_mode(SqliteJournalMode::Wal)
            // NORMAL would lose the last commits with the power.
            .synchronous(SqliteSynchronous::Full)
            // After a burst the log file shrinks back; in between SQLite starts it over every thousand pages.
            .pragma("journal_size_limit", "16777216")
            .pragma("temp_store", "memory")
            .pragma("cache_size", "-16384")
            .row_buffer_size(1024)
            .disable_statement_logging();
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(options.timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(connect.clone().pragma("query_only", "on"));
        Self {
            connect,
            readers,
            writer: tokio::sync::Mutex::default(),
            limit: options.timeout,
            hints: Arc::default(),
            path: path.to_owned(),
            lock: Mutex::new(lock),
        }
    }

    async fn bounded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.limit, call).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable(format!("SQLite: no answer within {}", humantime::format_duration(self.limit))))
        })
    }

    /// The writing connection, out of its slot.
    async fn take(&self, slot: &mut Option<SqliteConnection>) -> Result<SqliteConnection, StoreError> {
        // Without the lock the file is no longer ours.
        if self.lock.lock().is_none() {
            return Err(StoreError::Unavailable("SQLite: closed".into()));
        }
        match slot.take() {
            Some(conn) => Ok(conn),
            None => self.connect.connect().await.map_err(explain),
        }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn describe(&self) -> String {
        format!("SQLite {}", self.path)
    }

    async fn prepare(&self, migrate: bool) -> Result<Vec<String>, StoreError> {
        let mut slot = self.bounded(async { Ok(self.writer.lock().await) }).await?;
        let mut conn = self.take(&mut slot).await?;
        let known = migrations::sqlite();
        let names = if migrate {
            migrations::apply(&mut conn, &known, explain).await?
        } else {
            let exists = sqlx::query("select count(*) > 0 from sqlite_schema where name = ?1").bind(migrations::TABLE);
            let exists = exists.fetch_one(&mut conn).await.and_then(|row| row.try_get(0)).map_err(explain)?;
            migrations::check(&mut conn, exists, &known, explain).await?;
            Vec::new()
        };
        let insert = "insert into log (only_row, epoch, head) select 1, ?1, coalesce(max(seq), 0) from revocation
            where true on conflict do nothing";
        sqlx::query(insert).bind(Epoch::random().as_str()).execute(&mut conn).await.map_err(explain)?;
        let (epoch, head) =
            log(&sqlx::query("select epoch, head from log").fetch_all(&mut conn).await.map_err(explain)?)?;
        let marked = self.lock.lock().as_ref().and_then(file::mark);
        if let Some(farther) = marked.filter(|mark| mark.epoch == epoch && mark.seq > head) {
            let new = Epoch::random();
            let at = crate::clock::Clock::system().millis();
            let (actor, source) = (Arc::default(), HUB.into());
            let note = Note { actor, source, cause: Cause::Shrunk, at, changes: 0 };
            renewal(&epoch, &new, &note).execute(&mut conn).await.map_err(explain)?;
            tracing::error!(old = %farther, %new, head, "the database file is an older copy: its log gets a new epoch, and every client will load it again");
        }
        *slot = Some(conn);
        Ok(names)
    }

    async fn append_as(&self, changes: &[Change], notes: &[Note], now: i64, skew: i64) -> Result<Commit, StoreError> {
        self.bounded(async {
            let mut slot = self.writer.lock().await;
            let mut conn = self.take(&mut slot).await?;
            let ids: Vec<String> = merge::ids(changes).iter().map(Id::to_string).collect();
            let stored = sqlx::query(LOCK_AND_READ).bind(json(&ids)?).fetch_all(&mut conn).await.map_err(explain)?;
            let (epoch, head) = log(&stored)?;
            let existing = stored.iter().filter_map(|r| decode(r, 2).transpose()).collect::<Result<_, _>>();
            let plan = merge::plan(changes, existing.map_err(explain)?, head, now, skew);
            if plan.rows.is_empty() {
                conn.execute("rollback").await.map_err(explain)?;
            } else {
                let rows = json(&plan.rows.iter().map(encode).collect::<Vec<_>>())?;
                let drafts = drafts(notes, changes, &plan.outcomes, &plan.rows);
                let records = json(&drafts.iter().map(audit::encode).collect::<Vec<_>>())?;
                let write = sqlx::query(WRITE_AND_COMMIT).bind(rows).bind(plan.head.cast_signed()).bind(records);
                write.execute(&mut conn).await.map_err(explain)?;
            }
            if !plan.rows.is_empty()
                && let Some(lock) = &*self.lock.lock()
            {
                file::set_mark(lock, &Cursor { epoch: epoch.clone(), seq: plan.head });
            }
            *slot = Some(conn);
            Ok(Commit { epoch, head: plan.head, outcomes: plan.outcomes, rows: plan.rows, at: Instant::now() })
        })
        .await
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Page, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.bounded(async {
            let rows =
                sqlx::query(READ_AFTER).bind(after).bind(limit).fetch_all(&self.readers).await.map_err(explain)?;
            let (epoch, head) = log(&rows)?;
            let rows = rows.iter().filter_map(|r| decode(r, 2).transpose()).collect::<Result<_, _>>();
            let mut rows: Vec<Row> = rows.map_err(explain)?;
            // A join promises no order. What is in order already costs one look.
            rows.sort_unstable_by_key(|row| row.seq);
            Ok(Page { epoch, head, rows, moved: false, shrunk: false, millis: None })
        })
        .await
    }

    async fn renew_as(&self, expected: &Epoch, note: &Note) -> Result<Renewed, StoreError> {
        self.bounded(async {
            let mut slot = self.writer.lock().await;
            let mut conn = self.take(&mut slot).await?;
            let new = Epoch::random();
            renewal(expected, &new, note).execute(&mut conn).await.map_err(explain)?;
            let row = sqlx::query("select epoch, head from log").fetch_all(&mut conn).await.map_err(explain)?;
            *slot = Some(conn);
            log(&row).map(|(epoch, _)| Renewed { here: epoch == new, epoch })
        })
        .await
    }

    async fn base(&self, epoch: &Epoch) -> Result<Option<u64>, StoreError> {
        self.bounded(async {
            let base = sqlx::query("select base from former_epoch where epoch = ?1").bind(epoch.as_str());
            let row = base.fetch_optional(&self.readers).await.map_err(explain)?;
            row.map(|row| row.try_get::<i64, _>(0).map(i64::cast_unsigned).map_err(explain)).transpose()
        })
        .await
    }

    async fn get(&self, id: Id) -> Result<Option<Row>, StoreError> {
        self.bounded(async {
            let row = sqlx::query(GET).bind(id.0.as_slice()).fetch_optional(&self.readers).await.map_err(explain)?;
            row.map_or(Ok(None), |row| decode(&row, 0).map_err(explain))
        })
        .await
    }

    async fn prune(&self, ids: &[Id], before: i64) -> Result<Pruned, StoreError> {
        let count = ids.len() as u64;
        let ids = json(&ids.iter().map(Id::to_string).collect::<Vec<_>>())?;
        self.bounded(async {
            let mut slot = self.writer.lock().await;
            let mut conn = self.take(&mut slot).await?;
            let done = sqlx::query(PRUNE).bind(&*ids).bind(before).execute(&mut conn).await.map_err(explain)?;
            // Also when nothing was deleted: an earlier call may have left pages. The file itself shrinks when the
            // pages' new places are checkpointed.
            conn.execute(VACUUM).await.map_err(explain)?;
            if done.rows_affected() > 0 {
                conn.execute("pragma wal_checkpoint(passive)").await.map_err(explain)?;
            }
            let deleted = done.rows_affected();
            let mut left = Vec::new();
            if deleted < count {
                let rows = sqlx::query(LEFT).bind(&*ids).fetch_all(&mut conn).await.map_err(explain)?;
                left = rows.iter().map(|row| id(row, 0)).collect::<Result<_, _>>().map_err(explain)?;
            }
            *slot = Some(conn);
            Ok(Pruned { deleted, left })
        })
        .await
    }

    fn hints(&self) -> Arc<Notify> {
        self.hints.clone()
    }

    async fn close(&self) {
        let work = async {
            self.readers.close().await;
            let mut slot = self.writer.lock().await;
            // The last connection to go writes everything into the database file.
            if let Some(conn) = slot.take() {
                let _ = conn.close().await;
            }
            // Said aloud: a descriptor that a process just being started still holds would keep the lock.
            if let Some(lock) = self.lock.lock().take() {
                let _ = lock.unlock();
            }
        };
        // Not ended in time: the lock stays, until the process ends.
        let _ = timeout(self.limit, work).await;
    }
}

fn json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Refused(format!("SQLite: {e}")))
}

/// Renews the epoch and records that.
fn renewal(expected: &Epoch, new: &Epoch, note: &Note) -> Query<'static, Sqlite, SqliteArguments> {
    let Draft { at, source, client, detail, .. } = Draft::epoch(note);
    let query = sqlx::query(RENEW).bind(expected.as_str().to_owned()).bind(new.as_str().to_owned()).bind(at);
    query.bind(source.to_string()).bind(client.as_deref().map(str::to_owned)).bind(detail)
}

/// A row as the array that [`WRITE_AND_COMMIT`] takes apart.
fn encode(row: &Row) -> impl serde::Serialize + '_ {
    let r = &row.revocation;
    (
        row.seq,
        row.id.to_string(),
        r.target.kind as u8,
        &r.target.iss,
        &r.target.value,
        r.issued_before,
        r.exp.0,
        r.revoked_at,
        &r.reason,
        &r.source,
        &r.wso2_key,
        u8::from(row.lifted),
    )
}

/// Epoch and head, from the first columns of any row of a query that joins to `log`.
fn log(rows: &[SqliteRow]) -> Result<(Epoch, u64), StoreError> {
    let refused = |text: &str| StoreError::Refused(format!("SQLite: {text}"));
    let row = rows.first().ok_or_else(|| StoreError::Absent("SQLite: the table `log` has no row".into()))?;
    let epoch = row.try_get::<&str, _>(0).map_err(explain)?.parse();
    let epoch = epoch.map_err(|_| refused("the epoch in the table `log` is not one of ours"))?;
    Ok((epoch, row.try_get::<i64, _>(1).map_err(explain)?.cast_unsigned()))
}

/// The row whose columns start at `at`; `None` when they are the nulls of an outer join.
fn decode(row: &SqliteRow, at: usize) -> Result<Option<Row>, sqlx::Error> {
    let Some(seq) = row.try_get::<Option<i64>, _>(at)? else { return Ok(None) };
    let unreadable = |what: String| sqlx::Error::Decode(what.into());
    let number = row.try_get(at + 2)?;
    let kind = Kind::from_number(number).ok_or_else(|| unreadable(format!("kind {number}")))?;
    Ok(Some(Row {
        seq: seq.cast_unsigned(),
        id: id(row, at + 1)?,
        lifted: row.try_get::<i64, _>(at + 11)? != 0,
        revocation: Revocation {
            target: Target { kind, iss: row.try_get(at + 3)?, value: row.try_get(at + 4)? },
            issued_before: row.try_get(at + 5)?,
            exp: Expiry(row.try_get(at + 6)?),
            revoked_at: row.try_get(at + 7)?,
            reason: row.try_get(at + 8)?,
            source: row.try_get(at + 9)?,
            wso2_key: row.try_get(at + 10)?,
        },
    }))
}

fn id(row: &SqliteRow, at: usize) -> Result<Id, sqlx::Error> {
    let bytes = row.try_get::<&[u8], _>(at)?.try_into();
    bytes.map(Id).map_err(|_| sqlx::Error::Decode("id".into()))
}

/// Sorts errors into those that pass and those that need a person.
fn explain(error: sqlx::Error) -> StoreError {
    let passes = match &error {
        sqlx::Error::Database(e) => {
            // The low byte of an extended result code is the result code.
            let code = e.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or_default() & 0xff;
            // BUSY, LOCKED, NOMEM, INTERRUPT, IOERR, FULL, PROTOCOL (another process opens the file at the same moment).
            matches!(code, 5 | 6 | 7 | 9 | 10 | 13 | 15)
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => true,
        _ => false,
    };
    let text = format!("SQLite: {error}");
    if passes { StoreError::Unavailable(text) } else { StoreError::Refused(text) }
}
