//! The audit in Postgres.

use async_trait::async_trait;
use sqlx::Postgres;
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgBindIterExt as _, PgConnection, PgRow};
use sqlx::query::Query as PgQuery;

use super::PostgresStore;
use super::error::explain;
use super::sql::NOTE;
use crate::revocation::Epoch;
use crate::store::StoreError;
use crate::store::audit::{Action, Audit, Draft, MAX_NAMED, Place, Query, Record, Span, Wanted};

/// The place that stands so far behind another one, and what stands in between, in one direction.
macro_rules! statements {
    ($end:ident $read:ident $behind:literal $to:literal $order:literal) => {
        const $end: &str = concat!(
            "select at, number from audit where (at, number) ", $behind, " ($1, $2) and (at, number) ", $to, " ($3, $4)
            order by at ", $order, ", number ", $order, " offset $5 limit 1"
        );
        const $read: &str = concat!(
            "select at, number, action, epoch, first_seq, last_seq, source, client, detail, octet_length(ids)::bigint / 16,
                case when $10 then ids else substring(ids from 1 for $11) end
            from audit where (at, number) ", $behind, " ($1, $2) and (at, number) ", $to, " ($3, $4)
                and ($5::smallint is null or action = $5) and ($6::text is null or client = $6)
                and ($7::text is null or source = $7) and ($8::bytea is null or position($8 in ids) > 0)
                and ($9::bytea is null or position($9 in keys) > 0)
            order by at ", $order, ", number ", $order, " limit $12"
        );
    };
}
statements!(END_UP READ_UP ">" "<=" "asc");
statements!(END_DOWN READ_DOWN "<" ">=" "desc");

/// Every replica does this, and none waits for another.
const FORGET: &str = "with gone as (
        delete from audit where (at, number) in (
            select at, number from audit where at < $1 order by at, number limit $2 for update skip locked
        ) returning 1
    ) select count(*) from gone";

/// Binds the columns of records, one array each.
pub(super) fn bind<'q>(
    query: PgQuery<'q, Postgres, PgArguments>,
    drafts: &[Draft],
) -> PgQuery<'q, Postgres, PgArguments> {
    let seq = |of: fn(&(u64, u64)) -> u64| drafts.iter().map(move |d| d.seqs.as_ref().map(|s| of(s).cast_signed()));
    query
        .bind(drafts.iter().map(|d| d.at).bind_iter())
        .bind(drafts.iter().map(|d| d.action as i16).bind_iter())
        .bind(seq(|seqs| seqs.0).bind_iter())
        .bind(seq(|seqs| seqs.1).bind_iter())
        .bind(drafts.iter().map(|d| &*d.source).bind_iter())
        .bind(drafts.iter().map(|d| d.client.as_deref()).bind_iter())
        .bind(drafts.iter().map(|d| d.detail.as_str()).bind_iter())
        .bind(drafts.iter().map(|d| d.ids.as_slice()).bind_iter())
        .bind(drafts.iter().map(|d| d.keys.as_slice()).bind_iter())
}

/// Writes records in the transaction that `conn` is in.
pub(super) async fn note(conn: &mut PgConnection, epoch: &Epoch, drafts: &[Draft]) -> Result<(), sqlx::Error> {
    if drafts.is_empty() {
        return Ok(());
    }
    bind(sqlx::query(NOTE), drafts).bind(epoch.as_str()).execute(conn).await.map(drop)
}

fn record(row: &PgRow) -> Result<Record, sqlx::Error> {
    let unreadable = |error: String| sqlx::Error::Decode(error.into());
    let number = row.try_get(2)?;
    let detail: &str = row.try_get(8)?;
    let (first, last) = (row.try_get::<Option<i64>, _>(4)?, row.try_get::<Option<i64>, _>(5)?);
    Ok(Record {
        place: Place { at: row.try_get(0)?, number: row.try_get(1)? },
        action: Action::from_number(number).ok_or_else(|| unreadable(format!("action {number}")))?,
        epoch: row.try_get(3)?,
        seqs: first.map(i64::cast_unsigned).zip(last.map(i64::cast_unsigned)),
        source: row.try_get(6)?,
        client: row.try_get(7)?,
        detail: serde_json::from_str(detail).map_err(|e| unreadable(e.to_string()))?,
        count: row.try_get::<i64, _>(9)?.cast_unsigned(),
        ids: Record::ids(row.try_get(10)?),
    })
}

fn limit(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[async_trait]
impl Audit for PostgresStore {
    async fn audit_end(&self, ascending: bool, span: Span, skip: usize) -> Result<Option<Place>, StoreError> {
        let Span { behind, to } = span;
        let end = || {
            let query = sqlx::query(if ascending { END_UP } else { END_DOWN });
            query.bind(behind.at).bind(behind.number).bind(to.at).bind(to.number).bind(limit(skip))
        };
        let rows = self.rows(end).await?;
        let place = |row: &PgRow| Ok(Place { at: row.try_get(0)?, number: row.try_get(1)? });
        rows.first().map(|row| place(row).map_err(explain)).transpose()
    }

    async fn audit_read(&self, query: &Query, span: Span) -> Result<Vec<Record>, StoreError> {
        let Span { behind, to } = span;
        let (id, key) = match query.target {
            Some(Wanted::Id(id)) => (Some(id.0.to_vec()), None),
            Some(Wanted::Key(key)) => (None, Some(key.to_vec())),
            None => (None, None),
        };
        let read = || {
            let statement = sqlx::query(if query.ascending { READ_UP } else { READ_DOWN });
            let statement = statement.bind(behind.at).bind(behind.number).bind(to.at).bind(to.number);
            let statement = statement.bind(query.action.map(|action| action as i16)).bind(query.client.clone());
            let statement = statement.bind(query.source.clone()).bind(id.clone()).bind(key.clone());
            statement.bind(query.ids).bind(16 * MAX_NAMED as i32).bind(limit(query.limit))
        };
        self.rows(read).await?.iter().map(|row| record(row).map_err(explain)).collect()
    }

    async fn forget_audit(&self, before: i64, most: usize) -> Result<u64, StoreError> {
        let rows = self.rows(|| sqlx::query(FORGET).bind(before).bind(limit(most))).await?;
        let count = rows.first().map_or(Ok(0), |row| row.try_get::<i64, _>(0)).map_err(explain)?;
        Ok(count.cast_unsigned())
    }
}
