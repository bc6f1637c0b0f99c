//! The inbox: what all message sources share between "the broker delivered it" and "it may be acknowledged".
//!
//! **Invariants.**
//! * [`Inbox::take`] returns only when every message is committed, or parked with its bytes, or was our own. Until then
//!   the source acknowledges nothing, so a hub that dies has lost nothing: the broker delivers again, and again changes
//!   nothing.
//! * Messages are committed in the order in which they came.
//! * A message that cannot be read, or that intake refuses, is parked and never stops the others.
//! * While the store is away it waits and tries again; the prefetch limit then holds the broker back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::formats::message;
use crate::intake::{Intake, IntakeError, NewRevocation, NewTarget, Sender};
use crate::link::{Link, State};
use crate::metrics::Metrics;
use crate::revocation::Kind;
use crate::store::StoreError;
use crate::store::parking::{Parked, Parking};

/// The most messages that go into one commit.
pub const MAX_BATCH: usize = 500;

/// A message as a broker delivered it.
#[derive(Clone)]
pub struct Message {
    /// What it says its body is.
    pub content_type: Option<String>,
    /// The body.
    pub body: Bytes,
    /// Whether it was published by an outlet of this log, so that it says nothing new.
    pub own: bool,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Inbox {
    /// The way on.
    pub intake: Intake,
    /// Who sends, and what that sender may do.
    pub sender: Sender,
    /// How to read messages.
    pub options: message::Options,
    /// Where messages go that nobody can read.
    pub parking: Arc<dyn Parking>,
    /// The most messages kept there.
    pub max_parked: usize,
    /// What people see.
    pub link: Arc<Link>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The one clock.
    pub clock: Clock,
    /// What the link does when nothing is wrong.
    pub usual: State,
    /// Ends the waiting.
    pub stop: CancellationToken,
    /// The issuer of tokens that are named without one.
    pub default_issuer: Option<String>,
    /// Is notified when a message asks for the whole list to be pulled (WSO2's batch event without tokens).
    pub pull: Arc<tokio::sync::Notify>,
}

/// The hub is stopping: the messages were not taken, and must not be acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("the hub is stopping")]
pub struct Stopping;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

impl Inbox {
    /// Takes messages in their order; afterwards all of them may be acknowledged.
    pub async fn take(&self, messages: &[Message]) -> Result<(), Stopping> {
        let mut items: Vec<(usize, NewRevocation)> = Vec::new();
        let mut aside: Vec<Parked> = Vec::new();
        let mut own = 0;
        for (at, message) in messages.iter().enumerate() {
            if message.own {
                own += 1;
                continue;
            }
            match message::decode(message.content_type.as_deref(), &message.body, &self.options) {
                Ok(decoded) => {
                    if decoded.wants_snapshot {
                        self.pull.notify_waiters();
                    }
                    items.extend(decoded.revocations.into_iter().map(|r| (at, r)));
                }
                Err(unreadable) => aside.push(self.parked(message, unreadable.reason(), unreadable.to_string())),
            }
        }
        for (_, item) in &mut items {
            self.address(std::slice::from_mut(item));
        }
        self.commit(messages, items, &mut aside).await?;
        self.park(&aside).await?;
        if own > 0 {
            self.link.set_aside(own, "own");
        }
        let taken = (messages.len() - aside.len()) as u64 - own;
        if taken > 0 {
            self.link.delivered(taken, "committed");
        }
        Ok(())
    }

    /// Gives what is named without an issuer the source's own.
    pub fn address(&self, items: &mut [NewRevocation]) {
        let Some(issuer) = &self.default_issuer else { return };
        for item in items {
            if let NewTarget::Named(target) = &mut item.target
                && target.iss.is_none()
                && !matches!(target.kind, Kind::TokenHash | Kind::Signature | Kind::Issuer)
            {
                target.iss = Some(issuer.clone());
            }
        }
    }

    /// Commits what was read already, however long the store is away; what intake refuses is counted and left out.
    pub async fn revoke_patiently(&self, items: Vec<NewRevocation>) -> Result<(), Stopping> {
        let (mut items, mut pause) = (items, FIRST_PAUSE);
        while !items.is_empty() {
            match self.intake.revoke(&self.sender, items.clone()).await {
                Ok(_) => break,
                Err(IntakeError::Invalid { index, invalid }) => {
                    self.link.set_aside(1, invalid.reason.code());
                    items.remove(index);
                }
                Err(IntakeError::Stopping) => return Err(Stopping),
                Err(error) => self.hold(&error.to_string(), &mut pause).await?,
            }
        }
        self.go_on();
        Ok(())
    }

    /// Parks one message if the store takes it now.
    pub async fn park_one(
        &self,
        content_type: &str,
        body: Bytes,
        reason: &str,
        detail: String,
    ) -> Result<(), StoreError> {
        let message = Message { content_type: Some(content_type.to_owned()), body, own: false };
        let parked = self.parked(&message, reason, detail);
        self.link.set_aside(1, reason);
        let dropped = self.parking.park(&[parked], self.max_parked).await?;
        self.metrics.parked_dropped.inc_by(dropped);
        Ok(())
    }

    /// Commits everything; a message that intake refuses goes to `aside` as a whole and the others once more.
    async fn commit(
        &self,
        messages: &[Message],
        mut items: Vec<(usize, NewRevocation)>,
        aside: &mut Vec<Parked>,
    ) -> Result<(), Stopping> {
        let mut pause = FIRST_PAUSE;
        while !items.is_empty() {
            let revocations = items.iter().map(|(_, r)| r.clone()).collect();
            match self.intake.revoke(&self.sender, revocations).await {
                Ok(_) => break,
                Err(IntakeError::Invalid { index, invalid }) => {
                    let at = items[index].0;
                    aside.push(self.parked(&messages[at], invalid.reason.code(), invalid.detail));
                    items.retain(|(of, _)| *of != at);
                }
                Err(IntakeError::Stopping) => return Err(Stopping),
                Err(error) => self.hold(&error.to_string(), &mut pause).await?,
            }
        }
        self.go_on();
        Ok(())
    }

    async fn park(&self, aside: &[Parked]) -> Result<(), Stopping> {
        if aside.is_empty() {
            return Ok(());
        }
        let mut pause = FIRST_PAUSE;
        let dropped = loop {
            match self.parking.park(aside, self.max_parked).await {
                Ok(dropped) => break dropped,
                Err(error) => self.hold(&error.to_string(), &mut pause).await?,
            }
        };
        self.go_on();
        for message in aside {
            self.link.set_aside(1, &message.reason);
            let (source, reason, detail) = (&message.source, &message.reason, &message.detail);
            tracing::warn!(source, reason, detail, "a message was parked; see `revocation-hub parked list`");
        }
        if dropped > 0 {
            self.metrics.parked_dropped.inc_by(dropped);
            tracing::error!(dropped, "more messages are parked than limits.max_parked; the oldest are gone");
        }
        Ok(())
    }

    fn parked(&self, message: &Message, reason: &str, detail: String) -> Parked {
        Parked {
            source: self.sender.name.to_string(),
            reason: reason.to_owned(),
            detail,
            content_type: message.content_type.clone(),
            body: message.body.to_vec(),
            received_at: self.clock.now(),
        }
    }

    /// Waits before the next attempt at a store that does not answer.
    async fn hold(&self, error: &str, pause: &mut Duration) -> Result<(), Stopping> {
        if *pause == FIRST_PAUSE {
            self.link.failed(error);
            self.link.is(State::Holding);
        }
        let jittered = pause.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        *pause = (*pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = self.stop.cancelled() => Err(Stopping),
            () = tokio::time::sleep(jittered) => Ok(()),
        }
    }

    fn go_on(&self) {
        if self.link.report().state == State::Holding {
            self.link.is(self.usual);
        }
    }
}
