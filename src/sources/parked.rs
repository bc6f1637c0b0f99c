//! `/v1/parked`: messages that nobody could read, for a person to look at, to send through once more, or to drop. They may
//! hold tokens, so all of it takes the scope `admin`, and nothing of a body is ever logged.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::inbox::NOBODY_PULLS;
use super::{SharedSources, Sources};
use crate::config::Scope;
use crate::formats::message;
use crate::http::{Caller, Code, Problem};
use crate::intake::{IntakeError, Sender, Status};
use crate::store::StoreError;
use crate::store::parking::{Parked, ParkedHead, ParkedMessage};

const CURSOR: HeaderName = HeaderName::from_static("revocation-cursor");
const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
const PAGE: usize = 100;
const LONGEST_PAGE: usize = 1000;

/// The query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

/// `GET /v1/parked`: page by page, without bodies.
pub async fn list(
    State(sources): State<SharedSources>,
    caller: Caller,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let Query(ListQuery { after, limit }) = query?;
    let limit = limit.unwrap_or(PAGE);
    if limit == 0 || limit > LONGEST_PAGE {
        return Err(Problem::new(Code::InvalidRequest, format!("limit must be 1 to {LONGEST_PAGE}")));
    }
    // One more than asked for tells whether there are more.
    let mut found = sources.parking.parked(after.unwrap_or(0), limit + 1).await.map_err(away)?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|m| m.number);
    let parked: Vec<Value> = found.iter().map(head).collect();
    let mut answer = json!({"parked": parked});
    if let Some(next) = next {
        answer["next"] = next.into();
    }
    Ok((NO_STORE, Json(answer)).into_response())
}

/// `GET /v1/parked/{number}`: with its body.
pub async fn one(
    State(sources): State<SharedSources>,
    caller: Caller,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let ParkedMessage { number, message } = find(&sources, &number).await?;
    let Parked { source, reason, detail, content_type, body, received_at } = message;
    let bytes = body.len() as u64;
    let mut answer = head(&ParkedHead { number, source, reason, detail, content_type, bytes, received_at });
    answer["body"] = STANDARD.encode(&body).into();
    if let Ok(text) = String::from_utf8(body) {
        answer["text"] = text.into();
    }
    Ok((NO_STORE, Json(answer)).into_response())
}

/// `POST /v1/parked/{number}/replay`: reads it again, with the source's settings if there still is such a source, else
/// with the caller's rights. It goes when it is committed, and stays when it still cannot be.
pub async fn replay(
    State(sources): State<SharedSources>,
    caller: Caller,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let ParkedMessage { number, message } = find(&sources, &number).await?;
    let running = sources.running.iter().find(|running| running.source.name == message.source);
    let (sender, options) = match running {
        // With the source's rights, by the caller's hand.
        Some(running) => {
            (Sender { actor: caller.actor.clone(), ..running.inbox.sender.clone() }, running.inbox.options)
        }
        None => {
            caller.require(Scope::Publish)?;
            (sources.sender(&caller), message::Options { max_items: sources.max_items, untyped: Default::default() })
        }
    };
    let decoded = message::decode(message.content_type.as_deref(), &message.body, &options)
        .map_err(|unreadable| stays(unreadable.reason(), &unreadable.to_string()))?;
    if decoded.wants_snapshot && !running.or(sources.running.first()).is_some_and(|any| any.inbox.pull_all()) {
        return Err(stays(super::inbox::NOTHING_TO_PULL, NOBODY_PULLS));
    }
    let mut items = decoded.revocations;
    if let Some(running) = running {
        running.inbox.address(&mut items);
    }
    let receipt = sources.intake.revoke(&sender, items).await.map_err(|error| match error {
        // Also what would be 403: it is the source that may not, and not the caller.
        IntakeError::Invalid { index, invalid } => stays(invalid.reason.code(), &invalid.detail).at(index),
        other => other.into(),
    })?;
    forget(&sources, number).await?;
    let count = |wanted| receipt.items.iter().filter(|(_, status)| *status == wanted).count();
    let cursor = receipt.cursor.to_string();
    let answer = json!({
        "number": number,
        "revoked": count(Status::Revoked),
        "unchanged": count(Status::Unchanged),
        "expired": count(Status::Expired),
        "cursor": cursor,
    });
    Ok(([(CURSOR, cursor)], NO_STORE, Json(answer)).into_response())
}

/// `DELETE /v1/parked/{number}`.
pub async fn drop(
    State(sources): State<SharedSources>,
    caller: Caller,
    Path(number): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Admin)?;
    let wanted = number.parse().map_err(|_| nobody(&number))?;
    if !forget(&sources, wanted).await? {
        return Err(nobody(&number));
    }
    Ok((NO_STORE, Json(json!({"number": wanted, "status": "dropped"}))).into_response())
}

fn head(parked: &ParkedHead) -> Value {
    let mut value = json!({
        "number": parked.number,
        "source": parked.source,
        "reason": parked.reason,
        "detail": parked.detail,
        "bytes": parked.bytes,
        "received_at": parked.received_at,
    });
    if let Some(content_type) = &parked.content_type {
        value["content_type"] = content_type.as_str().into();
    }
    value
}

async fn find(sources: &Sources, number: &str) -> Result<ParkedMessage, Problem> {
    let wanted = number.parse().map_err(|_| nobody(number))?;
    sources.parking.parked_one(wanted).await.map_err(away)?.ok_or_else(|| nobody(number))
}

/// Takes it away; whether it was there.
async fn forget(sources: &Sources, number: u64) -> Result<bool, Problem> {
    let was = sources.parking.unpark(number).await.map_err(away)?;
    sources.count_parked().await;
    Ok(was)
}

impl Sources {
    async fn count_parked(&self) {
        if let Ok(count) = self.parking.parked_count().await {
            self.metrics.parked.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

fn nobody(number: &str) -> Problem {
    // What is no number is not repeated.
    let number: String = number.chars().filter(char::is_ascii_digit).take(20).collect();
    Problem::new(Code::NotFound, format!("there is no parked message {number}").trim_end())
}

fn stays(reason: &str, detail: &str) -> Problem {
    Problem::new(Code::StillUnreadable, format!("{reason}: {detail}"))
}

fn away(error: StoreError) -> Problem {
    // What the database says is for the log, not for the network.
    tracing::debug!(%error, "parked messages");
    Problem::new(Code::StoreUnavailable, "the store does not answer; ask again")
}
