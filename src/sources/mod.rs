//! Ways in. Each source translates one foreign format into [`crate::intake::NewRevocation`]s and knows nothing behind
//! intake.

pub mod activemq_rest;
pub mod amqp;
pub mod amqp1;
pub mod apim_invalidate;
pub mod backchannel_logout;
pub mod etcd;
pub mod global_token_revocation;
pub mod inbox;
pub mod native;
pub mod parked;
pub mod report;
pub mod rfc7009;
pub mod ssf;
pub mod ssf_poll;
pub mod ssf_push;
pub mod start;
pub mod stomp;
pub mod wso2_notify;
pub mod wso2_snapshot;

use std::sync::Arc;

use axum::http::{HeaderMap, header};

use crate::clock::Clock;
use crate::http::body::BodyBounds;
use crate::http::{Caller, Code, Problem};
use crate::intake::{Intake, IntakeError, Reason, Sender};
use crate::issuers::Issuers;
use crate::metrics::Metrics;
use crate::revocation::{Cursor, Id};
use crate::store::parking::Parking;
use crate::store::seen::Seen;

/// What every HTTP source shares.
#[derive(Clone)]
pub struct Sources {
    /// The way on.
    pub intake: Intake,
    /// Bounds of request bodies.
    pub body: BodyBounds,
    /// The most revocations in one request.
    pub max_items: usize,
    /// What a client that says nothing of its own gets.
    pub defaults: Defaults,
    /// The configured sources.
    pub running: Vec<Arc<start::Running>>,
    /// Where messages are that nobody could read.
    pub parking: Arc<dyn Parking>,
    /// Whose JWTs are believed.
    pub issuers: Arc<Issuers>,
    /// What must have an effect once.
    pub seen: Arc<dyn Seen>,
    /// The one clock.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// The defaults of clients that publish.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// See [`Sender::keep_opaque`].
    pub keep_opaque: bool,
    /// See [`Sender::keep_signature`].
    pub keep_signature: bool,
    /// Seconds.
    pub max_token_lifetime: i64,
}

/// What a source may ask of what is there already. Only for leaving out what says nothing new, and for answers that tell
/// where the log stands: nothing is decided by it.
pub trait Known: Send + Sync {
    /// The end of the log; `None` while the list is not loaded.
    fn cursor(&self) -> Option<Cursor>;

    /// Whether somebody has taken this back.
    fn is_lifted(&self, id: Id) -> bool;
}

/// Refuses what the script or the form of a web page sends. On foreign paths a form has to be accepted, which browsers
/// send to anybody without asking first; but they say where it comes from, and no STS does.
fn refuse_web_pages(headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return Err(Problem::new(Code::InvalidRequest, "web pages may not send here (Origin, Sec-Fetch-Site)"));
    }
    Ok(())
}

/// The state of HTTP sources.
pub type SharedSources = Arc<Sources>;

impl Sources {
    fn sender(&self, caller: &Caller) -> Sender {
        Sender {
            name: caller.name.clone(),
            may_rules: caller.may(crate::config::Scope::Rules),
            issuers: caller.issuers.clone(),
            keep_opaque: caller.keep_opaque.unwrap_or(self.defaults.keep_opaque),
            keep_signature: self.defaults.keep_signature,
            max_token_lifetime: caller.max_token_lifetime.unwrap_or(self.defaults.max_token_lifetime),
            actor: caller.actor.clone(),
        }
    }
}

impl From<IntakeError> for Problem {
    fn from(error: IntakeError) -> Self {
        let code = match &error {
            IntakeError::Invalid { invalid, .. } => match invalid.reason {
                Reason::InvalidText => Code::InvalidText,
                Reason::InvalidTime => Code::InvalidTime,
                Reason::LooksLikeMilliseconds => Code::LooksLikeMilliseconds,
                Reason::MalformedToken => Code::MalformedToken,
                Reason::InvalidTarget => Code::InvalidTarget,
                Reason::MissingScope => Code::MissingScope,
                Reason::IssuerNotAllowed => Code::IssuerNotAllowed,
            },
            IntakeError::NotFound(_) => Code::NotFound,
            IntakeError::Busy => Code::Busy,
            IntakeError::Store(_) => Code::StoreUnavailable,
            IntakeError::Stopping => Code::Stopping,
        };
        match error {
            IntakeError::Invalid { index, invalid } => Problem::new(code, invalid.detail).at(index),
            // What the database says is for the log, not for the network.
            IntakeError::Store(_) => {
                Problem::new(code, "the store did not confirm the commit; nothing is lost by asking again")
            }
            other => Problem::new(code, other.to_string()),
        }
    }
}
