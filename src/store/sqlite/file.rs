//! The database file: where it is, who may read it, that only one hub has it, and how far it has been.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::revocation::Cursor;
use crate::store::StoreError;

/// The file of a database, made if it was missing, and the lock that keeps other hubs out. The lock lies in a file of
/// its own: closing any descriptor of the database itself would drop the locks SQLite holds on it in this process.
pub(super) struct DatabaseFile {
    /// Absolute, and without symbolic links: two ways to one file must meet at one lock.
    pub(super) path: PathBuf,
    /// Held until it is dropped, at the latest when the process ends.
    pub(super) lock: File,
}

impl DatabaseFile {
    /// Takes the lock, then makes the file.
    pub(super) fn open(given: &str) -> Result<Self, StoreError> {
        if given.is_empty() || given.contains(":memory:") || given.contains("mode=memory") {
            return Err(refused(
                "a SQLite database in memory would not be durable; name a file, as in sqlite:///var/lib/revocation-hub/log.db",
            ));
        }
        if given.contains(['?', '\0']) {
            return Err(refused("a sqlite:// URL is a path and nothing more: parameters (?…) are not supported"));
        }
        let path = resolve(Path::new(given)).map_err(|e| {
            let error = failed("find the folder of", given, &e);
            match Path::new(given).parent().filter(|_| e.kind() == io::ErrorKind::NotFound) {
                Some(folder) => refused(&format!("{error}; make it first: mkdir -p {}", folder.display())),
                None => error,
            }
        })?;
        let mut name = path.clone().into_os_string();
        name.push(".lock");
        let mut options = OpenOptions::new();
        private(options.create(true).truncate(false).read(true).write(true));
        let lock = options.open(&name).map_err(|e| failed("open the lock file of", given, &e))?;
        lock.try_lock().map_err(|e| match e {
            TryLockError::WouldBlock => StoreError::Locked { path: given.to_owned() },
            TryLockError::Error(e) => failed("lock", given, &e),
        })?;
        let mut options = OpenOptions::new();
        match private(options.create_new(true).write(true)).open(&path) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(failed("create", given, &e)),
            _ => Ok(Self { path, lock }),
        }
    }
}

/// The mark in the lock file: the farthest that the log has been. A database file that was put back from a copy is behind it.
/// Bytes of a mark: a cursor, and blanks up to here.
const MARK: usize = 32;

/// Reads the mark; `None` where there is none.
pub(super) fn mark(lock: &File) -> Option<Cursor> {
    let mut bytes = [0; MARK];
    lock.read_exact_at(&mut bytes, 0).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim_end().parse().ok()
}

/// Sets the mark. Not synced to the disk: one that is too old tells less, and nothing wrong.
pub(super) fn set_mark(lock: &File, at: &Cursor) {
    let _ = lock.write_all_at(format!("{:<MARK$}", at.to_string()).as_bytes(), 0);
}

/// The rows can be credentials: whoever runs the hub reads them, nobody else. SQLite gives its `-wal` and `-shm` files
/// the mode of the database.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn resolve(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            let name = path.file_name().ok_or(e)?;
            Ok(fs::canonicalize(folder)?.join(name))
        }
        result => result,
    }
}

fn failed(what: &str, path: &str, error: &io::Error) -> StoreError {
    refused(&format!("cannot {what} the SQLite database {path}: {error}"))
}

fn refused(text: &str) -> StoreError {
    StoreError::Refused(text.to_owned())
}
