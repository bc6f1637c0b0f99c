//! Signed webhooks as credentials: who signs a request with a client's secret is that client. For a sender that can sign but
//! not send an `Authorization` header.
//!
//! The certificate of a connection does not count then. A request that presents a signature and a header is refused: which of
//! the two counts should not be guessed. A repeat of an id (Standard Webhooks) gets the first answer and has no effect.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use parking_lot::RwLock;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::auth::{Authenticator, Caller};
use super::body::{self, BodyBounds};
use super::problem::{Code, Problem};
use crate::clock::Clock;
use crate::config::Client;
use crate::formats::signature::{self, Headers, Key, Style, Unsigned};
use crate::metrics::Metrics;
use crate::store::seen::{Seen, SeenId};

/// A client that signs.
struct Signer {
    caller: Caller,
    style: Style,
    keys: Vec<Key>,
    /// Seconds.
    tolerance: i64,
}

/// All clients that sign.
pub struct Webhooks {
    signers: RwLock<Arc<[Arc<Signer>]>>,
    seen: Arc<dyn Seen>,
    body: BodyBounds,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// An answer as it is kept for a repeat.
#[derive(Serialize, Deserialize)]
struct Answer {
    status: u16,
    body: Value,
}

/// Where signed webhooks are taken.
const PATH: &str = "/v1/revocations";

/// Answers are small; a larger one is not kept, and its repeat has no effect by itself.
const MAX_ANSWER: usize = 4096;

impl Webhooks {
    /// The clients that sign, of the configured ones; `clients` and their callers are in the same order. Secrets have been
    /// checked with the configuration.
    pub fn new(
        clients: &[Client],
        seen: Arc<dyn Seen>,
        body: BodyBounds,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self { signers: RwLock::new(Self::signers(clients)), seen, body, clock, metrics })
    }

    /// From here on these are the clients.
    pub fn renew(&self, clients: &[Client]) {
        *self.signers.write() = Self::signers(clients);
    }

    fn signers(clients: &[Client]) -> Arc<[Arc<Signer>]> {
        let signer = |client: &Client| {
            let webhook = client.webhook.as_ref()?;
            let keys = webhook.keys().filter_map(|text| Key::read(webhook.style, text).ok()).collect();
            let tolerance = i64::try_from(webhook.tolerance.as_secs()).unwrap_or(i64::MAX);
            Some(Arc::new(Signer { caller: Authenticator::caller(client), style: webhook.style, keys, tolerance }))
        };
        clients.iter().filter_map(signer).collect()
    }

    /// The style in which a request is signed, if it is in one that a client uses.
    fn style(&self, headers: &HeaderMap) -> Option<Style> {
        self.signers.read().iter().map(|signer| signer.style).find(|style| headers.contains_key(style.header()))
    }

    fn signer(&self, style: Style, headers: &HeaderMap, body: &[u8]) -> Result<Arc<Signer>, Unsigned> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let presented = Headers {
            signature: text(style.header()).unwrap_or_default(),
            id: text("webhook-id"),
            timestamp: text("webhook-timestamp"),
        };
        let now = self.clock.now();
        let mut why = Unsigned::Wrong;
        let signers = self.signers.read().clone();
        for signer in signers.iter().filter(|signer| signer.style == style) {
            match signature::verify(style, &signer.keys, presented, body, now, signer.tolerance) {
                Ok(()) => return Ok(signer.clone()),
                Err(error) => why = error,
            }
        }
        Err(why)
    }
}

/// Signs the sender of a signed request in, and lets everything else through as it is.
pub async fn sign_in(State(webhooks): State<Arc<Webhooks>>, request: Request, next: Next) -> Response {
    let takes = request.method() == Method::POST && request.uri().path() == PATH;
    let style = if takes { webhooks.style(request.headers()) } else { None };
    let Some(style) = style else { return next.run(request).await };
    let (outcome, response) = handle(&webhooks, style, request, next)
        .await
        .unwrap_or_else(|Refused(outcome, problem)| (outcome, problem.into_response()));
    webhooks.metrics.webhooks.with_label_values(&[style.name(), outcome]).inc();
    response
}

/// Why nothing was handed on: the outcome for metrics, and the answer.
struct Refused(&'static str, Problem);

/// The answer, and the outcome for metrics.
async fn handle(
    webhooks: &Webhooks,
    style: Style,
    request: Request,
    next: Next,
) -> Result<(&'static str, Response), Refused> {
    if request.headers().contains_key(header::AUTHORIZATION) {
        let detail = "the request has a signature and an Authorization header; send one of them";
        return Err(Refused("two_credentials", Problem::new(Code::InvalidRequest, detail)));
    }
    let (parts, incoming) = request.into_parts();
    let bytes = body::read(&parts.headers, incoming, webhooks.body).await;
    let bytes = bytes.map_err(|problem| Refused("unreadable", problem))?;
    let signer = webhooks
        .signer(style, &parts.headers, &bytes)
        .map_err(|why| Refused(why.reason(), Problem::new(Code::Unauthorized, why.to_string())))?;
    let now = webhooks.clock.now();
    // Only this style signs its id; another's could be changed at will.
    let id = parts.headers.get("webhook-id").and_then(|id| id.to_str().ok()).filter(|_| style == Style::Standard);
    let id = id.map(|id| SeenId::of(&format!("webhook {}", signer.caller.name), id));
    if let Some(id) = id {
        let away = "the store does not answer; send it again";
        let unavailable = |_| Refused("failed", Problem::new(Code::StoreUnavailable, away));
        if let Some(first) = webhooks.seen.seen(id, now).await.map_err(unavailable)? {
            let first: Option<Answer> = serde_json::from_str(&first).ok();
            let again = match first {
                Some(first) => {
                    let status = StatusCode::from_u16(first.status).unwrap_or(StatusCode::OK);
                    (status, Json(first.body)).into_response()
                }
                None => StatusCode::OK.into_response(),
            };
            return Ok(("repeated", again));
        }
    }
    let mut request = Request::from_parts(parts, Body::from(bytes));
    request.extensions_mut().insert(signer.caller.clone());
    let response = next.run(request).await;
    let outcome = match response.status() {
        status if status.is_success() => "accepted",
        status if status.is_server_error() => "failed",
        _ => "refused",
    };
    let (Some(id), "accepted") = (id, outcome) else { return Ok((outcome, response)) };
    let (parts, answered) = response.into_parts();
    let answered: Bytes = answered.collect().await.map(|all| all.to_bytes()).unwrap_or_default();
    let kept = match serde_json::from_slice(&answered) {
        Ok(body) if answered.len() <= MAX_ANSWER => {
            serde_json::to_string(&Answer { status: parts.status.as_u16(), body }).unwrap_or_default()
        }
        _ => String::new(),
    };
    // Its revocations are committed. A repeat that is let through because this fails changes nothing.
    if let Err(error) = webhooks.seen.remember(id, &kept, now.saturating_add(2 * signer.tolerance + 1)).await {
        tracing::debug!(%error, "cannot remember the id of a webhook");
    }
    Ok((outcome, Response::from_parts(parts, Body::from(answered))))
}
