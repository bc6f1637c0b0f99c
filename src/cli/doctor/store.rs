//! The database: what is seen by [`crate::store`] is judged here.

use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use super::Scene;
use super::report::{Check, aside};
use crate::cli::serve::{options, store_to_look_at};
use crate::config::Config;
use crate::store::StoreError;
use crate::store::postgres::inspect as postgres;
use crate::store::sqlite::inspect as sqlite;

/// An answer that takes longer is felt by whoever revokes.
const SLOW: Duration = Duration::from_millis(50);
/// A notification that takes longer is one of no use.
const DEAF: Duration = Duration::from_secs(3);
/// Bytes of free disk below which a hub will soon be able to accept nothing.
const LITTLE_DISK: u64 = 1 << 30;
const NO_DISK: u64 = 64 << 20;

const BACKUP: &str = "docs/backup.md says how to go back to a good copy";

/// Looks at whatever engine the URL names.
pub async fn check(scene: &Scene, check: &mut Check) {
    let url = scene.config.database_url.expose();
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => check_postgres(scene, url, check).await,
        Some(("sqlite", _)) => check_sqlite(scene, url, check).await,
        // Says so in its own words, and nothing of the URL.
        _ => match crate::store::connect_to_read(url, &options(&scene.config)).await {
            Ok(_) => {}
            Err(error) => check.failed(error.to_string(), "correct database_url"),
        },
    }
    if !check.has_failed() {
        moved(scene, check).await;
    }
}

/// Whether the log is still where its epoch was made. Not for a database that has none yet.
async fn moved(scene: &Scene, check: &mut Check) {
    let url = scene.config.database_url.expose();
    if url.starts_with("sqlite") {
        // Only the hub itself can tell: by the mark in its lock file.
        return;
    }
    let Ok(store) = store_to_look_at(&scene.config).await else { return };
    if let Ok(page) = store.read_after(u64::MAX, 1).await {
        if page.moved {
            check.warning(
                "the log is on another server, timeline or database than its epoch was made on",
                "a hub renews the epoch as soon as it runs on it, and every client then loads the list once; after restoring a \
                 backup see docs/backup.md",
            );
        } else {
            check.ok(format!("the log's head is {}, in the epoch {}", page.head, page.epoch));
        }
    }
    store.close().await;
}

async fn check_postgres(scene: &Scene, url: &str, check: &mut Check) {
    match postgres::inspect(url, DEAF).await {
        Ok(facts) => judge_postgres(&facts, &scene.config, check),
        Err(error) => check.failed(
            error.to_string(),
            "see that the database runs, that address, user and password are right, that pg_hba.conf lets this machine in",
        ),
    }
}

fn judge_postgres(facts: &postgres::Facts, config: &Config, check: &mut Check) {
    let millis = facts.latency.as_secs_f64() * 1000.0;
    let seen = format!("Postgres {} answers in {millis:.1} ms (median)", facts.version);
    match facts.latency < SLOW {
        true => check.ok(seen),
        false => check.warning(seen, "bring the hub nearer to its database: a revocation takes up to four answers"),
    }
    if facts.standby {
        check.failed(
            "the server is a standby, which takes no writes and may be behind",
            "point database_url at the primary; with several hosts in it, behind an address that follows the primary",
        );
    } else if facts.read_only {
        check.failed(
            "transactions are read-only (default_transaction_read_only is on)",
            "turn it off for this user or database, or point database_url at the primary",
        );
    }
    durability(facts, check);
    schema(&facts.schema, facts.has_schema, config, check);
    if facts.schema.is_err() && !facts.may_create && !facts.standby {
        check.failed(
            "this user may make no tables in its schema, so migrations fail",
            "grant create on the schema to it, or run `revocation-hub migrate` as its owner",
        );
    }
    if !facts.may_write {
        check.failed(
            "this user may not read and write the table `revocation`",
            "grant select, insert, update and delete on the tables of the hub to it, or use their owner",
        );
    }
    if !facts.encrypted {
        let local =
            matches!(host(config.database_url.expose()).as_deref(), None | Some("localhost" | "127.0.0.1" | "[::1]"));
        match local {
            true => check.ok("not encrypted, to this machine"),
            false => check.warning(
                "the connection is not encrypted",
                "turn on TLS at the server and put ?sslmode=verify-full&sslrootcert=FILE behind the URL",
            ),
        }
    }
    clock(facts.clock_offset, config.store.max_clock_offset, check);
    if config.store.listen_notify && !facts.standby {
        notifications(&facts.notified, config, check);
    }
    // Two writers and the connection that listens come on top.
    let needed = i64::from(config.store.max_connections) + 3;
    let seen = format!(
        "room for {} more connections of this user; hubs have {}, a hub takes up to {needed}",
        facts.free_connections.min(100_000),
        facts.of_hubs
    );
    if facts.free_connections >= needed {
        check.ok(seen);
    } else {
        check.warning(
            seen,
            "raise max_connections of the server (or the limit of the role or database), or lower store.max_connections; a \
             rolling update has one hub more for a while",
        );
    }
}

/// The host of a URL that leads over a network; `None` for a socket in the file system.
fn host(url: &str) -> Option<String> {
    let parsed = reqwest::Url::parse(url).ok()?;
    let named = parsed.query_pairs().find(|(key, _)| key == "host" || key == "hostaddr");
    let host = named.map(|(_, value)| value.into_owned()).or_else(|| parsed.host_str().map(str::to_owned))?;
    (!host.is_empty() && !host.starts_with('/')).then_some(host)
}

fn durability(facts: &postgres::Facts, check: &mut Check) {
    for (setting, value) in [("fsync", &facts.fsync), ("full_page_writes", &facts.full_page_writes)] {
        if value != "on" {
            check.failed(
                format!("{setting} is {value}: a crash of the server's machine may lose or ruin what was acknowledged"),
                format!("`alter system set {setting} = on`, reload, and make a new base backup"),
            );
        }
    }
    let commits = match (facts.synchronous_standbys, facts.synchronous_commit.as_str()) {
        (true, "remote_apply") => "commits wait for synchronous standbys to have applied them",
        (true, _) => "commits wait for the disks of synchronous standbys",
        (false, _) => {
            "commits wait for the server's own disk; a failover to a standby may lose the last ones (docs/reliability.md)"
        }
    };
    if facts.fsync == "on" && facts.full_page_writes == "on" {
        // Whatever the server's default is: the hub's sessions set it.
        check.ok(format!("fsync and full_page_writes are on; {commits}"));
    }
}

fn schema(schema: &Result<(), StoreError>, exists: bool, config: &Config, check: &mut Check) {
    match schema {
        Ok(()) => check.ok("the schema is the one of this program"),
        Err(StoreError::PendingMigrations(_)) if !exists && config.migrate_on_start => {
            check.ok("empty; a hub makes its tables when it starts");
        }
        Err(StoreError::PendingMigrations(names)) if config.migrate_on_start => {
            check.ok(format!("migrations are pending, which a hub applies when it starts: {}", names.join(", ")));
        }
        Err(error @ StoreError::PendingMigrations(_)) => {
            check.failed(
                error.to_string(),
                "run `revocation-hub migrate` with this configuration before the hub starts",
            );
        }
        Err(error) => check.failed(error.to_string(), "see which program and which database belong together"),
    }
}

fn clock(ahead: i64, limit: Duration, check: &mut Check) {
    let seen = format!(
        "this machine's clock is {} ms {} the database's",
        ahead.unsigned_abs(),
        if ahead < 0 { "ahead of" } else { "behind" }
    );
    if u128::from(ahead.unsigned_abs()) <= limit.as_millis() {
        return check.ok(seen);
    }
    check.warning(
        format!("{seen} (store.max_clock_offset is {limit:?})"),
        "the hub goes by the database's clock and keeps its promises, but logs and TLS go by this one: see to NTP on both",
    );
}

fn notifications(notified: &Result<Option<Duration>, StoreError>, config: &Config, check: &mut Check) {
    let poll = config.store.poll_interval;
    match notified {
        Ok(Some(took)) => check.ok(format!("NOTIFY reaches LISTEN in {:.1} ms", took.as_secs_f64() * 1000.0)),
        Ok(None) => check.failed(
            format!(
                "a NOTIFY did not reach a LISTEN on another connection within {DEAF:?}: is there a pooler (PgBouncer in the \
                 mode transaction or statement) in between? It also loses what the hub's sessions are set to"
            ),
            format!(
                "connect past it or use its mode session. Until then hubs hear of each other's revocations only every {poll:?} \
                 (store.poll_interval)"
            ),
        ),
        Err(error) => check.warning(
            format!("whether NOTIFY reaches LISTEN could not be tried: {error}"),
            format!("with a server that has neither, set store.listen_notify = false; hubs then look every {poll:?}"),
        ),
    }
}

async fn check_sqlite(scene: &Scene, url: &str, check: &mut Check) {
    let path = sqlite::path(url).to_owned();
    if path.contains(['?', '\0']) || path.contains(":memory:") || path.is_empty() {
        return check
            .failed("database_url is not the path of a file", "name one: sqlite:///var/lib/revocation-hub/log.db");
    }
    let given = path.clone();
    let ground = match aside(move || sqlite::ground(&given)).await {
        Some(Ok(ground)) => ground,
        Some(Err(error)) => {
            return check.failed(
                format!("cannot look at the folder of {path}: {error}"),
                "make the folder, and let the hub's user write there",
            );
        }
        None => return check.failed(format!("cannot look at the folder of {path}"), "look at it by hand"),
    };
    judge_ground(&path, &ground, check);
    if let Some(process) = ground.holder {
        check.ok(format!("a hub has the file (process {process}); a second one on it refuses to start"));
    }
    if ground.file.is_none() {
        return check.ok(format!("{path} is not there yet; a hub makes it when it starts"));
    }
    match sqlite::inspect(&path, scene.limit / 2).await {
        Ok(facts) => judge_sqlite(&path, &facts, &scene.config, check),
        Err(error) => check
            .failed(error.to_string(), format!("see who owns {path} and whether it is a database at all; {BACKUP}")),
    }
}

fn judge_ground(path: &str, ground: &sqlite::Ground, check: &mut Check) {
    let folder = ground.folder.display();
    if !ground.writable {
        check.failed(
            format!("this user may not write in {folder}"),
            "SQLite keeps a second and a third file beside the database: give the folder to the hub's user",
        );
    }
    let free = ground.free >> 20;
    if ground.free < NO_DISK {
        check.failed(format!("{free} MiB are free in {folder}"), "make room: a full disk takes no revocations");
    } else if ground.free < LITTLE_DISK {
        check.warning(
            format!("{free} MiB are free in {folder}"),
            "make room before it is full: a full disk takes no revocations",
        );
    } else {
        check.ok(format!("{free} MiB are free in {folder}"));
    }
    match file_system(ground.kind) {
        Some(Ground::Network(name)) => check.warning(
            format!(
                "{folder} is on {name}, over a network: SQLite's log does not work there with more than one machine"
            ),
            "use a local disk, or Postgres",
        ),
        Some(Ground::Memory(name)) => {
            check.failed(format!("{folder} is on {name}: with the machine goes what was acknowledged"), "use a disk")
        }
        Some(Ground::Layer(name)) => check.warning(
            format!("{folder} is on {name}, a layer of a container: it may go with the container"),
            "mount a volume there",
        ),
        None => {}
    }
    if let Some(mode) = ground.file.as_ref().map(|m| m.mode()).filter(|mode| mode & 0o044 != 0) {
        check.warning(
            format!("others may read {path} (mode {:04o}); with keep_opaque there are tokens in it", mode & 0o777),
            format!("`chmod 600 {path}`"),
        );
    }
}

enum Ground {
    Network(&'static str),
    Memory(&'static str),
    Layer(&'static str),
}

/// Of the file systems that matter, by their numbers in statfs(2).
fn file_system(kind: i64) -> Option<Ground> {
    Some(match kind & 0xffff_ffff {
        0x6969 => Ground::Network("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Ground::Network("SMB"),
        0x0102_1997 => Ground::Network("9P"),
        0x00c3_6400 => Ground::Network("Ceph"),
        0x5346_414f => Ground::Network("AFS"),
        0x0102_1994 => Ground::Memory("tmpfs"),
        0x8584_58f6 => Ground::Memory("ramfs"),
        0x794c_7630 => Ground::Layer("overlayfs"),
        _ => return None,
    })
}

fn judge_sqlite(path: &str, facts: &sqlite::Facts, config: &Config, check: &mut Check) {
    let millis = facts.latency.as_secs_f64() * 1000.0;
    match facts.journal_mode.as_str() {
        "wal" => check.ok(format!("SQLite {path} answers in {millis:.1} ms, journal mode wal")),
        other => {
            check.ok(format!("SQLite {path} answers in {millis:.1} ms; a hub changes journal mode {other} to wal"))
        }
    }
    schema(&facts.schema, true, config, check);
    match facts.quick_check.as_deref() {
        Some("ok") => check.ok("the file is sound (quick_check)"),
        Some(wrong) => {
            check.failed(format!("the file is damaged: {wrong}"), format!("stop the hub and keep the file; {BACKUP}"))
        }
        None => check.ok("too large to be read as a whole in this time (quick_check); --timeout gives it longer"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Severity;
    use super::*;

    fn good() -> postgres::Facts {
        postgres::Facts {
            version: "17.1".into(),
            fsync: "on".into(),
            full_page_writes: "on".into(),
            synchronous_commit: "off".into(),
            standby: false,
            read_only: false,
            synchronous_standbys: false,
            free_connections: 90,
            of_hubs: 0,
            encrypted: true,
            may_create: true,
            may_write: true,
            schema: Ok(()),
            has_schema: true,
            latency: Duration::from_micros(300),
            clock_offset: -7,
            notified: Ok(Some(Duration::from_millis(1))),
        }
    }

    /// The worst of what is said, and the words.
    fn judged(facts: &postgres::Facts) -> (Severity, String) {
        let config = Config {
            database_url: crate::config::DatabaseUrl::new("postgres://hub@db.example.com/hub"),
            ..Config::default()
        };
        let found = Check::of(|check| judge_postgres(facts, &config, check));
        let worst = found.iter().max_by_key(|f| f.severity).unwrap();
        (worst.severity, format!("{} > {}", worst.seen, worst.todo.as_deref().unwrap_or_default()))
    }

    #[test]
    fn what_a_server_must_not_be() {
        assert_eq!(judged(&good()).0, Severity::Ok);
        let pending = || Err(StoreError::PendingMigrations(vec!["0007_x".into()]));
        assert_eq!(judged(&postgres::Facts { schema: pending(), ..good() }).0, Severity::Ok, "applied at the start");
        for (facts, severity, words) in [
            (postgres::Facts { fsync: "off".into(), ..good() }, Severity::Failed, "fsync is off"),
            (postgres::Facts { full_page_writes: "off".into(), ..good() }, Severity::Failed, "full_page_writes is off"),
            (postgres::Facts { standby: true, ..good() }, Severity::Failed, "standby"),
            (postgres::Facts { read_only: true, ..good() }, Severity::Failed, "read-only"),
            (postgres::Facts { notified: Ok(None), ..good() }, Severity::Failed, "pooler"),
            (postgres::Facts { may_write: false, ..good() }, Severity::Failed, "grant"),
            (postgres::Facts { schema: pending(), may_create: false, ..good() }, Severity::Failed, "no tables"),
            (postgres::Facts { free_connections: 5, ..good() }, Severity::Warning, "max_connections"),
            (postgres::Facts { encrypted: false, ..good() }, Severity::Warning, "sslmode"),
            (postgres::Facts { clock_offset: i64::MIN, ..good() }, Severity::Warning, "NTP"),
            (postgres::Facts { latency: Duration::from_millis(80), ..good() }, Severity::Warning, "80.0 ms"),
        ] {
            let (found, text) = judged(&facts);
            assert!(found == severity && text.contains(words), "{words}: {found:?} {text}");
        }
    }

    #[test]
    fn where_a_file_must_not_be() {
        assert!(file_system(0xef53).is_none(), "ext4");
        assert!(matches!(file_system(0x6969), Some(Ground::Network(_))));
        assert!(matches!(file_system(0x0102_1994), Some(Ground::Memory(_))));
        // Some systems have a number of 32 bits with a sign there.
        assert!(matches!(file_system(i64::from(0xff53_4d42_u32.cast_signed())), Some(Ground::Network(_))));
    }

    #[test]
    fn a_socket_in_the_file_system_needs_no_encryption() {
        assert_eq!(host("postgres:///hub?host=/run/postgresql"), None);
        assert_eq!(host("postgres://hub@db/hub").as_deref(), Some("db"));
        assert_eq!(host("postgres://hub@[::1]/hub").as_deref(), Some("[::1]"));
    }
}
