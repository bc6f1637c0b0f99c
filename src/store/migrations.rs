//! The migrations of each engine, compiled in.
//!
//! An applied migration is never edited: its checksum stands in the database. A change is a new file.

use std::fmt::Display;

use sqlx::SqlSafeStr;
use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType};

use super::StoreError;

/// Where the applied migrations are listed. Our own name: sqlx's default may belong to another program in a shared
/// database.
pub(super) const TABLE: &str = "revocation_hub_migrations";

/// Version, description and text of one migration.
type Source = (i64, &'static str, &'static str);

const POSTGRES: &[Source] = &[
    (1, "log", include_str!("../../migrations/postgres/0001_log.sql")),
    (2, "links", include_str!("../../migrations/postgres/0002_links.sql")),
    (3, "seen", include_str!("../../migrations/postgres/0003_seen.sql")),
    (4, "epoch", include_str!("../../migrations/postgres/0004_epoch.sql")),
    (5, "prune", include_str!("../../migrations/postgres/0005_prune.sql")),
    (6, "audit", include_str!("../../migrations/postgres/0006_audit.sql")),
];
const SQLITE: &[Source] = &[
    (1, "log", include_str!("../../migrations/sqlite/0001_log.sql")),
    (2, "links", include_str!("../../migrations/sqlite/0002_links.sql")),
    (3, "seen", include_str!("../../migrations/sqlite/0003_seen.sql")),
    (4, "epoch", include_str!("../../migrations/sqlite/0004_epoch.sql")),
    (5, "prune", include_str!("../../migrations/sqlite/0005_prune.sql")),
    (6, "audit", include_str!("../../migrations/sqlite/0006_audit.sql")),
];

/// The migrations of Postgres, oldest first.
pub(super) fn postgres() -> Vec<Migration> {
    POSTGRES.iter().map(migration).collect()
}

/// The migrations of SQLite, oldest first.
pub(super) fn sqlite() -> Vec<Migration> {
    SQLITE.iter().map(migration).collect()
}

fn migration(&(version, description, sql): &Source) -> Migration {
    Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

/// How people call it: the name of its file.
pub(super) fn name(migration: &Migration) -> String {
    format!("{:04}_{}", migration.version, migration.description)
}

/// Applies what is pending, each migration in its own transaction and all of them under the engine's lock (Postgres: an
/// advisory lock of the session, so it ends with `conn` whatever happens). Returns the names of those it applied.
pub(super) async fn apply<C: Migrate>(
    conn: &mut C,
    known: &[Migration],
    explain: impl Fn(sqlx::Error) -> StoreError,
) -> Result<Vec<String>, StoreError> {
    let explain = |e| failed(e, &explain);
    conn.lock().await.map_err(explain)?;
    // Only now: another hub may just have finished.
    conn.ensure_migrations_table(TABLE).await.map_err(explain)?;
    if let Some(version) = conn.dirty_version(TABLE).await.map_err(explain)? {
        return Err(StoreError::Refused(format!(
            "migration {version:04} was interrupted and has to be repaired by hand"
        )));
    }
    let applied = conn.list_applied_migrations(TABLE).await.map_err(explain)?;
    let mut names = Vec::new();
    for migration in pending(known, &applied)? {
        conn.apply(TABLE, migration).await.map_err(explain)?;
        names.push(name(migration));
    }
    conn.unlock().await.map_err(explain)?;
    Ok(names)
}

/// Refuses unless exactly the known migrations are applied; writes nothing. `exists`: whether there is a [`TABLE`].
pub(super) async fn check<C: Migrate>(
    conn: &mut C,
    exists: bool,
    known: &[Migration],
    explain: impl Fn(sqlx::Error) -> StoreError,
) -> Result<(), StoreError> {
    let applied = match exists {
        true => conn.list_applied_migrations(TABLE).await.map_err(|e| failed(e, &explain))?,
        false => Vec::new(),
    };
    let pending = pending(known, &applied)?;
    if pending.is_empty() {
        Ok(())
    } else {
        Err(StoreError::PendingMigrations(pending.into_iter().map(name).collect()))
    }
}

fn pending<'a>(known: &'a [Migration], applied: &[AppliedMigration]) -> Result<Vec<&'a Migration>, StoreError> {
    for done in applied {
        match known.iter().find(|m| m.version == done.version) {
            Some(m) if m.checksum == done.checksum => {}
            Some(m) => {
                return Err(StoreError::Refused(format!(
                    "the database has another migration {} than this program; was it made by a development build?",
                    name(m)
                )));
            }
            None => {
                return Err(StoreError::Refused(format!(
                    "the database has migration {:04}, which this program does not know: its schema is newer; use the newer revocation-hub",
                    done.version
                )));
            }
        }
    }
    Ok(known.iter().filter(|m| !applied.iter().any(|done| done.version == m.version)).collect())
}

fn failed(error: MigrateError, explain: &impl Fn(sqlx::Error) -> StoreError) -> StoreError {
    let named = |error: StoreError, version: &dyn Display| match error {
        StoreError::Refused(text) => StoreError::Refused(format!("migration {version:04}: {text}")),
        other => other,
    };
    match error {
        MigrateError::Execute(e) => explain(e),
        MigrateError::ExecuteMigration(e, version) => named(explain(e), &version),
        other => StoreError::Refused(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(applied: &[AppliedMigration]) -> String {
        pending(&postgres(), applied).unwrap_err().to_string()
    }

    #[test]
    fn a_newer_or_a_different_schema_is_refused() {
        let newer = AppliedMigration { version: 9999, checksum: vec![].into() };
        assert!(refusal(&[newer]).contains("newer"));
        let edited = AppliedMigration { version: 1, checksum: vec![1].into() };
        assert!(refusal(&[edited]).contains("0001_log"));
        let applied = |m: &Migration| AppliedMigration { version: m.version, checksum: m.checksum.clone() };
        let same: Vec<_> = postgres().iter().map(applied).collect();
        assert!(pending(&postgres(), &same).unwrap().is_empty());
        assert_eq!(pending(&postgres(), &same[..1]).unwrap().len(), same.len() - 1);
    }
}
