//! `GET /v1/outlets`: what the configured outlets do at the moment, on this replica.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Outlets, SharedOutlets};
use crate::config::Scope;
use crate::http::{Caller, Problem};

/// `GET /v1/outlets`.
pub async fn list(State(outlets): State<SharedOutlets>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    outlets.measure();
    let reports: Vec<_> = outlets.links.iter().map(|link| link.report()).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({"outlets": reports}))).into_response())
}

impl Outlets {
    /// Brings the lag of all outlets that send up to date. One that cannot send does not do it by itself.
    pub(super) fn measure(&self) {
        let head = self.ledger.stats().head;
        self.links.iter().for_each(|link| link.measure(head));
    }
}
