//! The native format: `POST /v1/revocations` with one object, an array, or NDJSON, and `DELETE /v1/revocations/{id}`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, post};
use serde_json::json;

use super::SharedSources;
use crate::config::Scope;
use crate::formats::native::{self, Fault, Items, Refusal};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{Receipt, Status};

const CURSOR: HeaderName = HeaderName::from_static("revocation-cursor");

/// `POST /v1/revocations`.
pub fn publish() -> MethodRouter<SharedSources> {
    post(revoke)
}

/// `DELETE /v1/revocations/{id}`.
pub fn unpublish() -> MethodRouter<SharedSources> {
    delete(lift)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal.fault {
            Fault::Json => Code::InvalidJson,
            Fault::Item => Code::InvalidItem,
            Fault::Target => Code::InvalidTarget,
            Fault::Time => Code::InvalidTime,
            Fault::TooMany => Code::TooManyItems,
        };
        let problem = Problem::new(code, refusal.detail);
        match refusal.index {
            Some(index) => problem.at(index),
            None => problem,
        }
    }
}

fn parse(media_type: &str, bytes: &[u8], max_items: usize) -> Result<Items, Problem> {
    match media_type {
        "application/json" => Ok(native::json(bytes, max_items)?),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Ok(native::ndjson(bytes, max_items)?),
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
