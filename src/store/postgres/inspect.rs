//! A look at the server for people who look for a fault. Changes nothing: every statement only asks, and the one
//! notification that is sent goes over a channel of its own.
//!
//! Simple queries only, because there may be a pooler in between that does not keep prepared statements.

use std::time::Duration;

use rand::RngExt as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::{Instant, timeout};

use super::error::explain;
use super::session;
use crate::clock::Clock;
use crate::store::{StoreError, migrations};

/// How many answers are timed.
const ROUNDS: usize = 7;

/// What can be asked of every server, by every user.
const FACTS: &str = "select current_setting('server_version') as version,
    pg_is_in_recovery() as standby,
    current_setting('default_transaction_read_only') = 'on' as read_only,
    current_setting('fsync') as fsync,
    current_setting('full_page_writes') as full_page_writes,
    current_setting('synchronous_commit') as synchronous_commit,
    current_setting('synchronous_standby_names') <> '' as synchronous_standbys,
    current_setting('max_connections')::bigint
        - current_setting('superuser_reserved_connections')::bigint
        - coalesce(current_setting('reserved_connections', true), '0')::bigint as may_connect,
    (select sum(numbackends)::bigint from pg_stat_database) as connected,
    (select rolconnlimit::bigint from pg_roles where rolname = current_user) as role_limit,
    (select datconnlimit::bigint from pg_database where datname = current_database()) as database_limit,
    (select count(*) from pg_stat_activity where usename = current_user) as of_role,
    (select numbackends::bigint from pg_stat_database where datname = current_database()) as of_database,
    (select count(*) from pg_stat_activity where application_name = 'revocation-hub' and pid <> pg_backend_pid()) as of_hubs,
    coalesce((select ssl from pg_stat_ssl where pid = pg_backend_pid()), false) as encrypted,
    coalesce(has_schema_privilege(current_schema(), 'create'), false) as may_create,
    to_regclass('revocation_hub_migrations') is not null as has_migrations,
    to_regclass('revocation') is null or
        (has_table_privilege(to_regclass('revocation'), 'select')
        and has_table_privilege(to_regclass('revocation'), 'insert')
        and has_table_privilege(to_regclass('revocation'), 'update')
        and has_table_privilege(to_regclass('revocation'), 'delete')) as may_write";

/// What there is to know of a server.
#[derive(Debug)]
#[expect(missing_docs, reason = "they are the server's own settings of that name")]
pub struct Facts {
    pub version: String,
    pub fsync: String,
    pub full_page_writes: String,
    pub synchronous_commit: String,
    /// Whether it is a standby (`pg_is_in_recovery`).
    pub standby: bool,
    /// Whether transactions are read-only unless they say otherwise.
    pub read_only: bool,
    /// Whether standbys are named that every commit waits for.
    pub synchronous_standbys: bool,
    /// How many more connections this user can have.
    pub free_connections: i64,
    /// Connections that hubs have now.
    pub of_hubs: i64,
    /// Whether this connection is encrypted.
    pub encrypted: bool,
    /// Whether this user may make tables.
    pub may_create: bool,
    /// Whether this user may read and write the log, if it is there.
    pub may_write: bool,
    /// What is to be said of the schema; `Ok` when it is the one of this program.
    pub schema: Result<(), StoreError>,
    /// Whether any migration was ever applied.
    pub has_schema: bool,
    /// The median of the times that an answer takes.
    pub latency: Duration,
    /// How far the server's clock is ahead of ours, milliseconds, give or take half of an answer's time.
    pub clock_offset: i64,
    /// How long a notification from one connection to another took; `None` when it did not come. `Err` is why it could not
    /// be tried.
    pub notified: Result<Option<Duration>, StoreError>,
}

/// Looks at the server that `url` names. A notification is waited for `patience`.
pub async fn inspect(url: &str, patience: Duration) -> Result<Facts, StoreError> {
    let options = session::parse(url)?;
    let mut conn = options.connect().await.map_err(explain)?;
    session::tune_sockets(options.get_port());
    let row = ask(&mut conn, FACTS).await?;
    let get = |name: &str| row.try_get::<String, _>(name).map_err(explain);
    let is = |name: &str| row.try_get::<bool, _>(name).map_err(explain);
    let count = |name: &str| row.try_get::<Option<i64>, _>(name).map_err(explain);
    let room = |limit: &str, taken: &str| -> Result<i64, StoreError> {
        // A limit that is not set is -1, and a superuser's is not looked at.
        let limit = count(limit)?.filter(|limit| *limit >= 0).unwrap_or(i64::MAX);
        Ok(limit.saturating_sub(count(taken)?.unwrap_or(0)))
    };
    let rooms =
        [room("may_connect", "connected")?, room("role_limit", "of_role")?, room("database_limit", "of_database")?];
    let has_schema = is("has_migrations")?;
    let (latency, clock_offset) = time(&mut conn).await?;
    let schema = migrations::check(&mut conn, has_schema, &migrations::postgres(), explain).await;
    let standby = is("standby")?;
    let notified = match standby {
        true => Err(StoreError::Unavailable("a standby takes no LISTEN".into())),
        false => notify(&options, &mut conn, patience).await,
    };
    let facts = Facts {
        version: get("version")?,
        fsync: get("fsync")?,
        full_page_writes: get("full_page_writes")?,
        synchronous_commit: get("synchronous_commit")?,
        standby,
        read_only: is("read_only")?,
        synchronous_standbys: is("synchronous_standbys")?,
        free_connections: rooms.into_iter().min().unwrap_or(0),
        of_hubs: count("of_hubs")?.unwrap_or(0),
        encrypted: is("encrypted")?,
        may_create: is("may_create")?,
        may_write: is("may_write")?,
        schema,
        has_schema,
        latency,
        clock_offset,
        notified,
    };
    let _ = conn.close().await;
    Ok(facts)
}

async fn ask(conn: &mut PgConnection, sql: &'static str) -> Result<PgRow, StoreError> {
    sqlx::raw_sql(sql).fetch_one(conn).await.map_err(explain)
}

/// The median of several answers' times, and the server's clock as the quickest of them has it.
async fn time(conn: &mut PgConnection) -> Result<(Duration, i64), StoreError> {
    let clock = Clock::system();
    let mut answers = Vec::new();
    for _ in 0..ROUNDS {
        let (began, asked) = (Instant::now(), clock.own_millis());
        let row = ask(conn, "select (extract(epoch from clock_timestamp()) * 1000)::bigint").await?;
        let half = i64::try_from(began.elapsed().as_millis() / 2).unwrap_or(i64::MAX);
        let theirs: i64 = row.try_get(0).map_err(explain)?;
        answers.push((began.elapsed(), theirs - asked - half));
    }
    answers.sort_unstable();
    Ok((answers[ROUNDS / 2].0, answers[0].1))
}

/// `LISTEN` on a connection of its own, `NOTIFY` on this one.
async fn notify(
    options: &PgConnectOptions,
    conn: &mut PgConnection,
    patience: Duration,
) -> Result<Option<Duration>, StoreError> {
    let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(patience).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await.map_err(explain)?;
    listener.eager_reconnect(false);
    let channel = format!("revocation_hub_doctor_{:016x}", rand::rng().random::<u64>());
    listener.listen(&channel).await.map_err(explain)?;
    let began = Instant::now();
    match sqlx::raw_sql(AssertSqlSafe(format!("notify {channel}"))).execute(conn).await {
        Ok(_) => {}
        // It came back to us, who do not listen: a pooler has given us the connection on which the other one did.
        Err(sqlx::Error::Protocol(_)) => return Ok(None),
        Err(error) => return Err(explain(error)),
    }
    let heard = timeout(patience, listener.try_recv()).await;
    let took = began.elapsed();
    drop(listener);
    let _ = timeout(Duration::from_secs(1), pool.close()).await;
    match heard {
        Ok(Ok(Some(_))) => Ok(Some(took)),
        // The connection ended, or nothing came.
        Ok(Ok(None)) | Err(_) => Ok(None),
        Ok(Err(error)) => Err(explain(error)),
    }
}
