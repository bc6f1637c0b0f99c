//! `POST <base path>/notify`, to which the key managers of WSO2 API Manager 3.2 and later report revocations
//! (carbon-apimgt, `NotifyApiServiceImpl`).
//!
//! The sender decides the manners: it reads no answer and repeats nothing. So an event that intake cannot commit now is
//! kept in memory and tried again after the answer, which is 503 all the same because it is not on disk; and one that
//! nobody can read is parked for a person.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::inbox::{NOBODY_PULLS, NOTHING_TO_PULL};
use super::start::{Running, Served};
use crate::config::Scope;
use crate::formats::wso2::{notify as format, translate};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{IntakeError, NewRevocation};

/// How many events may wait in memory for a store that is away.
pub const SECOND_CHANCES: usize = 10_000;

/// The events of an outage.
pub type Waiting = Vec<NewRevocation>;

/// `POST <base path>/notify`. The header `X-WSO2-KEY-MANAGER` says nothing that matters: product-apim#11274.
pub async fn notify(
    State(served): State<Served>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let inbox = &served.running.inbox;
    let event = match format::decode(&bytes) {
        Ok(event) => event,
        Err(malformed) => return Err(park(&served, bytes, malformed.reason(), malformed.to_string()).await),
    };
    if event.wants_snapshot() && !inbox.pull_all() {
        return Err(park(&served, bytes, NOTHING_TO_PULL, NOBODY_PULLS.into()).await);
    }
    let mut items = translate::event(event, served.running.source.untyped);
    if items.is_empty() {
        return Ok(StatusCode::OK.into_response());
    }
    inbox.address(&mut items);
    match inbox.intake.revoke(&served.sender(&caller), items.clone()).await {
        Ok(_) => {
            inbox.link.delivered(1, "committed");
            Ok(StatusCode::OK.into_response())
        }
        Err(IntakeError::Invalid { invalid, .. }) => {
            Err(park(&served, bytes, invalid.reason.code(), invalid.detail).await)
        }
        Err(error) => {
            inbox.link.failed(&error.to_string());
            if let Some(again) = &served.running.again
                && again.try_send(items).is_err()
            {
                inbox.link.set_aside(1, "lost");
                tracing::error!(
                    source = &*inbox.sender.name,
                    "an event was not taken and its sender will not repeat it; compare with the list of its API Manager"
                );
            }
            Err(error.into())
        }
    }
}

async fn park(served: &Served, bytes: Bytes, reason: &str, detail: String) -> Problem {
    let problem = Problem::new(Code::InvalidRequest, detail.clone());
    if let Err(error) = served.running.inbox.park_one("application/json", bytes, reason, detail).await {
        tracing::warn!(%error, "a message that could not be read could not be parked either");
    }
    problem
}

/// Commits what had to wait, in its order, until `stop`.
pub async fn second_chances(running: Arc<Running>, mut waiting: mpsc::Receiver<Waiting>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            next = waiting.recv() => match next {
                None => break,
                Some(items) => {
                    if running.inbox.revoke_patiently(items).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
    let lost = waiting.len();
    if lost > 0 {
        tracing::error!(
            lost,
            "events wait for the store and are lost with this process; their sender will not repeat them"
        );
    }
    // A task that the hub lives with ends only when the hub does.
    stop.cancelled().await;
}
