//! Where a test's database is.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use revocation_hub::revocation::{Expiry, Id, Kind, Revocation, Target};
use revocation_hub::store::{Change, Options, Store, StoreError, connect};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqliteConnection};

/// A moment long before every `exp` the tests use unless they say otherwise.
pub const NOW: i64 = 1_000;

pub struct Place {
    pub url: String,
    _folder: Option<tempfile::TempDir>,
}

impl Place {
    pub async fn connect(&self) -> Result<Arc<dyn Store>, StoreError> {
        connect(&self.url, &options()).await
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        let store = self.connect().await.unwrap();
        store.prepare(true).await.unwrap();
        store
    }

    /// Runs SQL beside the store.
    pub async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.url.starts_with("sqlite") {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            conn.execute(sql).await.unwrap();
            conn.close().await.unwrap();
        } else {
            let mut conn = self.raw().await;
            conn.execute(sql).await.unwrap();
            conn.close().await.unwrap();
        }
    }

    /// A connection of our own to the test's Postgres database.
    pub async fn raw(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

pub fn options() -> Options {
    let (timeout, beat_interval) = (Duration::from_secs(20), Duration::from_secs(10));
    Options { max_connections: 4, timeout, listen_notify: true, beat_interval }
}

pub fn postgres_url() -> String {
    std::env::var("TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!("TEST_POSTGRES_URL is not set: these tests need a Postgres; ./scripts/test starts one and runs them")
    })
}

/// Gives the test a database of its own and takes it away again, also when the test fails.
pub async fn on_postgres(test: impl AsyncFnOnce(&Place)) {
    let admin = postgres_url();
    let name = format!("hub_test_{:016x}", rand::random::<u64>());
    let mut conn = PgConnection::connect(&admin).await.expect("TEST_POSTGRES_URL is reachable");
    conn.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    let (server, parameters) = admin.split_once('?').map_or((&*admin, String::new()), |(s, p)| (s, format!("?{p}")));
    let start = server.find("://").unwrap() + 3;
    let end = server[start..].find('/').map_or(server.len(), |at| start + at);
    let place = Place { url: format!("{}/{name}{parameters}", &server[..end]), _folder: None };
    let result = AssertUnwindSafe(test(&place)).catch_unwind().await;
    conn.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

pub async fn on_sqlite(test: impl AsyncFnOnce(&Place)) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/log.db", folder.path().display());
    test(&Place { url, _folder: Some(folder) }).await;
}

pub fn revocation(jti: &str, exp: i64) -> Revocation {
    Revocation {
        target: Target { kind: Kind::Token, iss: Some("https://sts".into()), value: jti.into() },
        issued_before: None,
        exp: Expiry(exp),
        revoked_at: NOW,
        reason: None,
        source: "test".into(),
        wso2_key: None,
    }
}

pub fn revoke(jti: &str, exp: i64) -> Change {
    Change::revoke(revocation(jti, exp))
}

pub fn id(jti: &str) -> Id {
    revocation(jti, 0).target.id()
}

/// Looks again and again, for a bounded time, until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
