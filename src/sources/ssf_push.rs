//! Security Event Tokens by push (RFC 8935): `POST /ssf/events`.

use axum::Router;
use axum::routing::post;

use super::start::Served;
use crate::http::{Code, Problem};

/// Its routes. Callers are not signed in yet.
pub fn routes(served: Served) -> Router {
    let path = served.running.source.serves().unwrap_or_default();
    Router::new().route(&path, post(|| async { Problem::new(Code::NotFound, "not built yet") })).with_state(served)
}
