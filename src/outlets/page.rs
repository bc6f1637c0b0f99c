//! `GET /`: the status page, and `GET /v1/status`, which has its numbers.
//!
//! The page itself holds nothing of the hub, so it needs no credentials; its script asks the native interface with those of
//! whoever signs in. It needs no build step and nothing from elsewhere, and the policy it comes with allows nothing else.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::SharedOutlets;
use crate::config::Scope;
use crate::http::{Caller, Problem};
use crate::revocation::Kind;

/// Nothing but the page's own two files, and no place in somebody else's frame (CSP Level 3).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn asset(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        // A new version of the hub brings a new page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

/// `GET /`: the page for browsers, where to go from here for everybody else.
pub async fn index(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = if accept.contains("text/html") {
        asset("text/html; charset=utf-8", include_str!("page/page.html"))
    } else {
        asset("text/plain; charset=utf-8", TEXT)
    };
    response.headers_mut().insert(header::VARY, header::HeaderValue::from_static("accept"));
    response
}

const TEXT: &str = concat!(
    "revocation-hub ",
    env!("CARGO_PKG_VERSION"),
    "\n\nPOST /v1/revocations   revoke\nGET  /v1/revocations   everything that is revoked\n",
    "GET  /v1/check         is this token revoked?\nGET  /v1/events        follow it live\n",
    "GET  /v1/status        how the hub does; in a browser, this page shows it\n",
    "GET  /v1/audit         who revoked or lifted what\nGET  /readyz           ready?\nGET  /metrics          Prometheus\nGET  /openapi.json     the whole interface\n"
);

/// `GET /page.css`.
pub async fn style() -> Response {
    asset("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `GET /page.js`.
pub async fn script() -> Response {
    asset("text/javascript; charset=utf-8", include_str!("page/page.js"))
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    ready: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    head: u64,
    live: serde_json::Map<String, serde_json::Value>,
    tombstones: usize,
    streams: i64,
    /// Seconds since the last successful read of the store began.
    #[serde(skip_serializing_if = "Option::is_none")]
    staleness: Option<f64>,
    /// `answers` or `away`.
    store: &'static str,
}

/// `GET /v1/status`: how this replica does.
pub async fn status(State(outlets): State<SharedOutlets>, caller: Caller) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let stats = outlets.ledger.stats();
    let reason = outlets.not_ready(&stats);
    let live =
        Kind::ALL.into_iter().zip(stats.live).map(|(kind, live)| (kind.name().to_owned(), live.into())).collect();
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        ready: reason.is_none(),
        reason,
        epoch: outlets.ledger.cursor().map(|cursor| cursor.epoch.to_string()),
        head: stats.head,
        live,
        tombstones: stats.tombstones,
        streams: outlets.metrics.streams.get(),
        staleness: stats.age.map(|age| (age.as_secs_f64() * 1000.0).round() / 1000.0),
        store: if stats.age.is_some_and(|age| age <= outlets.max_lag) { "answers" } else { "away" },
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(status)).into_response())
}
