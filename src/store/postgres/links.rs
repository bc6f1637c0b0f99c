//! Parked messages and the positions of outlets in Postgres. Every statement can safely be run twice.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;

use super::error::explain;
use super::{PostgresStore, epoch};
use crate::revocation::Cursor;
use crate::store::StoreError;
use crate::store::parking::{Parked, ParkedHead, ParkedMessage, Parking, kept};
use crate::store::positions::{Held, Positions};

const PARK: &str = "insert into parked (digest, source, reason, detail, content_type, body, received_at)
    select * from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::bigint[])
    on conflict (digest) do nothing";

const TRIM: &str = "with gone as (
        delete from parked where number <= (select number from parked order by number desc offset $1 limit 1) returning 1
    ) select count(*) from gone";

const PARKED: &str =
    "select number, source, reason, detail, content_type, received_at, length(body)::bigint from parked
    where number > $1 order by number limit $2";

const PARKED_ONE: &str = "select number, source, reason, detail, content_type, received_at, body from parked
    where number = $1";

const HOLD: &str = "insert into outlet (name, holder, until) values ($1, $2, now() + $3 * interval '1 second')
    on conflict (name) do update set holder = excluded.holder, until = excluded.until
    where outlet.holder is null or outlet.holder = excluded.holder or outlet.until < now()
    returning epoch, seq";

const ADVANCE: &str = "update outlet set epoch = $3, seq = $4 where name = $1 and holder = $2 returning 1";

const RELEASE: &str = "update outlet set holder = null, until = null where name = $1 and holder = $2";

#[async_trait]
impl Parking for PostgresStore {
    async fn park(&self, messages: &[Parked], max: usize) -> Result<u64, StoreError> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        self.rows(|| {
            sqlx::query(PARK)
                .bind(messages.iter().map(|m| m.digest().to_vec()).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| m.source.clone()).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| kept(&m.reason)).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| kept(&m.detail)).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| m.content_type.as_deref().map(kept)).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| m.body.clone()).collect::<Vec<_>>())
                .bind(messages.iter().map(|m| m.received_at).collect::<Vec<_>>())
        })
        .await?;
        number(&self.rows(|| sqlx::query(TRIM).bind(max)).await?)
    }

    async fn parked(&self, after: u64, limit: usize) -> Result<Vec<ParkedHead>, StoreError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(|| sqlx::query(PARKED).bind(after).bind(limit)).await?;
        rows.iter().map(|row| head(row).map_err(explain)).collect()
    }

    async fn parked_one(&self, number: u64) -> Result<Option<ParkedMessage>, StoreError> {
        let Ok(number) = i64::try_from(number) else { return Ok(None) };
        let rows = self.rows(|| sqlx::query(PARKED_ONE).bind(number)).await?;
        rows.first().map(|row| message(row).map_err(explain)).transpose()
    }

    async fn unpark(&self, number: u64) -> Result<bool, StoreError> {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        let delete = "delete from parked where number = $1 returning 1";
        Ok(!self.rows(|| sqlx::query(delete).bind(number)).await?.is_empty())
    }

    async fn parked_count(&self) -> Result<u64, StoreError> {
        number(&self.rows(|| sqlx::query("select count(*) from parked")).await?)
    }
}

#[async_trait]
impl Positions for PostgresStore {
    async fn hold(&self, outlet: &str, holder: &str, lease: Duration) -> Result<Option<Held>, StoreError> {
        let (outlet, holder) = (outlet.to_owned(), holder.to_owned());
        let hold = || sqlx::query(HOLD).bind(outlet.clone()).bind(holder.clone()).bind(lease.as_secs_f64());
        let rows = self.rows(hold).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let name: Option<String> = row.try_get(0).map_err(explain)?;
        let seq: Option<i64> = row.try_get(1).map_err(explain)?;
        let cursor = match (name, seq) {
            (Some(name), Some(seq)) => Some(Cursor { epoch: epoch(&name)?, seq: seq.cast_unsigned() }),
            _ => None,
        };
        Ok(Some(Held { cursor }))
    }

    async fn advance(&self, outlet: &str, holder: &str, cursor: &Cursor) -> Result<bool, StoreError> {
        let (outlet, holder, epoch) = (outlet.to_owned(), holder.to_owned(), cursor.epoch.as_str().to_owned());
        let advance = || {
            let query = sqlx::query(ADVANCE).bind(outlet.clone()).bind(holder.clone());
            query.bind(epoch.clone()).bind(cursor.seq.cast_signed())
        };
        Ok(!self.rows(advance).await?.is_empty())
    }

    async fn release(&self, outlet: &str, holder: &str) -> Result<(), StoreError> {
        let (outlet, holder) = (outlet.to_owned(), holder.to_owned());
        self.rows(|| sqlx::query(RELEASE).bind(outlet.clone()).bind(holder.clone())).await?;
        Ok(())
    }
}

fn number(rows: &[PgRow]) -> Result<u64, StoreError> {
    let number = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0)).map_err(explain)?;
    Ok(number.cast_unsigned())
}

fn head(row: &PgRow) -> Result<ParkedHead, sqlx::Error> {
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

fn message(row: &PgRow) -> Result<ParkedMessage, sqlx::Error> {
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
