//! Parked messages and the positions of outlets in SQLite. One hub has the file, so the lease only keeps the outlets of one
//! process apart; it is kept all the same, because the rules are then the same for every engine.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, query::Query};

use super::{SqliteStore, explain};
use crate::revocation::Cursor;
use crate::store::StoreError;
use crate::store::parking::{Parked, ParkedHead, ParkedMessage, Parking, kept};
use crate::store::positions::{Held, Positions};

const PARK: &str = "insert into parked (digest, source, reason, detail, content_type, body, received_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7) on conflict (digest) do nothing";

const TRIM: &str =
    "delete from parked where number <= (select number from parked order by number desc limit 1 offset ?1)";

const PARKED: &str = "select number, source, reason, detail, content_type, received_at, length(body) from parked
    where number > ?1 order by number limit ?2";

const PARKED_ONE: &str = "select number, source, reason, detail, content_type, received_at, body from parked
    where number = ?1";

const HOLD: &str = "insert into outlet (name, holder, until) values (?1, ?2, unixepoch('subsec') + ?3)
    on conflict (name) do update set holder = excluded.holder, until = excluded.until
    where outlet.holder is null or outlet.holder = excluded.holder or outlet.until < unixepoch('subsec')
    returning epoch, seq";

const ADVANCE: &str = "update outlet set epoch = ?3, seq = ?4 where name = ?1 and holder = ?2";

const RELEASE: &str = "update outlet set holder = null, until = null where name = ?1 and holder = ?2";

type SqliteQuery = Query<'static, Sqlite, SqliteArguments>;

impl SqliteStore {
    /// Runs one statement on the writing connection.
    pub(super) async fn write(&self, query: SqliteQuery) -> Result<(Vec<SqliteRow>, u64), StoreError> {
        self.bounded(async {
            let mut slot = self.writer.lock().await;
            let mut conn = self.take(&mut slot).await?;
            let rows = query.fetch_all(&mut conn).await.map_err(explain)?;
            let changed = sqlx::query("select changes()").fetch_one(&mut conn).await.map_err(explain)?;
            let changed = changed.try_get::<i64, _>(0).map_err(explain)?;
            *slot = Some(conn);
            Ok((rows, changed.cast_unsigned()))
        })
        .await
    }

    pub(super) async fn read(&self, query: SqliteQuery) -> Result<Vec<SqliteRow>, StoreError> {
        self.bounded(async { query.fetch_all(&self.readers).await.map_err(explain) }).await
    }
}

#[async_trait]
impl Parking for SqliteStore {
    async fn park(&self, messages: &[Parked], max: usize) -> Result<u64, StoreError> {
        // One statement each: these are the rare ones.
        for m in messages {
            let query = sqlx::query(PARK).bind(m.digest().to_vec()).bind(m.source.clone()).bind(kept(&m.reason));
            let query = query.bind(kept(&m.detail)).bind(m.content_type.as_deref().map(kept)).bind(m.body.clone());
            self.write(query.bind(m.received_at)).await?;
        }
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        Ok(self.write(sqlx::query(TRIM).bind(max)).await?.1)
    }

    async fn parked(&self, after: u64, limit: usize) -> Result<Vec<ParkedHead>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.read(sqlx::query(PARKED).bind(after).bind(limit)).await?;
        rows.iter().map(|row| head(row).map_err(explain)).collect()
    }

    async fn parked_one(&self, number: u64) -> Result<Option<ParkedMessage>, StoreError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let rows = self.read(sqlx::query(PARKED_ONE).bind(number)).await?;
        rows.first().map(|row| message(row).map_err(explain)).transpose()
    }

    async fn unpark(&self, number: u64) -> Result<bool, StoreError> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        Ok(self.write(sqlx::query("delete from parked where number = ?1").bind(number)).await?.1 > 0)
    }

    async fn parked_count(&self) -> Result<u64, StoreError> {
        let rows = self.read(sqlx::query("select count(*) from parked")).await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0)).map_err(explain)?;
        Ok(count.cast_unsigned())
    }
}

#[async_trait]
impl Positions for SqliteStore {
    async fn hold(&self, outlet: &str, holder: &str, lease: Duration) -> Result<Option<Held>, StoreError> {
        let query = sqlx::query(HOLD).bind(outlet.to_owned()).bind(holder.to_owned()).bind(lease.as_secs_f64());
        let (rows, _) = self.write(query).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let name: Option<String> = row.try_get(0).map_err(explain)?;
        let seq: Option<i64> = row.try_get(1).map_err(explain)?;
        let refused = |_| StoreError::Refused("SQLite: the epoch in the table `outlet` is not one of ours".into());
        let cursor = match (name, seq) {
            (Some(name), Some(seq)) => Some(Cursor { epoch: name.parse().map_err(refused)?, seq: seq.cast_unsigned() }),
            _ => None,
        };
        Ok(Some(Held { cursor }))
    }

    async fn advance(&self, outlet: &str, holder: &str, cursor: &Cursor) -> Result<bool, StoreError> {
        let query = sqlx::query(ADVANCE).bind(outlet.to_owned()).bind(holder.to_owned());
        let query = query.bind(cursor.epoch.as_str().to_owned()).bind(cursor.seq.cast_signed());
        Ok(self.write(query).await?.1 > 0)
    }

    async fn release(&self, outlet: &str, holder: &str) -> Result<(), StoreError> {
        self.write(sqlx::query(RELEASE).bind(outlet.to_owned()).bind(holder.to_owned())).await?;
        Ok(())
    }
}

fn head(row: &SqliteRow) -> Result<ParkedHead, sqlx::Error> {
    Ok(ParkedHead {
        number: row.try_get::<i64, _>(0)?.cast_unsigned(),
        source: row.try_get(1)?,
        reason: row.try_get(2)?,
        detail: row.try_get(3)?,
        content_type: row.try_get(4)?,
        received_at: row.try_get(5)?,
        bytes: row.try_get::<i64, _>(6)?.cast_unsigned(),
    })
}

fn message(row: &SqliteRow) -> Result<ParkedMessage, sqlx::Error> {
    Ok(ParkedMessage {
        number: row.try_get::<i64, _>(0)?.cast_unsigned(),
        message: Parked {
            source: row.try_get(1)?,
            reason: row.try_get(2)?,
            detail: row.try_get(3)?,
            content_type: row.try_get(4)?,
            received_at: row.try_get(5)?,
            body: row.try_get(6)?,
        },
    })
}
