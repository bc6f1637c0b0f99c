//! A look at the database file for people who look for a fault. Changes nothing and takes no lock: the file is opened to read,
//! and whether a hub has it is read from the kernel's list.

use std::ffi::CString;
use std::fs::Metadata;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _};
use tokio::time::{Instant, timeout};

use super::explain;
use crate::store::{StoreError, migrations};

/// What there is to know of the place of a file, also when it is not there yet.
#[derive(Debug)]
pub struct Ground {
    /// The folder.
    pub folder: PathBuf,
    /// Whether this process may make files there, which SQLite has to.
    pub writable: bool,
    /// Bytes that are free for this user.
    pub free: u64,
    /// The kind of file system, in the kernel's numbers (statfs(2)).
    pub kind: i64,
    /// The file's, when it is there.
    pub file: Option<Metadata>,
    /// The process that has the lock which a hub takes.
    pub holder: Option<i32>,
}

/// What there is to know of the database in it.
#[derive(Debug)]
pub struct Facts {
    /// `wal`, or a mode that the hub changes when it starts.
    pub journal_mode: String,
    /// What is to be said of the schema; `Ok` when it is the one of this program.
    pub schema: Result<(), StoreError>,
    /// How long an answer takes.
    pub latency: Duration,
    /// What `pragma quick_check` says, `ok` when all is well; `None` when it was not done in time.
    pub quick_check: Option<String>,
}

/// The path that a URL names.
pub fn path(url: &str) -> &str {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    rest.strip_prefix("//").unwrap_or(rest)
}

/// Looks at the place of the file.
pub fn ground(given: &str) -> std::io::Result<Ground> {
    let path = Path::new(given);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = std::fs::canonicalize(folder)?;
    let name = CString::new(folder.as_os_str().as_bytes())?;
    // SAFETY: both get a C string that lives longer than the call, and room for the answer that they fill on success.
    let (writable, about, space) = unsafe {
        let (mut about, mut space) = (MaybeUninit::<libc::statfs>::zeroed(), MaybeUninit::<libc::statvfs>::zeroed());
        let writable = libc::access(name.as_ptr(), libc::W_OK | libc::X_OK) == 0;
        if libc::statfs(name.as_ptr(), about.as_mut_ptr()) != 0 || libc::statvfs(name.as_ptr(), space.as_mut_ptr()) != 0
        {
            return Err(std::io::Error::last_os_error());
        }
        (writable, about.assume_init(), space.assume_init())
    };
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless, reason = "their sizes differ from system to system")]
    let (kind, free) = (about.f_type as i64, (space.f_bavail as u64).saturating_mul(space.f_frsize as u64));
    let file = std::fs::metadata(path).ok();
    // Where the hub has it: behind symbolic links.
    let real = std::fs::canonicalize(path).ok();
    let holder = real.and_then(|real| {
        let mut name = real.into_os_string();
        name.push(".lock");
        let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
        holder(&locks, std::fs::metadata(name).ok()?.ino())
    });
    Ok(Ground { folder, writable, free, kind, file, holder })
}

/// Who has an exclusive lock (flock(2)) on this inode, as `/proc/locks` has it. Its device is not compared: file systems of
/// several layers give one number here and another there.
fn holder(locks: &str, inode: u64) -> Option<i32> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, _, mode, process, place) =
            (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        if kind == "FLOCK" && mode == "WRITE" && same { process.parse().ok() } else { None }
    })
}

/// Looks at the database, which has to be there. The whole file is read for `patience` at the most.
pub async fn inspect(given: &str, patience: Duration) -> Result<Facts, StoreError> {
    let options = SqliteConnectOptions::new().filename(given).read_only(true).disable_statement_logging();
    // One that was closed in good order has nothing beside it; to read it as it is keeps SQLite from making files. With a log
    // beside it, a hub has it or has died: then all of it counts, and the files are there.
    let alone = !Path::new(&format!("{given}-wal")).exists();
    let mut conn = options.immutable(alone).connect().await.map_err(explain)?;
    let began = Instant::now();
    let exists = "select count(*) > 0 from sqlite_schema where name = 'revocation_hub_migrations'";
    let exists: bool = text(&mut conn, exists).await?.and_then(|row| row.try_get(0).ok()).unwrap_or(false);
    let latency = began.elapsed();
    let mode = text(&mut conn, "pragma journal_mode").await?;
    let journal_mode = mode.and_then(|row| row.try_get(0).ok()).unwrap_or_default();
    let schema = migrations::check(&mut conn, exists, &migrations::sqlite(), explain).await;
    let checked = timeout(patience, text(&mut conn, "pragma quick_check(1)")).await;
    let quick_check = match checked {
        Ok(row) => row?.and_then(|row| row.try_get(0).ok()),
        Err(_) => None,
    };
    if quick_check.is_some() {
        let _ = conn.close().await;
    }
    Ok(Facts { journal_mode, schema, latency, quick_check })
}

async fn text(conn: &mut SqliteConnection, sql: &str) -> Result<Option<sqlx::sqlite::SqliteRow>, StoreError> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).fetch_optional(conn).await.map_err(explain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found_without_touching_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.db");
        let given = path.to_str().unwrap();
        assert!(ground(given).unwrap().file.is_none());
        std::fs::write(&path, "").unwrap();
        assert_eq!(ground(given).unwrap().holder, None);
        let lock = std::fs::File::create(folder.path().join("log.db.lock")).unwrap();
        assert_eq!(ground(given).unwrap().holder, None);
        lock.try_lock().unwrap();
        assert_eq!(ground(given).unwrap().holder, Some(i32::try_from(std::process::id()).unwrap()));
        lock.unlock().unwrap();
        assert_eq!(ground(given).unwrap().holder, None);
        let waiting = "1: FLOCK  ADVISORY  READ 7 fd:01:42 0 EOF\n2: POSIX  ADVISORY  WRITE 8 fd:01:42 0 EOF\n";
        assert_eq!(holder(waiting, 42), None);
    }
}
