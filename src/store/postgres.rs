//! The log in Postgres.
//!
//! **Connections.** All appends of this hub go over two connections of their own: they stand in one queue at the `log` row
//! anyway, and with the second one waiting there the server goes from one to the next by itself. Everything else shares a
//! few others. A connection is taken out of its place and only put back after success, so it needs no clean-up: an error
//! or a dropped future drops it, and the server rolls back. (sqlx's pool tests each connection with a round trip whenever
//! it comes back, and while the server refuses connections it keeps a caller waiting until the timeout instead of telling
//! it so.)
//!
//! **Round trips** of an append: one when every target is new and they are few. Many new ones: `begin` with the lock and
//! the positions; `COPY`; its end; `commit`. Else `begin` with the lock; the rows to change; all writes in one statement;
//! `commit`.

mod audit;
mod copy;
mod error;
mod foretold;
mod hints;
pub mod inspect;
mod links;
mod seen;
mod session;
mod sql;
mod standing;
mod values;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicI32, AtomicU32};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::query::Query;
use sqlx::{ConnectOptions, Connection, Executor, Postgres, Row as _};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use self::error::{explain, lost_connection};
use self::foretold::Foresight;
use self::session::Session;
use self::sql::{
    BASE, BEGIN_LOG, EPOCH, EXISTING, FORGET, FRESH, FRESH_AND_NOTIFY, LOCK, PRUNE, READ_AFTER, RENEW, WRITE,
    WRITE_AND_NOTIFY,
};
use self::standing::{Known, Seen, judge};
use super::audit::{Draft, Note, drafts};
use super::merge::{self, Plan};
use super::{Change, Commit, Options, Page, Pruned, Renewed, Store, StoreError, migrations};
use crate::revocation::{Epoch, Id, Row};

/// Applying migrations may have to rewrite a large table.
const MIGRATION_LIMIT: Duration = Duration::from_secs(600);

/// How many appends may be with the server at once.
const WRITERS: u32 = 2;

type PgQuery = Query<'static, Postgres, PgArguments>;

/// How many appends go without [`FRESH`] after it met a target that was there: a source that repeats itself does so in
/// runs, and each failure leaves dead rows.
const CAUTION: u32 = 16;

/// The log in Postgres; several hubs can share it.
pub struct PostgresStore {
    connect: PgConnectOptions,
    /// Connections for everything but appends that nobody uses at the moment.
    idle: Mutex<Vec<Session>>,
    /// How many of them may exist.
    permits: Semaphore,
    /// Connections for appends that nobody uses at the moment, each with the number of its place in `writing`.
    writers: Mutex<Vec<(usize, Option<Session>)>>,
    /// As many permits as there are places for writers.
    may_write: Semaphore,
    places: u32,
    /// The server's process ids of the writers' connections.
    writing: Arc<[AtomicI32]>,
    /// How many appends still go the careful way; see [`CAUTION`].
    caution: AtomicU32,
    /// How many large appends still go without foretelling; as [`CAUTION`], after others had written in between.
    doubt: AtomicU32,
    foresight: Foresight,
    known: Known,
    limit: Duration,
    beat: Duration,
    hints: Arc<Notify>,
    listen_notify: bool,
    listener: Mutex<Option<JoinHandle<()>>>,
    closed: CancellationToken,
}

/// A writer's place, taken for one append. It goes back without the connection unless that was put back before.
struct Writer<'a> {
    places: &'a Mutex<Vec<(usize, Option<Session>)>>,
    place: usize,
    session: Option<Session>,
}

impl<'a> Writer<'a> {
    /// With a permit in hand, so there is a place. The one used last first: its connection is the least likely to have died.
    fn take(places: &'a Mutex<Vec<(usize, Option<Session>)>>) -> Self {
        let (place, session) = places.lock().pop().unwrap_or_default();
        Self { places, place, session }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.places.lock().push((self.place, self.session.take()));
    }
}

/// An append that failed; whether it is certain that nothing of it was or will be committed and that a new connection may
/// do better; and whether the log needs a new epoch first.
struct Failed {
    error: StoreError,
    retry: bool,
    moved: bool,
}

impl Failed {
    /// Nobody can say whether it was committed, unless the server does.
    fn at_commit(error: sqlx::Error) -> Self {
        Self { error: explain(error), retry: false, moved: false }
    }

    /// The log has to get a new epoch first. The feed sees to that.
    fn moved() -> Self {
        let error =
            StoreError::Unavailable("Postgres: the log is not where its epoch was made; it is being renewed".into());
        Self { error, retry: false, moved: true }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(e: sqlx::Error) -> Self {
        Self { retry: lost_connection(&e), error: explain(e), moved: false }
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self { error, retry: false, moved: false }
    }
}

impl PostgresStore {
    /// Does not connect yet.
    pub fn new(url: &str, options: &Options) -> Result<Self, StoreError> {
        let connect = session::parse(url)?;
        let places = options.max_connections.saturating_sub(1).clamp(1, WRITERS);
        Ok(Self {
            connect,
            idle: Mutex::default(),
            permits: Semaphore::new(options.max_connections.saturating_sub(places).max(1) as usize),
            writers: Mutex::new((0..places as usize).map(|place| (place, None)).collect()),
            may_write: Semaphore::new(places as usize),
            places,
            writing: (0..places).map(|_| AtomicI32::new(0)).collect(),
            caution: AtomicU32::new(0),
            doubt: AtomicU32::new(0),
            foresight: Foresight::default(),
            known: Known::default(),
            limit: options.timeout,
            beat: options.beat_interval,
            hints: Arc::default(),
            listen_notify: options.listen_notify,
            listener: Mutex::default(),
            closed: CancellationToken::new(),
        })
    }

    /// A new connection, and the server's process id of it.
    async fn open(&self) -> Result<(Session, i32), StoreError> {
        if self.closed.is_cancelled() {
            return Err(StoreError::Unavailable("Postgres: closed".into()));
        }
        let conn = self.connect.connect().await.map_err(explain)?;
        session::tune_sockets(self.connect.get_port());
        session::begin(conn, self.limit).await
    }

    /// Bounds a call by the configured timeout.
    async fn bounded<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        timeout(self.limit, call).await.unwrap_or_else(|_| {
            // What has silenced one connection may have silenced all, and each would cost as long a wait as this one.
            self.forget_connections();
            Err(StoreError::Unavailable(format!(
                "Postgres: no answer within {}",
                humantime::format_duration(self.limit)
            )))
        })
    }

    /// Drops every connection that nobody uses at the moment.
    fn forget_connections(&self) {
        self.idle.lock().clear();
        for (_, conn) in self.writers.lock().iter_mut() {
            *conn = None;
        }
    }

    /// Runs one statement that can safely be run twice.
    async fn rows(&self, query: impl Fn() -> PgQuery + Send) -> Result<Vec<PgRow>, StoreError> {
        self.rows_at(move |_| query()).await
    }

    /// The same for a statement that wants to know where it runs.
    async fn rows_at(&self, query: impl Fn(Option<&str>) -> PgQuery + Send) -> Result<Vec<PgRow>, StoreError> {
        self.bounded(async {
            let closed = |_| StoreError::Unavailable("Postgres: closed".into());
            let _permit = self.permits.acquire().await.map_err(closed)?;
            let rested = self.idle.lock().pop();
            if let Some(mut session) = rested {
                match query(session.home.as_deref()).fetch_all(&mut session.conn).await {
                    Ok(rows) => {
                        self.idle.lock().push(session);
                        return Ok(rows);
                    }
                    // What killed it has probably killed the others: together they cost one try.
                    Err(e) if lost_connection(&e) => self.idle.lock().clear(),
                    Err(e) => return Err(explain(e)),
                }
            }
            let (mut session, _) = self.open().await?;
            let rows = query(session.home.as_deref()).fetch_all(&mut session.conn).await.map_err(explain)?;
            self.idle.lock().push(session);
            Ok(rows)
        })
        .await
    }

    /// Applies migrations on a connection that ends with it, and with it the advisory lock.
    async fn migrate(&self) -> Result<Vec<String>, StoreError> {
        let (Session { mut conn, .. }, _) = self.bounded(self.open()).await?;
        let work = async {
            conn.execute("set statement_timeout = 0; set lock_timeout = 0").await.map_err(explain)?;
            migrations::apply(&mut conn, &migrations::postgres(), explain).await
        };
        let names = timeout(MIGRATION_LIMIT, work).await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("Postgres: the migrations did not end in time and were rolled back".into()))
        })?;
        let _ = conn.close().await;
        Ok(names)
    }

    /// What an append failed with. If somebody has to renew the epoch, the feed is told.
    fn tell(&self, failed: Failed) -> StoreError {
        if failed.moved {
            self.hints.notify_one();
        }
        failed.error
    }

    async fn check(&self) -> Result<(), StoreError> {
        let (Session { mut conn, .. }, _) = self.open().await?;
        let exists = sqlx::query("select to_regclass($1) is not null").bind(migrations::TABLE);
        let exists = exists.fetch_one(&mut conn).await.and_then(|row| row.try_get(0)).map_err(explain)?;
        migrations::check(&mut conn, exists, &migrations::postgres(), explain).await?;
        let _ = conn.close().await;
        Ok(())
    }

    /// The short way, when every target is new; `None` when one was there, and then nothing was done.
    async fn append_fresh(
        &self,
        session: &mut Session,
        changes: &[Change],
        notes: &[Note],
        seen: &Seen,
    ) -> Result<Option<Commit>, Failed> {
        let careful = count_down(&self.caution);
        let new = |change: &Change| matches!(change, Change::Revoke(..) | Change::RevokeFor(..));
        if careful || changes.is_empty() || !changes.iter().all(new) {
            return Ok(None);
        }
        let plan = || merge::plan(changes, Vec::new(), 0, i64::MIN, 0);
        let drafts = |plan: &Plan| drafts(notes, changes, &plan.outcomes, &plan.rows);
        if changes.len() >= foretold::WORTHWHILE && !count_down(&self.doubt) {
            match foretold::append(&self.foresight, session, plan(), drafts, seen, self.listen_notify).await? {
                foretold::Outcome::Committed(commit) => return Ok(Some(commit)),
                foretold::Outcome::Otherwise => self.doubt.store(CAUTION, Relaxed),
                foretold::Outcome::NotNew => {
                    self.caution.store(CAUTION, Relaxed);
                    return Ok(None);
                }
            }
        }
        let plan = plan();
        let fresh = if plan.rows.len() < copy::WORTHWHILE {
            let drafts = drafts(&plan);
            self.insert(session, plan, &drafts, seen).await?
        } else {
            copy::append(session, plan, drafts, seen, self.listen_notify).await?
        };
        if fresh.is_none() {
            self.caution.store(CAUTION, Relaxed);
        }
        Ok(fresh)
    }

    /// Inserts what is planned for an empty log, in one statement; `None` when a target was there.
    async fn insert(
        &self,
        session: &mut Session,
        mut plan: Plan,
        drafts: &[Draft],
        seen: &Seen,
    ) -> Result<Option<Commit>, Failed> {
        let write = sqlx::query(if self.listen_notify { FRESH_AND_NOTIFY } else { FRESH });
        let write = values::bind_columns(write, &plan.rows).bind(plan.head.cast_signed()).bind(session.home.as_deref());
        let (of_epoch, least) = seen.fence();
        let write = audit::bind(write.bind(of_epoch).bind(least), drafts);
        let log = match write.fetch_one(&mut session.conn).await {
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => return Ok(None),
            // The log is not the one it was, or gone; the other way finds out which.
            Err(sqlx::Error::RowNotFound) => return Ok(None),
            // A connection that is lost here may have committed. Doing it again then finds it done.
            result => result?,
        };
        let (epoch, head) = (epoch(log.try_get(0)?)?, log.try_get::<i64, _>(1)?.cast_unsigned());
        plan.shift(head - plan.head);
        Ok(Some(Commit { epoch, head, outcomes: plan.outcomes, rows: plan.rows, at: Instant::now() }))
    }

    async fn append_on(
        &self,
        session: &mut Session,
        changes: &[Change],
        notes: &[Note],
        now: i64,
        skew: i64,
    ) -> Result<Commit, Failed> {
        let seen = self.known.seen();
        if let Some(commit) = self.append_fresh(session, changes, notes, &seen).await? {
            return Ok(commit);
        }
        let Session { conn, home } = session;
        let log = sqlx::raw_sql(LOCK).fetch_all(&mut *conn).await?;
        let log = log.first().ok_or_else(no_log)?;
        let (epoch, head) = judge(log, home.as_deref(), &seen, 0)?;
        let ids: Vec<_> = merge::ids(changes).into_iter().map(values::PgId).collect();
        let existing = sqlx::query(EXISTING).bind(ids).fetch_all(&mut *conn).await?;
        let existing = existing.iter().filter_map(|r| values::row(r, 0).transpose()).collect::<Result<_, _>>()?;

        let plan = merge::plan(changes, existing, head, now, skew);
        if plan.rows.is_empty() {
            conn.execute("rollback").await?;
        } else {
            let write = sqlx::query(if self.listen_notify { WRITE_AND_NOTIFY } else { WRITE });
            let drafts = drafts(notes, changes, &plan.outcomes, &plan.rows);
            let write = values::bind_columns(write, &plan.rows).bind(plan.head.cast_signed());
            audit::bind(write, &drafts).bind(epoch.as_str()).execute(&mut *conn).await?;
            conn.execute("commit").await.map_err(Failed::at_commit)?;
        }
        Ok(Commit { epoch, head: plan.head, outcomes: plan.outcomes, rows: plan.rows, at: Instant::now() })
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn describe(&self) -> String {
        let c = &self.connect;
        let database = c.get_database().unwrap_or(c.get_username());
        match c.get_socket() {
            Some(socket) => format!("Postgres {}/{database}", socket.display()),
            None => format!("Postgres {}:{}/{database}", c.get_host(), c.get_port()),
        }
    }

    async fn prepare(&self, migrate: bool) -> Result<Vec<String>, StoreError> {
        let names = match migrate {
            true => self.migrate().await?,
            false => self.bounded(self.check()).await.map(|()| Vec::new())?,
        };
        let epoch = Epoch::random();
        let begin =
            |home: Option<&str>| sqlx::query(BEGIN_LOG).bind(epoch.as_str().to_owned()).bind(home.map(str::to_owned));
        self.rows_at(begin).await?;
        if self.listen_notify && !self.closed.is_cancelled() {
            self.listener.lock().get_or_insert_with(|| {
                hints::spawn(
                    self.connect.clone(),
                    hints::Patience { limit: self.limit, beat: self.beat },
                    self.hints.clone(),
                    self.writing.clone(),
                    self.closed.clone(),
                )
            });
        }
        Ok(names)
    }

    async fn append_as(&self, changes: &[Change], notes: &[Note], now: i64, skew: i64) -> Result<Commit, StoreError> {
        self.bounded(async {
            let closed = |_| StoreError::Unavailable("Postgres: closed".into());
            let _permit = self.may_write.acquire().await.map_err(closed)?;
            let mut writer = Writer::take(&self.writers);
            // A connection that has rested may have died meanwhile; that costs one try.
            if let Some(mut session) = writer.session.take() {
                match self.append_on(&mut session, changes, notes, now, skew).await {
                    Ok(commit) => {
                        self.known.learn(&commit.epoch, commit.head);
                        writer.session = Some(session);
                        return Ok(commit);
                    }
                    Err(failed) if failed.retry => {}
                    Err(failed) => return Err(self.tell(failed)),
                }
            }
            let (mut session, process) = self.open().await?;
            self.writing[writer.place].store(process, Relaxed);
            let appended = self.append_on(&mut session, changes, notes, now, skew).await;
            let commit = appended.map_err(|failed| self.tell(failed))?;
            self.known.learn(&commit.epoch, commit.head);
            writer.session = Some(session);
            Ok(commit)
        })
        .await
    }

    fn has_clock(&self) -> bool {
        true
    }

    fn appends_at_once(&self) -> usize {
        self.places as usize
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Page, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let read = |home: Option<&str>| sqlx::query(READ_AFTER).bind(after).bind(limit).bind(home.map(str::to_owned));
        let seen = self.known.seen();
        let rows = self.rows_at(read).await?;
        let log = rows.first().ok_or_else(no_log)?;
        let head = log.try_get::<i64, _>(1).map_err(explain)?.cast_unsigned();
        let epoch = epoch(log.try_get(0).map_err(explain)?)?;
        let (moved, millis) = (log.try_get(2).map_err(explain)?, log.try_get(3).map_err(explain)?);
        let shrunk = seen.is_beyond(&epoch, head);
        if !(moved || shrunk) {
            self.known.learn(&epoch, head);
        }
        let mut rows: Vec<Row> =
            rows.iter().filter_map(|r| values::row(r, 4).transpose()).collect::<Result<_, _>>().map_err(explain)?;
        // A join promises no order. What is in order already costs one look.
        rows.sort_unstable_by_key(|row| row.seq);
        Ok(Page { epoch, head, rows, moved, shrunk, millis: Some(millis) })
    }

    async fn renew_as(&self, expected: &Epoch, note: &Note) -> Result<Renewed, StoreError> {
        let new = Epoch::random();
        let Draft { at, source, client, detail, .. } = Draft::epoch(note);
        let renew = |home: Option<&str>| {
            let query = sqlx::query(RENEW).bind(new.as_str().to_owned()).bind(expected.as_str().to_owned());
            let query = query.bind(home.map(str::to_owned)).bind(at).bind(source.to_string());
            query.bind(client.as_deref().map(str::to_owned)).bind(detail.clone())
        };
        // Done twice, the second finds that the epoch is no longer the one that was expected.
        self.rows_at(renew).await?;
        self.rows(|| sqlx::query(FORGET).bind(expected.as_str().to_owned())).await?;
        let rows = self.rows(|| sqlx::query(EPOCH)).await?;
        let epoch = epoch(rows.first().ok_or_else(no_log)?.try_get(0).map_err(explain)?)?;
        Ok(Renewed { here: epoch == new, epoch })
    }

    async fn base(&self, epoch: &Epoch) -> Result<Option<u64>, StoreError> {
        let rows = self.rows(|| sqlx::query(BASE).bind(epoch.as_str().to_owned())).await?;
        rows.first().map(|row| row.try_get::<i64, _>(0).map(i64::cast_unsigned).map_err(explain)).transpose()
    }

    async fn get(&self, id: Id) -> Result<Option<Row>, StoreError> {
        let rows = self.rows(|| sqlx::query(EXISTING).bind(vec![values::PgId(id)])).await?;
        rows.first().map_or(Ok(None), |row| values::row(row, 0).map_err(explain))
    }

    async fn prune(&self, ids: &[Id], before: i64) -> Result<Pruned, StoreError> {
        let query = || sqlx::query(PRUNE).bind(ids.iter().copied().map(values::PgId).collect::<Vec<_>>()).bind(before);
        let mut pruned = Pruned::default();
        for row in self.rows(query).await? {
            match row.try_get(1).map_err(explain)? {
                true => pruned.deleted += 1,
                false => pruned.left.push(row.try_get::<values::PgId, _>(0).map_err(explain)?.0),
            }
        }
        Ok(pruned)
    }

    fn hints(&self) -> Arc<Notify> {
        self.hints.clone()
    }

    async fn close(&self) {
        self.closed.cancel();
        let listener = self.listener.lock().take();
        let work = async {
            // Appends that are on their way come to their end first.
            let _ = self.may_write.acquire_many(self.places).await;
            self.may_write.close();
            let writers: Vec<_> = self.writers.lock().iter_mut().filter_map(|(_, session)| session.take()).collect();
            for session in writers {
                let _ = session.conn.close().await;
            }
            self.permits.close();
            let idle = std::mem::take(&mut *self.idle.lock());
            for session in idle {
                let _ = session.conn.close().await;
            }
            if let Some(listener) = listener {
                let _ = listener.await;
            }
        };
        // A server that does not answer is not waited for: its end of the connections dies by keepalive.
        let _ = timeout(self.limit, work).await;
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Takes one from a count; false when there is none left.
fn count_down(count: &AtomicU32) -> bool {
    count.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok()
}

fn no_log() -> StoreError {
    StoreError::Absent("Postgres: the table `log` has no row".into())
}

fn epoch(text: &str) -> Result<Epoch, StoreError> {
    text.parse().map_err(|_| StoreError::Refused("Postgres: the epoch in the table `log` is not one of ours".into()))
}
