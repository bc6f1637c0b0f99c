//! Where the server is, and what our sessions on it run under.

use std::time::Duration;

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row as _};

use super::error::explain;
use crate::store::StoreError;

/// What every session of ours runs under.
///
/// * `synchronous_commit`: an answer means "on disk", whatever the server's default is; where synchronous standbys are
///   named, `on` waits for their disks too. Only `remote_apply` promises more, and stays.
/// * The timeouts free the `log` row when this process is gone or frozen while it holds it, and the keepalives when its
///   host is.
/// * The planner: statements are planned once and kept, perhaps while the table is still empty, when reading all of it
///   looks cheapest. Every statement here has its index. Without `jit`, because what is left to scan (`log`) then counts
///   as so expensive that it would be compiled. Generic plans, because a plan for the very arrays at hand looks cheaper to
///   the server each time, and planning costs more than inserting a row.
const SESSION: &str = "select pg_backend_pid(),
    set_config('synchronous_commit', case current_setting('synchronous_commit') when 'remote_apply' then 'remote_apply' else 'on' end, false),
    set_config('statement_timeout', $1, false),
    set_config('lock_timeout', $1, false),
    set_config('idle_in_transaction_session_timeout', $1, false),
    set_config('tcp_keepalives_idle', '10', false),
    set_config('tcp_keepalives_interval', '5', false),
    set_config('tcp_keepalives_count', '3', false),
    set_config('enable_seqscan', 'off', false),
    set_config('enable_bitmapscan', 'off', false),
    set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('jit', 'off', false)";

/// Where the log is: the server's system identifier, its timeline and the database; behind it comes the table, which the
/// statements add. A promoted standby begins a new timeline, and so does a restored base backup; a restored dump makes a new
/// table, also under a session. The rest does not change under one: a server that stops being the primary ends, and with it
/// its sessions.
///
/// Null on a standby, which cannot be asked for its place in the log and has nothing for us: it may be behind, and its rows
/// would look like a log that lost some.
const HOME: &str = "select case when not pg_is_in_recovery() then
    concat_ws('/', (select system_identifier from pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8),
        (select oid from pg_database where datname = current_database()), '') end";

/// A connection, and where the log is that it leads to, all but the table; `None` when the server does not tell.
pub(super) struct Session {
    pub(super) conn: PgConnection,
    pub(super) home: Option<Arc<str>>,
}

/// What may stand behind the `?` of the URL.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// Understands the URL; errors name nothing of it that could be a secret.
pub(super) fn parse(url: &str) -> Result<PgConnectOptions, StoreError> {
    let refused = |text: &str| StoreError::Refused(format!("the database URL is not valid: {text}"));
    // sqlx would log an unknown parameter with its value and go on. Nothing of it is named here either: behind an
    // unescaped `?` it may be the rest of a password.
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    for parameter in parameters.split('&').filter(|p| !p.is_empty()) {
        let name = parameter.split(['=', '[']).next().unwrap_or_default();
        if !PARAMETERS.contains(&name) {
            return Err(refused(&format!(
                "there is an unknown parameter behind the `?`; known are {} (a `?` in a password is written %3F)",
                PARAMETERS.join(", ")
            )));
        }
    }
    let connect: PgConnectOptions = url.parse().map_err(|e: sqlx::Error| refused(&e.to_string()))?;
    // Statements are not ours to log: what fails is reported once, by the caller.
    Ok(connect.application_name("revocation-hub").disable_statement_logging())
}

/// Makes a new connection a session of ours, and tells the server's process id of it.
pub(super) async fn begin(mut conn: PgConnection, limit: Duration) -> Result<(Session, i32), StoreError> {
    // Later than the client's own clock, which began earlier: when the server's runs out while a commit waits for a
    // synchronous standby, the server reports success without the standby; by then nobody may be listening any more.
    let millis = (limit.as_millis() + 1000).min(2_000_000_000).to_string();
    let session = sqlx::query(SESSION).persistent(false).bind(millis).fetch_one(&mut conn).await;
    let process = session.and_then(|row| row.try_get(0)).map_err(explain)?;
    let home = sqlx::query(HOME).persistent(false).fetch_one(&mut conn).await;
    let home = match home.and_then(|row| row.try_get::<Option<String>, _>(0)) {
        Ok(Some(home)) => Some(home.into()),
        Ok(None) => return Err(StoreError::Unavailable("Postgres: the server is a standby".into())),
        // Not for us to ask, or not quite Postgres. Then the epoch follows only what can be seen of the log itself.
        Err(sqlx::Error::Database(e)) if matches!(e.code().as_deref(), Some("42501" | "42883" | "0A000")) => None,
        Err(error) => return Err(explain(error)),
    };
    Ok((Session { conn, home }, process))
}

/// Sets up every connection of this process to `port`; sqlx shows nobody its sockets.
///
/// * Small packets go out at once. The end of a `COPY` is a small packet behind large ones; with Nagle's algorithm it would
///   wait for an acknowledgement that the server's side holds back for 40 ms, longer than all else takes.
/// * The kernel asks whether the other end still exists, as the server does in the other direction: a connection that died
///   without a word while nobody used it is gone after 25 s, and not only when somebody waits for it in vain.
///
/// A socket to that port that is not ours to the database loses nothing by either.
pub(super) fn tune_sockets(port: u16) {
    use std::mem::ManuallyDrop;
    use std::net::TcpStream;
    use std::os::fd::FromRawFd as _;

    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    // Elsewhere than on Linux there is no such folder, and it stays slow.
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    for fd in open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()) {
        // SAFETY: it is never dropped, so nobody's descriptor is closed. What is no socket, or no longer open, only answers
        // with errors.
        let socket = ManuallyDrop::new(unsafe { TcpStream::from_raw_fd(fd) });
        if socket.peer_addr().is_ok_and(|peer| peer.port() == port) {
            // Slower otherwise, and no less right.
            let _ = socket.set_nodelay(true);
            let _ = socket2::SockRef::from(&*socket).set_tcp_keepalive(&keepalive);
        }
    }
}
