//! Security Event Tokens, however they come: who is believed, and what is on disk before anybody is told so. Push and poll
//! share it.
//!
//! **Invariants.**
//! * [`Receiver::take`] returns a success only when what the token asks for is committed; a token that asks for nothing
//!   writes nothing.
//! * A token that was taken once has no effect again, also by another replica or after a restart, and is answered as it
//!   was (RFC 8935 §2.1). Its id is remembered after the commit.
//! * A transmitter speaks about the source's `issuers`, and without that setting about itself and `default_issuer` only,
//!   whoever its subjects name.
//! * An `account-enabled` takes back only what was revoked up to its own second, and, unless the source is bound to
//!   issuers, only of the issuer that says so: a late or repeated one revives nothing.

use crate::config::Source;
use crate::formats::set::{Effects, Options, Set};
use crate::formats::subject::{Malformed, Mapping, Named};
use crate::intake::{IntakeError, NewRevocation, NewTarget, Reason, Sender};
use crate::issuers::{Expect, VerifyError};
use crate::revocation::Target;
use crate::store::StoreError;
use crate::store::seen::SeenId;

use super::start::Running;

/// The error codes of RFC 8935 §2.4 that the hub gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Err {
    /// It cannot be read as a Security Event Token.
    InvalidRequest,
    /// It was not signed with a key of its issuer.
    InvalidKey,
    /// Its issuer is not accepted.
    InvalidIssuer,
    /// It is for somebody else.
    InvalidAudience,
    /// The sender is not who it says, or does not say who it is; of a push only.
    AuthenticationFailed,
    /// The sender may not say this.
    AccessDenied,
}

impl Err {
    /// The code as it is sent.
    pub const fn code(self) -> &'static str {
        match self {
            Err::InvalidRequest => "invalid_request",
            Err::InvalidKey => "invalid_key",
            Err::InvalidIssuer => "invalid_issuer",
            Err::InvalidAudience => "invalid_audience",
            Err::AuthenticationFailed => "authentication_failed",
            Err::AccessDenied => "access_denied",
        }
    }
}

/// Why a token was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// It never will be.
    #[error("{description}")]
    Refused {
        /// For the sender.
        err: Err,
        /// For metrics: a stable code.
        reason: &'static str,
        /// For people; nothing of the token is in it.
        description: String,
    },
    /// The issuer's keys cannot be read now.
    #[error("{}", VerifyError::Unavailable)]
    Keys,
    /// It could not be committed now.
    #[error(transparent)]
    Intake(#[from] IntakeError),
}

impl From<VerifyError> for NotTaken {
    fn from(error: VerifyError) -> Self {
        let err = match error {
            VerifyError::Unavailable => return NotTaken::Keys,
            VerifyError::Malformed | VerifyError::Type | VerifyError::Expired | VerifyError::NotYet => {
                Err::InvalidRequest
            }
            VerifyError::Algorithm | VerifyError::Key | VerifyError::Signature => Err::InvalidKey,
            VerifyError::Issuer => Err::InvalidIssuer,
            VerifyError::Audience => Err::InvalidAudience,
        };
        NotTaken::Refused { err, reason: error.reason(), description: error.to_string() }
    }
}

impl From<Malformed> for NotTaken {
    fn from(malformed: Malformed) -> Self {
        let (err, reason) = (Err::InvalidRequest, "malformed_set");
        NotTaken::Refused { err, reason, description: malformed.to_string() }
    }
}

impl From<StoreError> for NotTaken {
    fn from(error: StoreError) -> Self {
        NotTaken::Intake(error.into())
    }
}

/// What intake says of an item is about the token; everything else is about the hub.
fn of_intake(error: IntakeError) -> NotTaken {
    match error {
        IntakeError::Invalid { invalid, .. } => {
            let err = if invalid.reason.is_forbidden() { Err::AccessDenied } else { Err::InvalidRequest };
            NotTaken::Refused { err, reason: invalid.reason.code(), description: invalid.detail }
        }
        other => NotTaken::Intake(other),
    }
}

/// Takes the tokens of one source.
pub struct Receiver<'a> {
    running: &'a Running,
    sender: Sender,
    /// Whether the sender may take revocations back.
    may_lift: bool,
    subject_claim: Vec<Named>,
}

impl<'a> Receiver<'a> {
    /// A receiver that does what `sender` may do.
    pub fn new(running: &'a Running, sender: Sender, may_lift: bool) -> Self {
        let subject_claim = subject_claim(running);
        Self { running, sender, may_lift, subject_claim }
    }

    /// Checks a token and reads it.
    pub async fn verify(&self, token: &str) -> Result<Set, NotTaken> {
        let source = &self.running.source;
        let expect = Expect {
            issuers: signers(source),
            audiences: &source.audiences,
            types: &["secevent+jwt"],
            needs_exp: false,
            early: false,
        };
        let verified = self.running.issuers.verify(token, &expect).await?;
        let set = Set::read(&verified.claims)?;
        // RFC 7519 §4.1.3: who does not find himself in an `aud` has to refuse, and without a setting we are nobody.
        if source.audiences.is_empty() && set.has_audience {
            let description = "the token is for somebody (aud), and `audiences` of this source is not set".to_owned();
            return Err(NotTaken::Refused { err: Err::InvalidAudience, reason: "wrong_audience", description });
        }
        Ok(set)
    }

    /// Does what a token asks for, and counts it.
    pub async fn take(&self, set: &Set) -> Result<(), NotTaken> {
        let source = &self.running.source;
        let mapping = Mapping { subject_claim: &self.subject_claim, issuer: source.default_issuer.as_deref() };
        let mut effects = set.effects(&Options { mapping, events: &source.events });
        let revoked = effects.revoke.iter_mut().filter_map(|item| match &mut item.target {
            NewTarget::Named(target) => Some(target),
            NewTarget::Raw { .. } => None,
        });
        revoked.chain(effects.lift.iter_mut().map(|(target, _)| target)).for_each(|target| of_tokens(source, target));
        let link = &self.running.inbox.link;
        self.tell(&effects);
        if effects.revoke.is_empty() && effects.lift.is_empty() {
            if let Some(why) = effects.ignored {
                link.passed_over(1, why);
            }
            return Ok(());
        }
        let clock = &self.running.inbox.clock;
        // A length first, so that no two pairs are written alike.
        let id = SeenId::of(&source.name, &format!("{}:{}{}", set.iss.len(), set.iss, set.jti));
        if self.running.seen.seen(id, clock.now()).await?.is_some() {
            link.passed_over(1, "repeated");
            return Ok(());
        }
        if !effects.revoke.is_empty() {
            self.revoke(set, effects.revoke).await?;
        }
        for (target, at) in effects.lift {
            self.lift(set, &target, at).await?;
        }
        link.delivered(1, "committed");
        // Later than that a repeat speaks of tokens that have all expired.
        let until = clock.now().saturating_add(self.sender.max_token_lifetime);
        if let Err(error) = self.running.seen.remember(id, "", until).await {
            // It is committed, and a repeat changes nothing.
            tracing::debug!(source = source.name, %error, "a token was taken and could not be remembered");
        }
        Ok(())
    }

    fn tell(&self, effects: &Effects) {
        let (link, source) = (&self.running.inbox.link, &*self.running.source.name);
        if let Some(state) = &effects.verification {
            link.delivered(1, "verification");
            link.verified(state.as_deref());
            tracing::info!(source, state, "the transmitter has verified the stream");
        }
        if let Some(status) = &effects.stream {
            link.passed_over(1, "stream_updated");
            // A stream that was paused brings nothing, and nobody else says so.
            tracing::warn!(source, status, "the transmitter has changed the status of the stream");
        }
    }

    async fn revoke(&self, set: &Set, mut items: Vec<NewRevocation>) -> Result<(), NotTaken> {
        let latest = self.running.inbox.clock.now().saturating_add(1);
        for item in &mut items {
            // What has happened has happened by now; tokens of the future are not meant.
            item.issued_before = item.issued_before.map(|at| at.min(latest));
        }
        self.running
            .inbox
            .intake
            .revoke(&bound(self.sender.clone(), &self.running.source, &set.iss), items)
            .await
            .map(|_| ())
            .map_err(of_intake)
    }

    async fn lift(&self, set: &Set, target: &Target, at: i64) -> Result<(), NotTaken> {
        let intake = &self.running.inbox.intake;
        if !self.may_lift {
            let (err, reason) = (Err::AccessDenied, Reason::MissingScope.code());
            let description = "taking a revocation back takes the scope lift".to_owned();
            return Err(NotTaken::Refused { err, reason, description });
        }
        let own = [Some(&*set.iss), self.running.source.default_issuer.as_deref()];
        if self.sender.issuers.is_none() && !own.contains(&target.issuer()) {
            return Ok(());
        }
        let standing = intake.find(target.id()).await.map_err(of_intake)?;
        // A rule of the same second may be the one that is meant.
        let is_older = |before: i64| before <= at.saturating_add(1);
        if !standing.is_some_and(|row| !row.lifted && row.revocation.issued_before.is_some_and(is_older)) {
            return Ok(());
        }
        match intake.lift(&self.sender, target.id()).await {
            Ok(_) | Err(IntakeError::NotFound(_)) => Ok(()),
            Err(error) => Err(of_intake(error)),
        }
    }

    /// Counts what was not taken.
    pub fn count(&self, not_taken: &NotTaken) {
        let link = &self.running.inbox.link;
        match not_taken {
            NotTaken::Refused { reason, .. } => link.set_aside(1, reason),
            other => link.failed(&other.to_string()),
        }
    }
}

/// As whom something is revoked that `iss` has signed. Where nobody said about which issuers a source may speak, that is the
/// signer itself and `default_issuer`: one transmitter must not end the sessions of another's users.
pub fn bound(sender: Sender, source: &Source, iss: &str) -> Sender {
    let own = || [Some(iss), source.default_issuer.as_deref()].into_iter().flatten().map(str::to_owned);
    Sender { issuers: Some(sender.issuers.clone().unwrap_or_else(|| own().collect())), ..sender }
}

/// Who signs the tokens of a source: its `transmitter`, else one of its `issuers`, else any.
pub fn signers(source: &Source) -> Option<&[String]> {
    source.transmitter.as_ref().map(std::slice::from_ref).or(source.issuers.as_deref())
}

/// A transmitter that issues no access tokens itself means those of `default_issuer` when it names its own users.
pub fn of_tokens(source: &Source, target: &mut Target) {
    let issues = |iss: &String| source.issuers.as_ref().is_some_and(|issuers| issuers.contains(iss));
    if let (Some(own), Some(default)) = (&source.transmitter, &source.default_issuer)
        && target.iss.as_ref() == Some(own)
        && !issues(own)
    {
        target.iss = Some(default.clone());
    }
}

/// The formats that stand for `sub` by the settings of a source.
pub fn subject_claim(running: &Running) -> Vec<Named> {
    let names = running.source.subject_claim.iter().flatten();
    names.filter_map(|name| Named::from_name(name)).collect()
}
