//! The native format: `POST /v1/revocations` with one object, an array, or NDJSON, and `DELETE /v1/revocations/{id}`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::SharedSources;
use crate::config::Scope;
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{Lifetime, NewRevocation, NewTarget, Receipt, Status};
use crate::revocation::{Kind, Target};

const CURSOR: HeaderName = HeaderName::from_static("revocation-cursor");

/// `POST /v1/revocations`.
pub fn publish() -> MethodRouter<SharedSources> {
    post(revoke)
}

/// `DELETE /v1/revocations/{id}`.
pub fn unpublish() -> MethodRouter<SharedSources> {
    delete(lift)
}

/// One revocation as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    jti: Option<String>,
    sha256: Option<String>,
    token: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    kid: Option<String>,
    iss: Option<String>,
    exp: Option<i64>,
    ttl: Option<i64>,
    issued_before: Option<i64>,
    reason: Option<String>,
}

impl Item {
    fn translate(self) -> Result<NewRevocation, Problem> {
        let named = [
            (Kind::Token, self.jti),
            (Kind::TokenHash, self.sha256.map(|hex| hex.to_ascii_lowercase())),
            (Kind::Session, self.sid),
            (Kind::Subject, self.sub),
            (Kind::Client, self.client_id),
            (Kind::Key, self.kid),
        ];
        let mut named = named.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
        let target = match (self.token, named.next(), named.next()) {
            (Some(token), None, None) => NewTarget::Raw { token, iss: self.iss },
            (None, Some((Kind::TokenHash, value)), None) => {
                // A digest names one token by itself; an issuer would only make a second name for it.
                NewTarget::Named(Target { kind: Kind::TokenHash, iss: None, value })
            }
            (None, Some((kind, value)), None) => NewTarget::Named(Target { kind, iss: self.iss, value }),
            (None, None, _) => match self.iss {
                Some(iss) => NewTarget::Named(Target { kind: Kind::Issuer, iss: None, value: iss }),
                None => {
                    let detail = "no target: name one of jti, sha256, token, sid, sub, client_id, kid, or iss alone";
                    return Err(Problem::new(Code::InvalidTarget, detail));
                }
            },
            _ => {
                let detail = "more than one target: name one of jti, sha256, token, sid, sub, client_id, kid";
                return Err(Problem::new(Code::InvalidTarget, detail));
            }
        };
        let lifetime = match (self.exp, self.ttl) {
            (Some(_), Some(_)) => return Err(Problem::new(Code::InvalidTime, "give exp or ttl, not both")),
            (Some(exp), None) => Lifetime::Until(exp),
            (None, Some(ttl)) => Lifetime::For(ttl),
            (None, None) => Lifetime::Unsaid,
        };
        Ok(NewRevocation { target, lifetime, issued_before: self.issued_before, reason: self.reason })
    }
}

/// What a body holds.
enum Items {
    One(NewRevocation),
    Many(Vec<NewRevocation>),
}

fn json_error(error: &serde_json::Error) -> Problem {
    // serde_json quotes names of members but no values of strings, so no token gets into the answer.
    let code = if error.is_data() { Code::InvalidItem } else { Code::InvalidJson };
    Problem::new(code, error.to_string())
}

fn item(index: usize, json: &[u8]) -> Result<NewRevocation, Problem> {
    // serde would also take an array for the members in their order.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(Problem::new(Code::InvalidItem, "expected an object").at(index));
    }
    let item: Item = serde_json::from_slice(json).map_err(|e| json_error(&redacted(e)).at(index))?;
    item.translate().map_err(|problem| problem.at(index))
}

/// serde_json quotes values of the wrong type and members it does not know. A token that stands in the wrong place must
/// not come back that way, so only what was expected is told.
fn redacted(error: serde_json::Error) -> serde_json::Error {
    let text = error.to_string();
    // The last one: the value itself may say the same.
    let expected = text.rfind(", expected").map_or("", |at| &text[at..]);
    if error.is_data() && text.starts_with("invalid type") {
        serde::de::Error::custom(format!("a member has the wrong type{expected}"))
    } else if error.is_data() && text.starts_with("unknown field") && text.len() > LONGEST_UNKNOWN {
        serde::de::Error::custom(format!("unknown field{expected}"))
    } else {
        error
    }
}

/// The longest complaint about an unknown member that is passed on: a slip of the pen is short, a token is not.
const LONGEST_UNKNOWN: usize = 200;

fn parse(media_type: &str, bytes: &[u8], max_items: usize) -> Result<Items, Problem> {
    let too_many =
        || Problem::new(Code::TooManyItems, format!("more than {max_items} revocations at once (limits.max_items)"));
    match media_type {
        "application/json" => match bytes.trim_ascii_start().first() {
            Some(b'[') => {
                let raw: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|e| json_error(&e))?;
                if raw.len() > max_items {
                    return Err(too_many());
                }
                let items = raw.iter().enumerate().map(|(index, raw)| item(index, raw.get().as_bytes()));
                Ok(Items::Many(items.collect::<Result<_, _>>()?))
            }
            Some(b'{') => Ok(Items::One(item(0, bytes)?)),
            Some(_) => Err(Problem::new(Code::InvalidJson, "expected an object or an array of objects")),
            None => Err(Problem::new(Code::InvalidJson, "the body is empty")),
        },
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
            let mut items = Vec::new();
            for (index, line) in lines.enumerate() {
                if index == max_items {
                    return Err(too_many());
                }
                items.push(item(index, line)?);
            }
            Ok(Items::Many(items))
        }
        // Also keeps a web page from posting here without the browser asking first.
        other => {
            let detail = format!("{other:?} is not accepted; send application/json or application/x-ndjson");
            Err(Problem::new(Code::UnsupportedMediaType, detail))
        }
    }
}

async fn revoke(
    State(sources): State<SharedSources>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    let media_type = body::media_type(&headers);
    let bytes = body::read(&headers, body, sources.body).await?;
    match parse(&media_type, &bytes, sources.max_items)? {
        Items::One(item) => {
            let receipt = sources.intake.revoke(&sources.sender(&caller), vec![item]).await?;
            Ok(one(&receipt))
        }
        Items::Many(items) => {
            let receipt = sources.intake.revoke(&sources.sender(&caller), items).await?;
            let count = |wanted| receipt.items.iter().filter(|(_, status)| *status == wanted).count();
            let answer = json!({
                "revoked": count(Status::Revoked),
                "unchanged": count(Status::Unchanged),
                "expired": count(Status::Expired),
                "cursor": receipt.cursor.to_string(),
            });
            Ok((StatusCode::OK, [(CURSOR, receipt.cursor.to_string())], Json(answer)).into_response())
        }
    }
}

fn one(receipt: &Receipt) -> Response {
    let (id, status) = receipt.items[0];
    let code = if status == Status::Revoked { StatusCode::CREATED } else { StatusCode::OK };
    let cursor = receipt.cursor.to_string();
    let answer = json!({"id": id.to_string(), "cursor": cursor, "status": status.name()});
    let mut response = (code, [(CURSOR, cursor)], Json(answer)).into_response();
    if code == StatusCode::CREATED {
        let location = format!("/v1/revocations/{id}");
        if let Ok(location) = location.parse() {
            response.headers_mut().insert(axum::http::header::LOCATION, location);
        }
    }
    response
}

async fn lift(
    State(sources): State<SharedSources>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Lift)?;
    let id = id.parse().map_err(|e| Problem::new(Code::NotFound, format!("{e}")))?;
    let receipt = sources.intake.lift(&sources.sender(&caller), id).await?;
    let cursor = receipt.cursor.to_string();
    let answer = json!({"id": id.to_string(), "cursor": cursor, "status": "lifted"});
    Ok((StatusCode::OK, [(CURSOR, cursor)], Json(answer)).into_response())
}
