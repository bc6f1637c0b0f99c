//! What an error of Postgres means to the hub.

use sqlx::Error;

use crate::store::StoreError;

/// Sorts errors into those that pass and those that need a person.
pub(super) fn explain(error: Error) -> StoreError {
    match error {
        Error::Database(e) => {
            let code = e.code().unwrap_or_default().into_owned();
            let text = format!("Postgres: {} (SQLSTATE {code}){}", e.message(), advice(&code));
            match &*code {
                // The table is not there.
                "42P01" => StoreError::Absent(text),
                code if passes(code) => StoreError::Unavailable(text),
                _ => StoreError::Refused(text),
            }
        }
        Error::Io(_) | Error::Protocol(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
            StoreError::Unavailable(format!("Postgres: {error}"))
        }
        // A certificate nobody trusts, a value nobody can read, a setting nobody knows.
        _ => StoreError::Refused(format!("Postgres: {error}")),
    }
}

/// What a person can do about errors that are common when somebody begins.
fn advice(code: &str) -> &'static str {
    match code {
        "28P01" | "28000" => {
            "; see the user and the password of database_url or database_url_file, and the server's pg_hba.conf"
        }
        "3D000" => "; make it first, owned by the hub's user: createdb --owner USER NAME",
        "42501" => "; the hub's user has to own the schema, or be given rights on it (docs/kubernetes.md, Migrations)",
        "53300" => "; raise max_connections of the server, or lower store.max_connections of the hubs",
        _ => "",
    }
}

/// Whether waiting can help against this SQLSTATE.
fn passes(code: &str) -> bool {
    match code.get(..2) {
        // Connection; transaction rollback (serialisation, deadlock); resources; the system (disk, I/O).
        Some("08" | "40" | "53" | "58") => true,
        Some("57") => {
            // 57014 is our own statement_timeout; 57P01–03 and 05 shutting down, crashed, starting up, idle. 57P04: the
            // database was dropped.
            code != "57P04"
        }
        // Read-only (a standby, or while failing over); left idle in a transaction; lock not available in time.
        _ => matches!(code, "25006" | "25P03" | "55P03"),
    }
}

/// Whether the connection ended, so that the same on a new one may well work.
pub(super) fn lost_connection(error: &Error) -> bool {
    match error {
        Error::Io(_) => true,
        Error::Database(e) => {
            e.code().is_some_and(|c| c.starts_with("08") || matches!(&*c, "57P01" | "57P02" | "57P05" | "25P03"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_and_what_needs_a_person() {
        for code in ["08006", "53300", "53100", "57P01", "57P03", "57014", "25006", "58030", "40001", "40P01", "55P03"]
        {
            assert!(passes(code), "{code}");
        }
        for code in ["28P01", "28000", "3D000", "42501", "42P01", "23505", "57P04", "22021", ""] {
            assert!(!passes(code), "{code}");
        }
        assert!(explain(Error::PoolTimedOut).is_transient());
        assert!(!explain(Error::RowNotFound).is_transient());
    }
}
