//! The replay guard in Postgres. Every statement can safely be run twice.

use async_trait::async_trait;
use sqlx::Row as _;

use super::PostgresStore;
use super::error::explain;
use crate::store::StoreError;
use crate::store::seen::{Seen, SeenId};

const SEEN: &str = "select answer from seen where digest = $1 and until > $2";

const REMEMBER: &str = "insert into seen (digest, answer, until) values ($1, $2, $3)
    on conflict (digest) do update set until = greatest(seen.until, excluded.until)";

const FORGET: &str = "with gone as (
        delete from seen where digest = any(array(
            select digest from seen where until <= $1 order by until limit $2 for update skip locked
        )) returning 1
    ) select count(*) from gone";

#[async_trait]
impl Seen for PostgresStore {
    async fn seen(&self, id: SeenId, now: i64) -> Result<Option<String>, StoreError> {
        let rows = self.rows(|| sqlx::query(SEEN).bind(id.0.to_vec()).bind(now)).await?;
        rows.first().map(|row| row.try_get(0).map_err(explain)).transpose()
    }

    async fn remember(&self, id: SeenId, answer: &str, until: i64) -> Result<(), StoreError> {
        let answer = answer.to_owned();
        self.rows(|| sqlx::query(REMEMBER).bind(id.0.to_vec()).bind(answer.clone()).bind(until)).await?;
        Ok(())
    }

    async fn forget(&self, now: i64, limit: usize) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(|| sqlx::query(FORGET).bind(now).bind(limit)).await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0)).map_err(explain)?;
        Ok(count.cast_unsigned())
    }
}
