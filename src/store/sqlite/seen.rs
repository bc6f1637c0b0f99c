//! The replay guard in SQLite.

use async_trait::async_trait;
use sqlx::Row as _;

use super::{SqliteStore, explain};
use crate::store::StoreError;
use crate::store::seen::{Seen, SeenId};

const SEEN: &str = "select answer from seen where digest = ?1 and until > ?2";

const REMEMBER: &str = "insert into seen (digest, answer, until) values (?1, ?2, ?3)
    on conflict (digest) do update set until = max(seen.until, excluded.until)";

const FORGET: &str =
    "delete from seen where digest in (select digest from seen where until <= ?1 order by until limit ?2)";

#[async_trait]
impl Seen for SqliteStore {
    async fn seen(&self, id: SeenId, now: i64) -> Result<Option<String>, StoreError> {
        let rows = self.read(sqlx::query(SEEN).bind(id.0.to_vec()).bind(now)).await?;
        rows.first().map(|row| row.try_get(0).map_err(explain)).transpose()
    }

    async fn remember(&self, id: SeenId, answer: &str, until: i64) -> Result<(), StoreError> {
        self.write(sqlx::query(REMEMBER).bind(id.0.to_vec()).bind(answer.to_owned()).bind(until)).await?;
        Ok(())
    }

    async fn forget(&self, now: i64, limit: usize) -> Result<u64, StoreError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Ok(self.write(sqlx::query(FORGET).bind(now).bind(limit)).await?.1)
    }
}
