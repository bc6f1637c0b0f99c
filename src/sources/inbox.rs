//! The inbox: what all message sources share between "the broker delivered it" and "it may be acknowledged".
//!
//! **Invariants.**
//! * [`Inbox::take`] returns only when every message is committed, or parked with its bytes, or was our own. Until then
//!   the source acknowledges nothing, so a hub that dies has lost nothing: the broker delivers again, and again changes
//!   nothing.
//! * Messages are committed in the order in which they came.
//! * A message that cannot be read, or that intake refuses, is parked and never stops the others.
//! * While the store is away it waits and tries again; the prefetch limit then holds the broker back.
//! * Nothing that a message holds can make it wait for ever: what goes to the store at once is bounded.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
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
/// The most revocations in one transaction: a message can hold many, and the store bounds the time. When it does not
/// answer in time the next attempt is half as large, so that a slow one gets there too.
const MAX_ITEMS: usize = 5000;
/// The most bytes that are parked at once, or one message if that is larger.
const MAX_BYTES: usize = 4 << 20;
/// The most that is kept of one message.
const MAX_KEPT: usize = 4 << 20;

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
    /// Is notified when this source has to pull its list. It keeps one permit, so a notice that comes while a list is
    /// being pulled is not lost.
    pub pull: Arc<Notify>,
    /// Those of all sources that pull: notified when a message says that more was revoked than it names (WSO2's batch
    /// event without tokens).
    pub pulls: Arc<[Arc<Notify>]>,
}

/// The hub is stopping: the messages were not taken, and must not be acknowledged.
#[derive(Debug, thiserror::Error)]
#[error("the hub is stopping")]
pub struct Stopping;

/// Why a message is parked that asks for a list nobody pulls.
pub const NOTHING_TO_PULL: &str = "nothing_to_pull";
/// The same for people.
pub const NOBODY_PULLS: &str = "it says that a list has to be pulled, and there is no wso2_snapshot source";

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
                    // Before the acknowledgement; a hub that dies in between pulls at its start.
                    if decoded.wants_snapshot && !self.pull_all() {
                        aside.push(self.parked(message, NOTHING_TO_PULL, NOBODY_PULLS.into()));
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
            self.link.passed_over(own, "own");
        }
        let taken = (messages.len() as u64).saturating_sub(aside.len() as u64 + own);
        if taken > 0 {
            self.link.delivered(taken, "committed");
        }
        Ok(())
    }

    /// Has every list pulled, as soon as its source can; says whether there is any.
    pub fn pull_all(&self) -> bool {
        self.pulls.iter().for_each(|pull| pull.notify_one());
        !self.pulls.is_empty()
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
    pub async fn revoke_patiently(&self, sender: &Sender, items: Vec<NewRevocation>) -> Result<(), Stopping> {
        let (mut items, mut pause) = (items, FIRST_PAUSE);
        while !items.is_empty() {
            match self.intake.revoke(sender, items.clone()).await {
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

    /// Commits everything in order; a message that intake refuses goes to `aside`, once and as a whole.
    async fn commit(
        &self,
        messages: &[Message],
        mut items: Vec<(usize, NewRevocation)>,
        aside: &mut Vec<Parked>,
    ) -> Result<(), Stopping> {
        let (mut pause, mut most) = (FIRST_PAUSE, MAX_ITEMS);
        while !items.is_empty() {
            let at_once = items.len().min(most);
            let revocations = items[..at_once].iter().map(|(_, r)| r.clone()).collect();
            match self.intake.revoke(&self.sender, revocations).await {
                Ok(_) => {
                    items.drain(..at_once);
                    (pause, most) = (FIRST_PAUSE, (most * 2).min(MAX_ITEMS));
                    self.go_on();
                }
                Err(IntakeError::Invalid { index, invalid }) => {
                    let at = items[index].0;
                    aside.push(self.parked(&messages[at], invalid.reason.code(), invalid.detail));
                    items.retain(|(of, _)| *of != at);
                }
                Err(IntakeError::Stopping) => return Err(Stopping),
                Err(error) => {
                    most = (at_once / 2).max(1);
                    self.hold(&error.to_string(), &mut pause).await?;
                }
            }
        }
        Ok(())
    }

    async fn park(&self, mut aside: &[Parked]) -> Result<(), Stopping> {
        let (mut pause, mut most) = (FIRST_PAUSE, MAX_BYTES);
        while !aside.is_empty() {
            let mut bytes = 0;
            let fit = aside.iter().take_while(|message| {
                bytes += message.body.len();
                bytes <= most
            });
            let (some, rest) = aside.split_at(fit.count().max(1));
            match self.parking.park(some, self.max_parked).await {
                Ok(dropped) => {
                    (aside, pause) = (rest, FIRST_PAUSE);
                    self.go_on();
                    self.tell(some, dropped);
                }
                Err(error) => {
                    most /= 2;
                    self.hold(&error.to_string(), &mut pause).await?;
                }
            }
        }
        Ok(())
    }

    fn tell(&self, parked: &[Parked], dropped: u64) {
        for message in parked {
            self.link.set_aside(1, &message.reason);
        }
        // A broker can bring thousands; the first says what kind of trouble it is.
        if let Some(Parked { source, reason, detail, .. }) = parked.first() {
            let count = parked.len();
            tracing::warn!(source, count, reason, detail, "messages were parked; see `revocation-hub parked list`");
        }
        if dropped > 0 {
            self.metrics.parked_dropped.inc_by(dropped);
            tracing::error!(dropped, "more messages are parked than limits.max_parked; the oldest are gone");
        }
    }

    fn parked(&self, message: &Message, reason: &str, mut detail: String) -> Parked {
        let kept = message.body.len().min(MAX_KEPT);
        if kept < message.body.len() {
            detail = format!("only {kept} of {} bytes are kept; {detail}", message.body.len());
        }
        Parked {
            source: self.sender.name.to_string(),
            reason: reason.to_owned(),
            detail,
            content_type: message.content_type.clone(),
            body: message.body[..kept].to_vec(),
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
