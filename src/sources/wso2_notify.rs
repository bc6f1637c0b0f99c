//! `POST <base path>/notify`, to which the key managers of WSO2 API Manager 3.2 and later report revocations
//! (carbon-apimgt, `NotifyApiServiceImpl`).
//!
//! The sender decides the manners: it reads no answer and repeats nothing. So an event that intake cannot commit now is
//! kept in memory and tried again after the answer, which is 503 all the same because it is not on disk; one that
//! nobody can read is parked for a person; and of a batch everything that can be revoked is.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::inbox::{NOBODY_PULLS, NOTHING_TO_PULL};
use super::start::{Running, Served};
use crate::config::Scope;
use crate::formats::wso2::{notify as format, translate};
use crate::http::{Caller, Code, Problem, body};
use crate::intake::{Intake, IntakeError, NewRevocation, Sender};

/// How many bytes of events may wait in memory for a store that is away: some 200,000 events of the usual size.
const ROOM: usize = 64 << 20;

/// An event of an outage, and who sent it.
pub struct Waiting {
    sender: Sender,
    items: Vec<NewRevocation>,
    _room: OwnedSemaphorePermit,
}

/// Where events of an outage wait.
pub struct Again {
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

/// A place to wait in, and its other end for [`second_chances`].
pub fn again() -> (Again, mpsc::UnboundedReceiver<Waiting>) {
    let (queue, waiting) = mpsc::unbounded_channel();
    (Again { queue, room: Arc::new(Semaphore::new(ROOM)) }, waiting)
}

impl Again {
    /// Keeps an event of this size; whether there was room.
    fn keep(&self, sender: Sender, items: Vec<NewRevocation>, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes.max(1)).unwrap_or(u32::MAX);
        let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) else { return false };
        self.queue.send(Waiting { sender, items, _room: room }).is_ok()
    }
}

/// `POST <base path>/notify`. The header `X-WSO2-KEY-MANAGER` says nothing that matters: product-apim#11274.
pub async fn notify(
    State(served): State<Served>,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    caller.require(Scope::Publish)?;
    super::refuse_web_pages(&headers)?;
    let bytes = body::read(&headers, body, served.sources.body).await?;
    let inbox = &served.running.inbox;
    let event = match format::decode(&bytes) {
        Ok(event) => event,
        Err(malformed) => {
            let problem = Problem::new(Code::InvalidRequest, malformed.to_string());
            park(&served, bytes, malformed.reason(), malformed.to_string()).await;
            return Err(problem);
        }
    };
    // What of it cannot be used is parked, and must not cost the rest: nobody sends it again.
    let mut aside = (event.wants_snapshot() && !inbox.pull_all())
        .then(|| (NOTHING_TO_PULL, Problem::new(Code::InvalidRequest, NOBODY_PULLS), NOBODY_PULLS.to_owned()));
    let mut items = translate::event(event, served.running.source.untyped);
    inbox.address(&mut items);
    let sender = served.sender(&caller);
    let size = bytes.len();
    items.retain(|item| {
        let Err(invalid) = inbox.intake.foresee(&sender, item.clone()) else { return true };
        let detail = invalid.detail.clone();
        aside.get_or_insert((invalid.reason.code(), IntakeError::Invalid { index: 0, invalid }.into(), detail));
        false
    });
    let committed = commit(&inbox.intake, &sender, items, served.sources.max_items).await;
    if let Some((reason, _, detail)) = &aside {
        park(&served, bytes, reason, detail.clone()).await;
    }
    if let Err(failed) = committed {
        return Err(keep(&served, sender, failed, size));
    }
    match aside {
        Some((_, problem, _)) => Err(problem),
        None => {
            inbox.link.delivered(1, "committed");
            Ok(StatusCode::OK.into_response())
        }
    }
}

/// What could not be committed, and why.
type Failed = (IntakeError, Vec<NewRevocation>);

/// Commits everything, in as many transactions as are needed.
async fn commit(intake: &Intake, sender: &Sender, items: Vec<NewRevocation>, at_once: usize) -> Result<(), Failed> {
    let mut left = items;
    while !left.is_empty() {
        let rest = left.split_off(left.len().min(at_once));
        if let Err(error) = intake.revoke(sender, left.clone()).await {
            left.extend(rest);
            return Err((error, left));
        }
        left = rest;
    }
    Ok(())
}

/// Keeps what could not be committed for later. It is an error all the same: it is not on disk.
fn keep(served: &Served, sender: Sender, (error, items): Failed, size: usize) -> Problem {
    let inbox = &served.running.inbox;
    inbox.link.failed(&error.to_string());
    let kept = served.running.again.as_ref().is_some_and(|again| again.keep(sender, items, size));
    if !kept {
        inbox.link.set_aside(1, "lost");
        tracing::error!(
            source = &*inbox.sender.name,
            "an event was not taken and its sender will not repeat it; compare with the list of its API Manager"
        );
    }
    error.into()
}

async fn park(served: &Served, bytes: Bytes, reason: &str, detail: String) {
    if let Err(error) = served.running.inbox.park_one("application/json", bytes, reason, detail).await {
        tracing::warn!(%error, "a message that could not be used could not be parked either");
    }
}

/// Commits what had to wait, in its order, until `stop`; then whatever a store that answers still takes.
pub async fn second_chances(
    running: Arc<Running>,
    mut waiting: mpsc::UnboundedReceiver<Waiting>,
    stop: CancellationToken,
) {
    let inbox = &running.inbox;
    let mut left = loop {
        let next = tokio::select! {
            biased;
            () = stop.cancelled() => break None,
            next = waiting.recv() => next,
        };
        let Some(event) = next else { break None };
        if inbox.revoke_patiently(&event.sender, event.items.clone()).await.is_err() {
            break Some(event);
        }
        inbox.link.delivered(1, "committed");
    };
    waiting.close();
    while let Some(Waiting { sender, items, _room }) = left.take().or_else(|| waiting.try_recv().ok()) {
        if let Err((error, _)) = commit(&inbox.intake, &sender, items, usize::MAX).await {
            let lost = 1 + waiting.len();
            tracing::error!(
                lost,
                %error,
                "events wait for the store and are lost with this process; their sender will not repeat them"
            );
            break;
        }
        inbox.link.delivered(1, "committed");
    }
    // A task that the hub lives with ends only when the hub does.
    stop.cancelled().await;
}
