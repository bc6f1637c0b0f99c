//! The audit in SQLite.

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::{SqliteStore, explain};
use crate::store::StoreError;
use crate::store::audit::{Action, Audit, Draft, MAX_NAMED, Place, Query, Record, Span, Wanted};

/// The place that stands so far behind another one, and what stands in between, in one direction.
macro_rules! statements {
    ($end:ident $read:ident $behind:literal $to:literal $order:literal) => {
        const $end: &str = concat!(
            "select at, number from audit where (at, number) ",
            $behind,
            " (?1, ?2) and (at, number) ",
            $to,
            " (?3, ?4)
            order by at ",
            $order,
            ", number ",
            $order,
            " limit 1 offset ?5"
        );
        const $read: &str = concat!(
            "select at, number, action, epoch, first_seq, last_seq, source, client, detail, length(ids) / 16,
                iif(?10, ids, substr(ids, 1, ?11))
            from audit where (at, number) ",
            $behind,
            " (?1, ?2) and (at, number) ",
            $to,
            " (?3, ?4)
                and (?5 is null or action = ?5) and (?6 is null or client = ?6) and (?7 is null or source = ?7)
                and (?8 is null or instr(ids, ?8) > 0) and (?9 is null or instr(keys, ?9) > 0)
            order by at ",
            $order,
            ", number ",
            $order,
            " limit ?12"
        );
    };
}
statements!(END_UP READ_UP ">" "<=" "asc");
statements!(END_DOWN READ_DOWN "<" ">=" "desc");

const FORGET: &str =
    "delete from audit where number in (select number from audit where at < ?1 order by at, number limit ?2)";

/// A record as the array that `WRITE_AND_COMMIT` takes apart.
pub(super) fn encode(draft: &Draft) -> impl serde::Serialize + '_ {
    let Draft { at, action, seqs, source, client, detail, ids, keys } = draft;
    let (first, last) = seqs.unzip();
    (at, *action as i16, first, last, &**source, client.as_deref(), detail, hex::encode(ids), hex::encode(keys))
}

fn record(row: &SqliteRow) -> Result<Record, sqlx::Error> {
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
impl Audit for SqliteStore {
    async fn audit_end(&self, ascending: bool, span: Span, skip: usize) -> Result<Option<Place>, StoreError> {
        let Span { behind, to } = span;
        let end = sqlx::query(if ascending { END_UP } else { END_DOWN });
        let end = end.bind(behind.at).bind(behind.number).bind(to.at).bind(to.number).bind(limit(skip));
        let rows = self.read(end).await?;
        let place = |row: &SqliteRow| Ok(Place { at: row.try_get(0)?, number: row.try_get(1)? });
        rows.first().map(|row| place(row).map_err(explain)).transpose()
    }

    async fn audit_read(&self, query: &Query, span: Span) -> Result<Vec<Record>, StoreError> {
        let Span { behind, to } = span;
        let (id, key) = match query.target {
            Some(Wanted::Id(id)) => (Some(id.0.to_vec()), None),
            Some(Wanted::Key(key)) => (None, Some(key.to_vec())),
            None => (None, None),
        };
        let read = sqlx::query(if query.ascending { READ_UP } else { READ_DOWN });
        let read = read.bind(behind.at).bind(behind.number).bind(to.at).bind(to.number);
        let read = read.bind(query.action.map(|action| action as i16)).bind(query.client.clone());
        let read = read.bind(query.source.clone()).bind(id).bind(key);
        let read = read.bind(query.ids).bind(limit(16 * MAX_NAMED)).bind(limit(query.limit));
        self.read(read).await?.iter().map(|row| record(row).map_err(explain)).collect()
    }

    async fn forget_audit(&self, before: i64, most: usize) -> Result<u64, StoreError> {
        Ok(self.write(sqlx::query(FORGET).bind(before).bind(limit(most))).await?.1)
    }
}
