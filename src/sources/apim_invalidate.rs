//! The token-invalidation operation of an Azure API Management set-up: `POST /shared/security/invalidate`.

use axum::Router;
use axum::routing::post;

use super::start::Served;
use crate::http::{Code, Problem};

/// Its routes. Callers are not signed in yet.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(|| async { Problem::new(Code::NotFound, "not built yet") })).with_state(served)
}
