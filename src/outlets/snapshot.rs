//! `GET /v1/revocations` (all, or what changed since a cursor) and `GET /v1/revocations/{id}`.

use axum::extract::{Extension, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::list::{Step, body};
use super::{CURSOR, Outlets, SharedOutlets, Standing};
use crate::config::Scope;
use crate::http::flow::Flow;
use crate::http::{Caller, Code, Problem, negotiate};
use crate::ledger::Shape;
use crate::revocation::{Cursor, Id};

/// The query of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListQuery {
    since: Option<String>,
}

/// `GET /v1/revocations`.
pub async fn list(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    flow: Option<Extension<Flow>>,
    headers: HeaderMap,
    query: Result<Query<ListQuery>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let Query(query) = query?;
    let since = match query.since {
        Some(text) => {
            let cursor: Cursor = text.parse().map_err(|e| Problem::new(Code::InvalidCursor, format!("{e}")))?;
            match outlets.place(&cursor).await? {
                Standing::At(seq) => Some(seq),
                Standing::Reset(_) => {
                    let detail = "the cursor belongs to another incarnation of the log; load the list without since";
                    return Err(Problem::new(Code::CursorReset, detail));
                }
            }
        }
        None => None,
    };
    let flow = flow.map(|Extension(flow)| flow).unwrap_or_default();
    respond(&outlets, &caller, &headers, since, flow)
}

fn respond(
    outlets: &Outlets,
    caller: &Caller,
    headers: &HeaderMap,
    since: Option<u64>,
    flow: Flow,
) -> Result<Response, Problem> {
    let view = outlets.ledger.view(since.unwrap_or(0)).ok_or_else(Problem::not_loaded)?;
    let (coding, ndjson) = (negotiate::coding(headers), negotiate::wants_ndjson(headers));
    let cursor = view.cursor.to_string();
    // Entries leave in the order of their expiry, so at one cursor their number tells which are left. Weak, because the
    // same list has several codings.
    let since_tag = since.map_or(String::new(), |seq| format!("-s{seq}"));
    let etag = format!("W/\"{cursor}-{}{since_tag}{}\"", view.live, if ndjson { "-n" } else { "" });
    let unchanged = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok());
    let unchanged = unchanged.flat_map(|v| v.split(',')).any(|tag| tag.trim() == etag || tag.trim() == "*");
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let steps = match (ndjson, since.is_some()) {
            (true, false) => vec![Step::List(Shape::Ndjson)],
            (true, true) => vec![Step::List(Shape::Ndjson), Step::List(Shape::LiftedNdjson)],
            (false, false) => vec![
                Step::Text(format!(r#"{{"cursor":"{cursor}","revocations":["#)),
                Step::List(Shape::Json),
                Step::Text("]}\n".into()),
            ],
            (false, true) => vec![
                Step::Text(format!(r#"{{"cursor":"{cursor}","revocations":["#)),
                Step::List(Shape::Json),
                Step::Text(r#"],"lifted":["#.into()),
                Step::List(Shape::LiftedJson),
                Step::Text("]}\n".into()),
            ],
        };
        let load = outlets.load(caller, since.unwrap_or(0), &flow)?;
        let mut response = Response::new(body(view, steps, coding, load, flow));
        let content_type = if ndjson { "application/x-ndjson" } else { "application/json" };
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(name) = coding.name() {
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
        }
        response
    };
    let own = response.headers_mut();
    own.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [(header::ETAG, etag), (CURSOR, cursor)] {
        if let Ok(value) = HeaderValue::try_from(value) {
            own.insert(name, value);
        }
    }
    Ok(response)
}

/// `GET /v1/revocations/{id}`.
pub async fn one(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let id: Id = id.parse().map_err(|e| Problem::new(Code::NotFound, format!("{e}")))?;
    let cursor = outlets.cursor()?;
    let found = outlets.ledger.get(id);
    let json = found.ok_or_else(|| Problem::new(Code::NotFound, format!("there is no live revocation {id}")))?;
    let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (CURSOR, cursor.to_string())];
    Ok((headers, json).into_response())
}
