//! For those who run the hub: `/livez`, `/readyz`, `/metrics`, `/openapi.json`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Outlets, SharedOutlets};
use crate::ledger::Stats;
use crate::revocation::Kind;

/// The interface as OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("../../openapi/openapi.json");

/// `GET /livez`: the process answers. It says nothing of the store, so that an outage there restarts nothing.
pub async fn livez() -> Response {
    Json(json!({"status": "alive"})).into_response()
}

/// `GET /readyz`: the ledger is loaded and the last successful read of the store is not too old.
pub async fn readyz(State(outlets): State<SharedOutlets>) -> Response {
    let stats = outlets.ledger.stats();
    let no_store = [(header::CACHE_CONTROL, "no-store")];
    match outlets.not_ready(&stats) {
        Some(reason) => {
            let body = Json(json!({"status": "not ready", "reason": reason}));
            (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], no_store, body).into_response()
        }
        None => {
            let lag = (stats.age.unwrap_or_default().as_secs_f64() * 1000.0).round() / 1000.0;
            (no_store, Json(json!({"status": "ready", "head": stats.head, "lag": lag}))).into_response()
        }
    }
}

impl Outlets {
    /// Why a load balancer should rather ask another replica.
    pub(super) fn not_ready(&self, stats: &Stats) -> Option<String> {
        let lag = stats.age.unwrap_or_default();
        if self.stopping.is_cancelled() {
            Some("stopping".to_owned())
        } else if !self.ledger.is_loaded() {
            Some("the list of revocations is not loaded yet".to_owned())
        } else if lag > self.max_lag {
            Some(format!("the store was last read {:.1} s ago", lag.as_secs_f64()))
        } else {
            None
        }
    }
}

/// `GET /metrics`, Prometheus text format 0.0.4.
pub async fn metrics(State(outlets): State<SharedOutlets>) -> Response {
    let (metrics, stats) = (&outlets.metrics, outlets.ledger.stats());
    for (kind, live) in Kind::ALL.into_iter().zip(stats.live) {
        metrics.live_revocations.with_label_values(&[kind.name()]).set(live as i64);
    }
    outlets.measure();
    metrics.tombstones.set(stats.tombstones as i64);
    metrics.head.set(stats.head as i64);
    outlets.blind.look(&stats, metrics);
    metrics.feed_age.set(stats.age.map_or(-1.0, |age| age.as_secs_f64()));
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (content_type, metrics.encode()).into_response()
}

/// `GET /openapi.json`.
pub async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
