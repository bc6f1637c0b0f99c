//! The reading half of the etcd v2 keys interface, which Microgateway 3 reads at its start: `GET /v2/keys/<directory>/` and
//! `GET /v2/keys/<directory>/<key>`; the documentation's `/v3/keys/…` is served alike. The writing half is
//! [`crate::sources::etcd`].
//!
//! Microgateway reads once and looks at no status, so while the list is not known the connection is closed without a byte,
//! as on the other WSO2 paths. With nothing revoked `nodes` is an empty list, which etcd leaves out and Microgateway misses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, Path, State as Shared};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::SharedOutlets;
use super::blind::Reader;
use crate::clock::Clock;
use crate::config::Scope;
use crate::formats::etcd::{Answer, Error, Node, State, error_headers, headers, line};
use crate::formats::wso2::naming::{Generation, Name, name};
use crate::http::flow::Flow;
use crate::http::server::HangUp;
use crate::http::{Caller, Problem};
use crate::ledger::{Ledger, Rows};
use crate::revocation::token::{self, Token};
use crate::revocation::{Claims, Cursor, Epoch, Row};

/// Rows put into one piece of the body.
const PAGE: usize = 4096;

/// What a directory needs.
#[derive(Clone)]
pub struct Directory {
    /// What all outlets share.
    pub outlets: SharedOutlets,
    /// Its name.
    pub name: Arc<str>,
    /// For the time that is left.
    pub clock: Clock,
}

/// `GET /v2/keys/<directory>`: all tokens that WSO2 gateways can know by a text.
pub async fn list(
    Shared(directory): Shared<Directory>,
    caller: Caller,
    flow: Option<Extension<Flow>>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let ledger = directory.outlets.ledger.clone();
    let Some(cursor) = ledger.cursor() else { return Ok(HangUp.into_response()) };
    directory.outlets.blind.reads(Reader::Etcd, &ledger.stats(), &directory.outlets.metrics);
    let load = directory.outlets.load(&caller, 0, &flow.map(|Extension(flow)| flow).unwrap_or_default())?;
    let answer = headers(Some(&cursor));
    let Cursor { epoch, seq: head } = cursor;
    let body = Body::from_stream(async_stream::stream! {
        let _load = load;
        let dir = format!("/{}", directory.name);
        yield Ok(format!(r#"{{"action":"get","node":{{"key":"{dir}","dir":true,"nodes":["#).into_bytes());
        let (mut after, mut first) = (0, true);
        loop {
            let (ledger, epoch, clock, dir) = (ledger.clone(), epoch.clone(), directory.clock.clone(), dir.clone());
            // Reading back thousands of entries takes a few milliseconds, which others should not wait for.
            let page = tokio::task::spawn_blocking(move || page(&ledger, &epoch, after, &clock, &dir)).await;
            let Ok(Some((nodes, seq, last))) = page else {
                // Another log: the connection breaks off, so that nobody takes half a list for the whole.
                yield Err(std::io::Error::other("the log has become another one"));
                return;
            };
            // Each node begins with a comma.
            let skip = usize::from(first && !nodes.is_empty());
            first = first && nodes.is_empty();
            yield Ok::<_, std::io::Error>(nodes[skip..].to_vec());
            after = seq;
            if last {
                break;
            }
        }
        yield Ok(format!("],\"modifiedIndex\":{head},\"createdIndex\":{head}}}}}\n").into_bytes());
    });
    Ok((answer, body).into_response())
}

/// Some nodes, each after a comma; where the list stands with them; and whether they are the last.
fn page(ledger: &Ledger, epoch: &Epoch, after: u64, clock: &Clock, dir: &str) -> Option<(Vec<u8>, u64, bool)> {
    let Rows { rows, seq, .. } = ledger.listed(epoch, after, PAGE)?;
    let (now, mut out) = (clock.now(), Vec::new());
    for row in &rows {
        let Some(text) = text(row) else { continue };
        let key = format!("{dir}/{text}");
        let state = State::of(row.revocation.exp.seconds(), now);
        out.push(b',');
        let node = Node { key: &key, state, modified: row.seq, created: row.seq };
        serde_json::to_writer(&mut out, &node).expect("text and numbers are JSON");
    }
    Some((out, seq, rows.len() < PAGE))
}

/// `GET /v2/keys/<directory>/<key>`.
pub async fn one(
    Shared(directory): Shared<Directory>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let ledger = &directory.outlets.ledger;
    let Some(cursor) = ledger.cursor() else { return Ok(HangUp.into_response()) };
    let path = format!("/{}/{key}", directory.name);
    let found = ledger.check(&claims(&key)).and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    let head = cursor.seq;
    let Some(found) = found else {
        let missing = line(&Error::not_found(&path, head));
        return Ok((StatusCode::NOT_FOUND, error_headers(Some(&cursor)), missing).into_response());
    };
    let state = State::of(found["exp"].as_i64(), directory.clock.now());
    let node = Node { key: &path, state, modified: head, created: head };
    Ok((headers(Some(&cursor)), line(&Answer { action: "get", node, previous: None })).into_response())
}

/// The text by which gateways know the token of a row, if they can.
fn text(row: &Row) -> Option<&str> {
    let revocation = &row.revocation;
    if row.lifted {
        return None;
    }
    match name(Generation::Jti, revocation.target.kind, revocation.wso2_key.as_deref())? {
        Name::Kept(text) => Some(text),
        Name::Value => Some(&revocation.target.value),
    }
}

/// Everything that a key may be.
fn claims(key: &str) -> Claims {
    match token::read(key) {
        Ok(Token::Jwt(jwt)) => Claims { sub: None, sid: None, client_id: None, kid: None, ..jwt.claims },
        Ok(Token::Opaque { sha256 }) => {
            Claims { jti: Some(key.into()), sig: Some(key.into()), sha256: Some(sha256), ..Claims::default() }
        }
        Err(_) => Claims { jti: Some(key.into()), ..Claims::default() },
    }
}
