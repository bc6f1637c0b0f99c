//! How our values travel to and from Postgres.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{
    PgArgumentBuffer, PgArguments, PgBindIterExt, PgHasArrayType, PgRow, PgTypeInfo, PgValueFormat, PgValueRef,
};
use sqlx::query::Query;
use sqlx::{Decode, Encode, Postgres, Row as _, Type};

use crate::revocation::{Expiry, Id, Kind, Revocation, Row, Target};

/// An id as a `uuid`: sixteen bytes without a length, in the index and on the line.
#[derive(Clone, Copy)]
pub(super) struct PgId(pub(super) Id);

// Object ids of built-in types; they are the same on every server.
const UUID: Oid = Oid(2950);
const UUID_ARRAY: Oid = Oid(2951);

impl Type<Postgres> for PgId {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID)
    }

    fn compatible(ty: &PgTypeInfo) -> bool {
        ty.oid() == Some(UUID)
    }
}

impl PgHasArrayType for PgId {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(UUID_ARRAY)
    }
}

impl Encode<'_, Postgres> for PgId {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buf.extend_from_slice(&self.0.0);
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for PgId {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        match value.format() {
            PgValueFormat::Binary => Ok(Self(Id(value.as_bytes()?.try_into()?))),
            PgValueFormat::Text => Ok(Self(value.as_str()?.replace('-', "").parse()?)),
        }
    }
}

/// The row whose columns (`seq, id, kind, iss, value, issued_before, exp, revoked_at, reason, source, wso2_key, lifted`)
/// start at `at`; `None` when they are the nulls of an outer join.
pub(super) fn row(row: &PgRow, at: usize) -> Result<Option<Row>, sqlx::Error> {
    let Some(seq) = row.try_get::<Option<i64>, _>(at)? else { return Ok(None) };
    let number = row.try_get(at + 2)?;
    let kind = Kind::from_number(number).ok_or_else(|| sqlx::Error::Decode(format!("kind {number}").into()))?;
    Ok(Some(Row {
        seq: seq.cast_unsigned(),
        id: row.try_get::<PgId, _>(at + 1)?.0,
        lifted: row.try_get(at + 11)?,
        revocation: Revocation {
            target: Target { kind, iss: row.try_get(at + 3)?, value: row.try_get(at + 4)? },
            issued_before: row.try_get(at + 5)?,
            exp: Expiry(row.try_get(at + 6)?),
            revoked_at: row.try_get(at + 7)?,
            reason: row.try_get(at + 8)?,
            source: row.try_get(at + 9)?,
            wso2_key: row.try_get(at + 10)?,
        },
    }))
}

/// Binds the columns of `rows` in the same order, as one array each.
pub(super) fn bind_columns<'q>(
    query: Query<'q, Postgres, PgArguments>,
    rows: &[Row],
) -> Query<'q, Postgres, PgArguments> {
    query
        .bind(rows.iter().map(|r| r.seq.cast_signed()).bind_iter())
        .bind(rows.iter().map(|r| PgId(r.id)).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.target.kind as i16).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.target.iss.as_deref()).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.target.value.as_str()).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.issued_before).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.exp.0).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.revoked_at).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.reason.as_deref()).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.source.as_str()).bind_iter())
        .bind(rows.iter().map(|r| r.revocation.wso2_key.as_deref()).bind_iter())
        .bind(rows.iter().map(|r| r.lifted).bind_iter())
}
