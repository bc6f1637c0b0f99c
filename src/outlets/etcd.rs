//! The reading half of the etcd v2 keys interface, which Microgateway 3 reads at its start: `GET /v2/keys/<directory>/` and
//! `GET /v2/keys/<directory>/<key>`; the documentation's `/v3/keys/…` is served alike. The writing half is
//! [`crate::sources::etcd`].
//!
//! Microgateway reads once and looks at no status, so while the list is not known the connection is closed without a byte,
//! as on the other WSO2 paths. With nothing revoked `nodes` is an empty list, which etcd leaves out and Microgateway misses.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::SharedOutlets;
use crate::clock::Clock;
use crate::config::Scope;
use crate::formats::etcd::{Node, headers};
use crate::formats::wso2::naming::{Generation, Name, name};
use crate::http::server::HangUp;
use crate::http::{Caller, Problem};
use crate::ledger::Rows;
use crate::revocation::token::{self, Token};
use crate::revocation::{Claims, Row};

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
pub async fn list(State(directory): State<Directory>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let ledger = directory.outlets.ledger.clone();
    let Some(cursor) = ledger.cursor() else { return Ok(HangUp.into_response()) };
    let (epoch, head) = (cursor.epoch.clone(), cursor.seq);
    let answer = headers(epoch.as_str(), head);
    let body = Body::from_stream(async_stream::stream! {
        let dir = format!("/{}", directory.name);
        let mut out = format!(r#"{{"action":"get","node":{{"key":"{dir}","dir":true,"nodes":["#).into_bytes();
        let (mut after, mut first) = (0, true);
        loop {
            let Some(Rows { rows, seq, .. }) = ledger.rows(&epoch, after, PAGE) else {
                // Another log: the connection breaks off, so that nobody takes half a list for the whole.
                yield Err(std::io::Error::other("the log has become another one"));
                return;
            };
            let now = directory.clock.now();
            let done = rows.len() < PAGE;
            for row in &rows {
                let Some(text) = text(row) else { continue };
                if !std::mem::take(&mut first) {
                    out.push(b',');
                }
                let key = format!("{dir}/{text}");
                let exp = row.revocation.exp.seconds();
                Node { key: &key, exp, modified: row.seq, created: row.seq }.write(now, &mut out);
            }
            after = seq;
            yield Ok::<_, std::io::Error>(std::mem::take(&mut out));
            if done {
                break;
            }
        }
        yield Ok(format!("],\"modifiedIndex\":{head},\"createdIndex\":{head}}}}}\n").into_bytes());
    });
    Ok((answer, body).into_response())
}

/// `GET /v2/keys/<directory>/<key>`.
pub async fn one(
    State(directory): State<Directory>,
    caller: Caller,
    Path(key): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let ledger = &directory.outlets.ledger;
    let Some(cursor) = ledger.cursor() else { return Ok(HangUp.into_response()) };
    let answer = headers(cursor.epoch.as_str(), cursor.seq);
    let path = format!("/{}/{key}", directory.name);
    let found = ledger.check(&claims(&key)).and_then(|json| serde_json::from_slice::<serde_json::Value>(&json).ok());
    let Some(found) = found else {
        let missing = json!({"errorCode": 100, "message": "Key not found", "cause": path, "index": cursor.seq});
        return Ok((StatusCode::NOT_FOUND, answer, format!("{missing}\n")).into_response());
    };
    let node = Node { key: &path, exp: found["exp"].as_i64(), modified: cursor.seq, created: cursor.seq };
    let mut out = br#"{"action":"get","node":"#.to_vec();
    node.write(directory.clock.now(), &mut out);
    out.extend_from_slice(b"}\n");
    Ok((answer, out).into_response())
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
