//! Intake: the one way into the store.
//!
//! **Pattern.** A source hands over [`NewRevocation`]s; intake checks them, bounds them, derives the target from a raw
//! token, stamps the sender's defaults, and *group-commits*: whatever arrives while one commit is running goes into the
//! next one. Each sender is answered after the commit that holds its revocations.
//!
//! **Concurrency.** Any number of senders, one committer task with a bounded queue. A request is never split: it is in
//! one transaction or not there at all.
//!
//! **Invariants.**
//! * A success is given only after [`Store::append`] returned. When the outcome is not known the answer is an error; the
//!   sender asks again, and asking again changes nothing.
//! * One bad item refuses the whole request and nothing of it is stored.
//! * What changes something is recorded with whoever asked, in the same transaction (see [`crate::store::audit`]).
//! * No raw token goes further than intake's validation: not into the store, not into a log.
//! * By the time of the answer the feed has normally taken the commit in, so that a sender can read what it wrote.

mod committer;
mod validate;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

pub use committer::{Committed, Committer};
pub use validate::{Invalid, Reason, taken_before};

use crate::actor::Actor;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::revocation::{Cursor, Id, Row, Target};
use crate::store::{Change, Outcome, Store, StoreError};

/// What a source wants revoked, before anything of it was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRevocation {
    /// What is to be revoked.
    pub target: NewTarget,
    /// When the last token it can hit expires.
    pub lifetime: Lifetime,
    /// For subject, client and issuer: hit what was issued before this second.
    pub issued_before: Option<i64>,
    /// Free text for people.
    pub reason: Option<String>,
}

/// A target as a source names it.
#[derive(Clone, PartialEq, Eq)]
pub enum NewTarget {
    /// Named by the source.
    Named(Target),
    /// To be derived from the token itself. `iss` is only for a token that does not say its own.
    Raw {
        /// The token as received: a credential.
        token: String,
        /// The issuer, if the source named one.
        iss: Option<String>,
    },
}

impl std::fmt::Debug for NewTarget {
    /// Never shows the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NewTarget::Named(target) => target.fmt(f),
            NewTarget::Raw { iss, .. } => f.debug_struct("Raw").field("iss", iss).finish_non_exhaustive(),
        }
    }
}

/// How a source says when a revocation is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// At this NumericDate second.
    Until(i64),
    /// So many seconds from now.
    For(i64),
    /// The token was declared unlimited; kept until lifted.
    Unlimited,
    /// The source did not say: from the token, else the sender's maximum.
    Unsaid,
}

/// Who sends, and what that sender may do.
#[derive(Clone, Debug)]
pub struct Sender {
    /// The name that revocations carry as their `source`.
    pub name: Arc<str>,
    /// Whether it may revoke more than one token at a time.
    pub may_rules: bool,
    /// The issuers it is bound to, if it is.
    pub issuers: Option<Arc<[String]>>,
    /// Keep the text of opaque tokens for WSO2 gateways, which compare the text.
    pub keep_opaque: bool,
    /// Keep the signature segment of a JWT with `jti` too, for gateways of WSO2 3.0 and 3.1.
    pub keep_signature: bool,
    /// How long its tokens live at the most, seconds.
    pub max_token_lifetime: i64,
    /// Who asks, for the audit.
    pub actor: Arc<Actor>,
}

impl Sender {
    /// Its name in metrics: one of those that the configuration knows. The names of callers that sign in with a token are as
    /// many as the issuer likes; they go by its name.
    fn label(&self) -> &str {
        match (&self.actor.client, &self.actor.issuer) {
            (Some(client), Some(issuer)) if *client == self.name => issuer,
            _ => &self.name,
        }
    }
}

/// What became of one revocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// New, or wider than before.
    Revoked,
    /// Known already.
    Unchanged,
    /// It can no longer hit anything; not stored.
    Expired,
}

impl Status {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Status::Revoked => "revoked",
            Status::Unchanged => "unchanged",
            Status::Expired => "expired",
        }
    }
}

/// The answer to a request, after the commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Everything of the request is at or before this cursor.
    pub cursor: Cursor,
    /// Id and outcome of each item, in the order of the request.
    pub items: Vec<(Id, Status)>,
}

/// Why a request was refused.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// An item is wrong; nothing was stored.
    #[error("item {index}: {invalid}")]
    Invalid {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        invalid: Invalid,
    },
    /// There is no live revocation of this id.
    #[error("there is no live revocation {0}")]
    NotFound(Id),
    /// More is waiting than can be committed in time; nothing was stored.
    #[error("more revocations are waiting than can be committed in time")]
    Busy,
    /// The store did not confirm the commit.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The hub is stopping; nothing was stored.
    #[error("the hub is stopping")]
    Stopping,
}

/// Bounds of what is accepted.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one `jti`, `sub`, `iss`, ….
    pub max_text: usize,
    /// Bytes of a reason.
    pub max_reason: usize,
    /// `clock_skew`, seconds.
    pub clock_skew: i64,
}

/// See the module's documentation.
#[derive(Clone)]
pub struct Intake {
    queue: mpsc::Sender<committer::Job>,
    large: Arc<Notify>,
    store: Arc<dyn Store>,
    clock: Clock,
    bounds: Bounds,
    metrics: Arc<Metrics>,
}

/// How long a sender waits for a place in the queue. Longer, and its own time-out would come first.
const QUEUE_PATIENCE: Duration = Duration::from_secs(2);

impl Intake {
    /// Intake and the committer to run beside it.
    pub fn new(store: Arc<dyn Store>, clock: Clock, bounds: Bounds, metrics: Arc<Metrics>) -> (Self, Committer) {
        let (queue, jobs) = mpsc::channel(4096);
        let large = Arc::<Notify>::default();
        let committer =
            Committer::new(jobs, large.clone(), store.clone(), clock.clone(), bounds.clock_skew, metrics.clone());
        (Self { queue, large, store, clock, bounds, metrics }, committer)
    }

    /// Checks everything, commits everything in one transaction, and answers when that is on disk.
    pub async fn revoke(&self, sender: &Sender, items: Vec<NewRevocation>) -> Result<Receipt, IntakeError> {
        if !self.clock.is_right() {
            // What is live by the right clock may be over by this machine's.
            let unknown = StoreError::Unavailable("the database has not told its time yet".into());
            return Err(IntakeError::Store(unknown));
        }
        let now = self.clock.now();
        let mut ids = Vec::with_capacity(items.len());
        let mut changes = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let (revocation, span) = validate::revocation(item, sender, &self.bounds, now)
                .map_err(|invalid| self.refused(index, invalid))?;
            let over = revocation.exp.is_over(now, self.bounds.clock_skew);
            let id = revocation.target.id();
            ids.push((id, over));
            if !over {
                changes.push(if span { Change::RevokeFor(id, revocation) } else { Change::Revoke(id, revocation) });
            }
        }
        // With nothing to store there is still a cursor to report, which the committer reads with an empty batch.
        let committed = self.commit(sender, changes).await?;
        let mut outcomes = committed.outcomes.into_iter();
        let items: Vec<(Id, Status)> = ids
            .into_iter()
            .map(|(id, over)| {
                let status = match if over { None } else { outcomes.next() } {
                    None => Status::Expired,
                    Some(Outcome::Unchanged(_)) => Status::Unchanged,
                    Some(_) => Status::Revoked,
                };
                (id, status)
            })
            .collect();
        for status in [Status::Revoked, Status::Unchanged, Status::Expired] {
            let count = items.iter().filter(|(_, s)| *s == status).count();
            let counter = &self.metrics.intake_revocations;
            counter.with_label_values(&[sender.label(), status.name()]).inc_by(count as u64);
        }
        Ok(Receipt { cursor: committed.cursor, items })
    }

    /// What would become of an item if it were sent now, without sending it: the id under which it is kept and whether it
    /// is over, or what is wrong with it. For sources that leave out what says nothing new.
    pub fn foresee(&self, sender: &Sender, item: NewRevocation) -> Result<(Id, bool), Invalid> {
        let now = self.clock.now();
        let (revocation, _) = validate::revocation(item, sender, &self.bounds, now)?;
        Ok((revocation.target.id(), revocation.exp.is_over(now, self.bounds.clock_skew)))
    }

    /// Takes a revocation back and answers when that is on disk.
    pub async fn lift(&self, sender: &Sender, id: Id) -> Result<Receipt, IntakeError> {
        // An id is the digest of kind, issuer and value, so what is checked here cannot be another by the commit.
        let row = self.store.get(id).await?.ok_or(IntakeError::NotFound(id))?;
        validate::may_touch(&row.revocation.target, sender).map_err(|invalid| self.refused(0, invalid))?;
        let committed = self.commit(sender, vec![Change::Lift(id)]).await?;
        match committed.outcomes.first() {
            Some(Outcome::Lifted(_)) => {
                self.metrics.lifted.with_label_values(&[sender.label()]).inc();
                Ok(Receipt { cursor: committed.cursor, items: vec![(id, Status::Revoked)] })
            }
            _ => Err(IntakeError::NotFound(id)),
        }
    }

    /// What is stored under this id, a tombstone included, for sources whose answers say what was there before.
    pub async fn find(&self, id: Id) -> Result<Option<Row>, IntakeError> {
        let row = self.store.get(id).await?;
        Ok(row.filter(|row| !row.revocation.exp.is_over(self.clock.now(), self.bounds.clock_skew)))
    }

    /// What is refused leaves no record in the audit, which would be a way to fill the disk; it is counted.
    fn refused(&self, index: usize, invalid: Invalid) -> IntakeError {
        self.metrics.intake_refused.with_label_values(&[invalid.reason.code()]).inc();
        IntakeError::Invalid { index, invalid }
    }

    async fn commit(&self, sender: &Sender, changes: Vec<Change>) -> Result<Committed, IntakeError> {
        let (reply, answer) = oneshot::channel();
        let large = changes.len() >= committer::LARGE;
        let received = Instant::now();
        let (actor, source) = (sender.actor.clone(), sender.name.clone());
        let job = committer::Job { changes, actor, source, queued: received, reply };
        match tokio::time::timeout(QUEUE_PATIENCE, self.queue.send(job)).await {
            Err(_) => return Err(IntakeError::Busy),
            Ok(Err(_)) => return Err(IntakeError::Stopping),
            Ok(Ok(())) if large => self.large.notify_one(),
            Ok(Ok(())) => {}
        }
        answer.await.map_err(|_| IntakeError::Stopping)?
    }
}
