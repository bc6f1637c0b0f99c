//! Many new targets at once, by `COPY` in its binary format.
//!
//! The lock and the positions come first, so the rows are sent with their positions, piece by piece: the server takes in
//! one piece while the next is put together.

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Executor};
use tokio::time::Instant;

use super::session::Session;
use super::sql::{self, COPY};
use super::standing::{Seen, judge};
use super::{Failed, audit, no_log};
use crate::revocation::Row;
use crate::store::Commit;
use crate::store::audit::Draft;
use crate::store::merge::Plan;

/// From so many rows on the server saves more than the additional round trips cost, all of them under the lock.
pub(super) const WORTHWHILE: usize = 2000;

/// Bytes that are put together before they are sent.
const PIECE: usize = 64 << 10;

/// Signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();
const COLUMNS: i16 = 12;

/// Appends what is planned for an empty log; `None` when a target was there, and then nothing was done.
pub(super) async fn append(
    session: &mut Session,
    mut plan: Plan,
    drafts: impl Fn(&Plan) -> Vec<Draft>,
    seen: &Seen,
    notify: bool,
) -> Result<Option<Commit>, Failed> {
    let Session { conn, home } = session;
    // Only a number and a constant go into the text.
    let take = AssertSqlSafe(sql::take(plan.rows.len(), notify));
    let log = sqlx::raw_sql(take).fetch_all(&mut *conn).await?;
    let log = log.first().ok_or_else(no_log)?;
    // Where this fails the session is dropped, and the server rolls back.
    let (epoch, head) = judge(log, home.as_deref(), seen, plan.rows.len() as u64)?;
    plan.shift(head - plan.head);
    match send(conn, &plan.rows).await {
        Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
            conn.execute("rollback").await?;
            return Ok(None);
        }
        result => result?,
    }
    audit::note(conn, &epoch, &drafts(&plan)).await?;
    conn.execute("commit").await.map_err(Failed::at_commit)?;
    Ok(Some(Commit { epoch, head, outcomes: plan.outcomes, rows: plan.rows, at: Instant::now() }))
}

/// Sends rows that have their positions.
pub(super) async fn send(conn: &mut PgConnection, rows: &[Row]) -> Result<(), sqlx::Error> {
    let mut copy = conn.copy_in_raw(COPY).await?;
    let mut piece = Vec::with_capacity(PIECE + (PIECE >> 2));
    piece.extend_from_slice(HEADER);
    for row in rows {
        put(&mut piece, row);
        if piece.len() >= PIECE {
            copy.send(&*piece).await?;
            piece.clear();
        }
    }
    piece.extend_from_slice(&TRAILER);
    copy.send(&*piece).await?;
    copy.finish().await.map(drop)
}

/// One row in the format of `COPY`: the number of columns, then each with its length in front.
fn put(out: &mut Vec<u8>, row: &Row) {
    let r = &row.revocation;
    out.extend_from_slice(&COLUMNS.to_be_bytes());
    field(out, &row.seq.to_be_bytes());
    field(out, &row.id.0);
    field(out, &(r.target.kind as i16).to_be_bytes());
    nullable(out, r.target.iss.as_deref().map(str::as_bytes));
    field(out, r.target.value.as_bytes());
    nullable(out, r.issued_before.map(i64::to_be_bytes).as_ref().map(|bytes| &bytes[..]));
    field(out, &r.exp.0.to_be_bytes());
    field(out, &r.revoked_at.to_be_bytes());
    nullable(out, r.reason.as_deref().map(str::as_bytes));
    field(out, r.source.as_bytes());
    nullable(out, r.wso2_key.as_deref().map(str::as_bytes));
    field(out, &[u8::from(row.lifted)]);
}

fn field(out: &mut Vec<u8>, bytes: &[u8]) {
    // A text is bounded by intake, far below this.
    let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => field(out, bytes),
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
    }
}
