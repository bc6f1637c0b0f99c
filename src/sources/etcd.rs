//! The writing half of the etcd v2 keys interface (etcd 3.4, `--enable-v2`), as WSO2's STS uses it: `PUT` and `DELETE` of
//! `/v2/keys/<directory>/<token>`; the documentation's `/v3/keys/…` is served alike. The reading half is
//! [`crate::outlets::etcd`].

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};

use super::inbox::Inbox;
use super::start::Served;
use crate::config::Scope;
use crate::formats::etcd::{self, Answer, Error, Node, State, line};
use crate::formats::wso2::{AppEvent, EntityType, Event, SubjectEvent, TokenEvent, translate};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{IntakeError, Lifetime, NewRevocation, Sender};
use crate::revocation::{Id, Row};

/// The fields of a `PUT`. As in etcd, the first of a name counts and what is not known is left alone.
#[derive(Debug, Default)]
struct Form(Vec<(String, String)>);

impl Form {
    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.trim().parse().ok()
    }
}

/// The longest `ttl` that is taken as it is said; intake refuses what is more than a century.
const LONGEST: u64 = 100 * 365 * 24 * 3600;

/// `PUT /v2/keys/<directory>/<key>`.
pub async fn put(
    Shared(served): Shared<Served>,
    caller: Caller,
    Path(key): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let form = serde_urlencoded::from_bytes(&bytes);
    let form = Form(form.map_err(|_| Problem::new(Code::InvalidRequest, "the body is not a form"))?);
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let ttl = match form.text("ttl") {
        None => None,
        // etcd takes what fits into 64 bits.
        Some(text) => match text.parse::<u64>().ok().filter(|_| digits(text)) {
            None => {
                let headers = etcd::error_headers(served.running.known.cursor().as_ref());
                return Ok((StatusCode::BAD_REQUEST, headers, line(&Error::bad_ttl())).into_response());
            }
            Some(seconds) => i64::try_from(seconds.min(LONGEST)).ok(),
        },
    };
    let mut items = items(&served, &key, &form);
    for item in items.iter_mut().filter(|item| item.lifetime == Lifetime::Unsaid) {
        // Empty is without end for etcd, and ends here with the longest life of a token. 0 is over at once for etcd, and
        // with it would be the revocation of a token that somebody wants dead: here it says nothing.
        if let Some(ttl) = ttl.filter(|ttl| *ttl > 0) {
            item.lifetime = Lifetime::For(ttl);
        }
    }
    let inbox = &served.running.inbox;
    inbox.address(&mut items);
    let sender = served.sender(&caller);
    let failed = |error: IntakeError| {
        inbox.link.failed(&error.to_string());
        Problem::from(error)
    };
    let before = existing(inbox, &sender, &items).await.map_err(failed)?;
    let receipt = inbox.intake.revoke(&sender, items).await.map_err(failed)?;
    inbox.link.delivered(1, "committed");
    let now = inbox.clock.now();
    let path = node_path(&served, &key);
    // What was just written, as it is now.
    let mut after = None;
    for (id, _) in &receipt.items {
        after = after.or(inbox.intake.find(*id).await.map_err(failed)?);
    }
    let node = |row: &Row| Node {
        key: &path,
        state: State::of(row.revocation.exp.seconds(), now),
        modified: row.seq,
        created: row.seq,
    };
    let seq = receipt.cursor.seq;
    let answer = Answer {
        action: "set",
        node: after.as_ref().map_or(Node { key: &path, state: State::Forever, modified: seq, created: seq }, node),
        previous: before.as_ref().map(node),
    };
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, etcd::headers(Some(&receipt.cursor)), line(&answer)).into_response())
}

/// `DELETE /v2/keys/<directory>/<key>`: takes the revocation back.
pub async fn delete(
    Shared(served): Shared<Served>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Lift)?;
    let inbox = &served.running.inbox;
    let mut items = items(&served, &key, &Form::default());
    inbox.address(&mut items);
    let sender = served.sender(&caller);
    let path = node_path(&served, &key);
    let (mut found, mut last) = (None, None);
    for id in ids(inbox, &sender, &items) {
        let Some(row) = inbox.intake.find(id).await?.filter(|row| !row.lifted) else { continue };
        let receipt = inbox.intake.lift(&sender, id).await?;
        (found, last) = (found.or(Some(row)), Some(receipt.cursor));
    }
    let (Some(row), Some(cursor)) = (found, last) else {
        let cursor = served.running.known.cursor();
        let missing = Error::not_found(&path, cursor.as_ref().map_or(0, |cursor| cursor.seq));
        return Ok((StatusCode::NOT_FOUND, etcd::error_headers(cursor.as_ref()), line(&missing)).into_response());
    };
    inbox.link.delivered(1, "committed");
    let state = State::of(row.revocation.exp.seconds(), inbox.clock.now());
    let answer = Answer {
        action: "delete",
        node: Node { key: &path, state: State::Gone, modified: cursor.seq, created: row.seq },
        previous: Some(Node { key: &path, state, modified: row.seq, created: row.seq }),
    };
    Ok((StatusCode::OK, etcd::headers(Some(&cursor)), line(&answer)).into_response())
}

fn node_path(served: &Served, key: &str) -> String {
    let dir = served.running.source.serves().unwrap_or_default();
    format!("{}/{key}", dir.trim_start_matches("/v2/keys"))
}

/// What a key means. Rule events of API Manager 4.3 to 4.6 come with fields of their own; everything else is a token.
fn items(served: &Served, key: &str, form: &Form) -> Vec<NewRevocation> {
    let revocation_time_ms = form.number("revocationTime");
    let event = match (form.text("consumer_key"), form.text("entityId")) {
        (Some(consumer_key), _) => {
            Event::App(AppEvent { consumer_key: consumer_key.to_owned(), revocation_time_ms, ..AppEvent::default() })
        }
        (None, Some(entity_id)) => Event::Subject(SubjectEvent {
            event_id: None,
            tenant_id: None,
            entity_id: entity_id.to_owned(),
            entity_type: form.text("entityType").and_then(EntityType::from_name).unwrap_or(EntityType::User),
            revocation_time_ms,
            organization: None,
        }),
        (None, None) => Event::Token(TokenEvent {
            revoked_token: key.to_owned(),
            expiry_time: form.number("expiryTime"),
            ..TokenEvent::default()
        }),
    };
    translate::event(event, served.running.source.untyped)
}

/// The ids under which intake keeps the items.
fn ids(inbox: &Inbox, sender: &Sender, items: &[NewRevocation]) -> Vec<Id> {
    let each = items.iter().filter_map(|item| inbox.intake.foresee(sender, item.clone()).ok());
    each.map(|(id, _)| id).collect()
}

/// What was there before.
async fn existing(inbox: &Inbox, sender: &Sender, items: &[NewRevocation]) -> Result<Option<Row>, IntakeError> {
    for id in ids(inbox, sender, items) {
        if let Some(row) = inbox.intake.find(id).await?.filter(|row| !row.lifted) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}
