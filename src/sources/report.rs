//! `GET /v1/sources`: what the configured sources do at the moment.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::SharedSources;
use crate::config::Scope;
use crate::http::{Caller, Problem};

/// `GET /v1/sources`. The native interface is not among them: who asks has reached it.
pub async fn list(State(sources): State<SharedSources>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let reports: Vec<_> = sources.running.iter().map(|running| running.inbox.link.report()).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({"sources": reports}))).into_response())
}
