//! The writing half of the etcd v2 keys interface (etcd 3.4, `--enable-v2`), as WSO2's STS uses it: `PUT` and `DELETE` of
//! `/v2/keys/<directory>/<token>`; the documentation's `/v3/keys/…` is served alike. The reading half is
//! [`crate::outlets::etcd`].

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::start::Served;
use crate::config::Scope;
use crate::formats::etcd::{Node, headers};
use crate::formats::wso2::{AppEvent, EntityType, Event, SubjectEvent, TokenEvent, translate};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{Lifetime, NewRevocation, NewTarget};
use crate::revocation::token::{self, Token};
use crate::revocation::{Id, Kind};

/// The form of a `PUT`. etcd ignores what it does not know, and so do we.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Form {
    ttl: Option<String>,
    #[serde(rename = "expiryTime")]
    expiry_time: Option<String>,
    consumer_key: Option<String>,
    #[serde(rename = "entityId")]
    entity_id: Option<String>,
    #[serde(rename = "entityType")]
    entity_type: Option<String>,
    #[serde(rename = "revocationTime")]
    revocation_time: Option<String>,
}

/// `PUT /v2/keys/<directory>/<key>`.
pub async fn put(
    State(served): State<Served>,
    caller: Caller,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let form: Form = serde_urlencoded::from_bytes(&bytes)
        .map_err(|_| Problem::new(Code::InvalidRequest, "the body is not a form with each field once"))?;
    // Empty is without end for etcd. Ours end all the same, with the longest life of a token.
    let ttl = match form.ttl.as_deref().filter(|text| !text.is_empty()).map(str::parse::<u32>) {
        Some(Err(_)) => return Ok(not_a_number()),
        Some(Ok(seconds)) => Some(i64::from(seconds)),
        None => None,
    };
    let mut items = items(&served, &key, &form);
    for item in items.iter_mut().filter(|item| item.lifetime == Lifetime::Unsaid) {
        // etcd would forget a ttl of 0 at once, and with it a token that somebody wanted dead.
        if let Some(ttl) = ttl.filter(|ttl| *ttl > 0) {
            item.lifetime = Lifetime::For(ttl);
        }
    }
    let inbox = &served.running.inbox;
    inbox.address(&mut items);
    let before = existing(&served, &items).await?;
    let receipt = inbox.intake.revoke(&served.sender(&caller), items).await.map_err(|error| {
        inbox.link.failed(&error.to_string());
        Problem::from(error)
    })?;
    inbox.link.delivered(1, "committed");
    let now = inbox.clock.now();
    let path = node_path(&served, &key);
    // What was just written, as it is now.
    let mut after = None;
    for (id, _) in &receipt.items {
        after = after.or(inbox.intake.find(*id).await?);
    }
    let node = after.map_or_else(
        || Node { key: &path, exp: None, modified: receipt.cursor.seq, created: receipt.cursor.seq },
        |row| Node { key: &path, exp: row.revocation.exp.seconds(), modified: row.seq, created: row.seq },
    );
    let mut answer = json!({"action": "set", "node": node.json(now)});
    if let Some(row) = &before {
        let previous = Node { key: &path, exp: row.revocation.exp.seconds(), modified: row.seq, created: row.seq };
        answer["prevNode"] = previous.json(now);
    }
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(respond(status, receipt.cursor.epoch.as_str(), receipt.cursor.seq, &answer))
}

/// `DELETE /v2/keys/<directory>/<key>`: takes the revocation back.
pub async fn delete(
    State(served): State<Served>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Lift)?;
    let mut items = items(&served, &key, &Form::default());
    let inbox = &served.running.inbox;
    inbox.address(&mut items);
    let path = node_path(&served, &key);
    let (mut found, mut last) = (None, None);
    for id in items.iter().filter_map(id) {
        let Some(row) = inbox.intake.find(id).await?.filter(|row| !row.lifted) else { continue };
        let receipt = inbox.intake.lift(&served.sender(&caller), id).await?;
        (found, last) = (found.or(Some(row)), Some(receipt.cursor));
    }
    let (Some(row), Some(cursor)) = (found, last) else {
        let answer = json!({"errorCode": 100, "message": "Key not found", "cause": path, "index": 0});
        return Ok((StatusCode::NOT_FOUND, headers("", 0), line(&answer)).into_response());
    };
    let previous = Node { key: &path, exp: row.revocation.exp.seconds(), modified: row.seq, created: row.seq };
    let answer = json!({
        "action": "delete",
        "node": {"key": path, "modifiedIndex": cursor.seq, "createdIndex": row.seq},
        "prevNode": previous.json(inbox.clock.now()),
    });
    Ok(respond(StatusCode::OK, cursor.epoch.as_str(), cursor.seq, &answer))
}

fn node_path(served: &Served, key: &str) -> String {
    let dir = served.running.source.serves().unwrap_or_default();
    format!("{}/{key}", dir.trim_start_matches("/v2/keys"))
}

/// What a key means. Rule events of API Manager 4.3 to 4.6 come with fields of their own; everything else is a token.
fn items(served: &Served, key: &str, form: &Form) -> Vec<NewRevocation> {
    let number = |text: &Option<String>| text.as_deref().and_then(|text| text.trim().parse::<i64>().ok());
    let revocation_time_ms = number(&form.revocation_time);
    let event = match (&form.consumer_key, &form.entity_id) {
        (Some(consumer_key), _) => {
            Event::App(AppEvent { consumer_key: consumer_key.clone(), revocation_time_ms, ..AppEvent::default() })
        }
        (None, Some(entity_id)) => Event::Subject(SubjectEvent {
            event_id: None,
            tenant_id: None,
            entity_id: entity_id.clone(),
            entity_type: form.entity_type.as_deref().and_then(EntityType::from_name).unwrap_or(EntityType::User),
            revocation_time_ms,
            organization: None,
        }),
        (None, None) => Event::Token(TokenEvent {
            revoked_token: key.to_owned(),
            expiry_time: number(&form.expiry_time),
            ..TokenEvent::default()
        }),
    };
    translate::event(event, served.running.source.untyped)
}

/// The id under which intake will keep an item.
fn id(item: &NewRevocation) -> Option<Id> {
    match &item.target {
        NewTarget::Named(target) => Some(target.id()),
        NewTarget::Raw { token, .. } => match token::read(token).ok()? {
            Token::Opaque { sha256 } => Some(Id::of(Kind::TokenHash, None, &sha256)),
            Token::Jwt(jwt) => match (jwt.claims.jti, jwt.claims.sha256) {
                (Some(jti), _) => Some(Id::of(Kind::Token, jwt.claims.iss.flatten().as_deref(), &jti)),
                (None, Some(sha256)) => Some(Id::of(Kind::TokenHash, None, &sha256)),
                (None, None) => None,
            },
        },
    }
}

async fn existing(served: &Served, items: &[NewRevocation]) -> Result<Option<crate::revocation::Row>, Problem> {
    for id in items.iter().filter_map(id) {
        if let Some(row) = served.running.inbox.intake.find(id).await?.filter(|row| !row.lifted) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

fn not_a_number() -> Response {
    let answer = json!({
        "errorCode": 202,
        "message": "The given TTL in POST form is not a number",
        "cause": "invalid value for \"ttl\"",
        "index": 0,
    });
    (StatusCode::BAD_REQUEST, headers("", 0), line(&answer)).into_response()
}

fn respond(status: StatusCode, epoch: &str, index: u64, answer: &Value) -> Response {
    (status, headers(epoch, index), line(answer)).into_response()
}

fn line(answer: &Value) -> String {
    format!("{answer}\n")
}
