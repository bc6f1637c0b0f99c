//! Starts the configured sources: those that connect get a task, those that serve get their state for the router.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::{Defaults, Known, SharedSources, amqp, amqp1, ssf_poll, stomp, wso2_notify, wso2_snapshot};
use crate::clock::Clock;
use crate::config::{Scope, Source, SourceKind};
use crate::formats::message;
use crate::http::{Authenticator, Caller};
use crate::intake::{Intake, Sender};
use crate::issuers::Issuers;
use crate::lifecycle::Lifecycle;
use crate::link::{Direction, Link, State};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::store::parking::Parking;
use crate::store::seen::Seen;

/// What every source is made from.
pub struct Parts {
    /// The way on.
    pub intake: Intake,
    /// What is there already.
    pub known: Arc<dyn Known>,
    /// Where messages go that nobody can read.
    pub parking: Arc<dyn Parking>,
    /// The most messages kept there.
    pub max_parked: usize,
    /// The most revocations in one message.
    pub max_items: usize,
    /// What a source that says nothing of its own gets.
    pub defaults: Defaults,
    /// Which messages are our own.
    pub origin: Origin,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whose JWTs are believed.
    pub issuers: Arc<Issuers>,
    /// What must have an effect once.
    pub seen: Arc<dyn Seen>,
    /// The one clock.
    pub clock: Clock,
}

/// A configured source: its settings, and what it hands its revocations to.
pub struct Running {
    /// Its settings.
    pub source: Source,
    /// Its way on. Sources that serve use the sender and the link of it.
    pub inbox: Inbox,
    /// Whose JWTs are believed.
    pub issuers: Arc<Issuers>,
    /// What must have an effect once.
    pub seen: Arc<dyn Seen>,
    /// What is there already.
    pub known: Arc<dyn Known>,
    /// Which messages are our own.
    pub origin: Origin,
    /// For a sender that repeats nothing: what could not be committed at once.
    pub again: Option<wso2_notify::Again>,
}

/// What a request to a source that serves needs.
#[derive(Clone)]
pub struct Served {
    /// What all HTTP sources share.
    pub sources: SharedSources,
    /// The source.
    pub running: Arc<Running>,
    /// For sources that sign their callers in themselves.
    pub authenticator: Arc<Authenticator>,
}

impl Served {
    /// The source as a sender, with no more rights than its caller has.
    pub fn sender(&self, caller: &Caller) -> Sender {
        let (source, own) = (&self.running.source, &self.running.inbox.sender);
        Sender {
            may_rules: own.may_rules && caller.may(Scope::Rules),
            // Whoever is bound twice may speak about what both allow.
            issuers: match (&caller.issuers, &own.issuers) {
                (Some(a), Some(b)) => Some(a.iter().filter(|issuer| b.contains(issuer)).cloned().collect()),
                (a, b) => a.clone().or_else(|| b.clone()),
            },
            keep_opaque: source.keep_opaque.or(caller.keep_opaque).unwrap_or(own.keep_opaque),
            max_token_lifetime: match source.max_token_lifetime {
                Some(_) => own.max_token_lifetime,
                None => caller.max_token_lifetime.unwrap_or(own.max_token_lifetime),
            },
            actor: caller.actor.clone(),
            ..own.clone()
        }
    }
}

/// Starts every source that connects; returns all of them, for the router and for people.
pub fn start(sources: &[Source], parts: &Parts, life: &mut Lifecycle) -> Vec<Arc<Running>> {
    // A batch event that any broker brings makes every list be pulled.
    let pulls: Vec<Arc<Notify>> = sources
        .iter()
        .filter(|source| source.kind == SourceKind::Wso2Snapshot)
        .map(|_| Arc::new(Notify::new()))
        .collect();
    let (pulls, mut own): (Arc<[_]>, _) = (pulls.clone().into(), pulls.into_iter());
    let mut all = Vec::new();
    for source in sources {
        let serves = source.serves().is_some();
        let state = if serves { State::Serving } else { State::Connecting };
        let (clock, metrics) = (parts.clock.clone(), parts.metrics.clone());
        let link = Link::new(Direction::In, &source.name, source.kind.name(), state, clock.clone(), metrics.clone());
        let inbox = Inbox {
            intake: parts.intake.clone(),
            sender: sender(source, parts.defaults),
            options: message::Options { max_items: parts.max_items, untyped: source.untyped },
            parking: parts.parking.clone(),
            max_parked: parts.max_parked,
            link,
            metrics,
            clock,
            default_issuer: source.default_issuer.clone(),
            usual: if serves { State::Serving } else { State::Connected },
            stop: life.soft.clone(),
            pull: match source.kind {
                SourceKind::Wso2Snapshot => own.next().unwrap_or_default(),
                _ => Arc::default(),
            },
            pulls: pulls.clone(),
        };
        let (again, waiting) = wso2_notify::again();
        let again = (source.kind == SourceKind::Wso2Notify).then_some(again);
        let (known, origin) = (parts.known.clone(), parts.origin.clone());
        let running = Arc::new(Running {
            source: source.clone(),
            inbox,
            issuers: parts.issuers.clone(),
            seen: parts.seen.clone(),
            known,
            origin,
            again,
        });
        all.push(running.clone());
        let stop: CancellationToken = life.soft.clone();
        match source.kind {
            SourceKind::Amqp => life.spawn_link("amqp source", amqp::run(running, stop)),
            SourceKind::Amqp1 => life.spawn_link("amqp1 source", amqp1::run(running, stop)),
            SourceKind::Stomp => life.spawn_link("stomp source", stomp::run(running, stop)),
            SourceKind::SsfPoll => life.spawn_link("ssf_poll source", ssf_poll::run(running, stop)),
            SourceKind::Wso2Snapshot => life.spawn_link("wso2_snapshot source", wso2_snapshot::run(running, stop)),
            SourceKind::Wso2Notify => {
                life.spawn_link("wso2_notify source", wso2_notify::second_chances(running, waiting, stop));
            }
            _ => {}
        }
    }
    all
}

fn sender(source: &Source, defaults: Defaults) -> Sender {
    let seconds = |d: std::time::Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX);
    Sender {
        name: source.name.as_str().into(),
        may_rules: source.rules,
        issuers: source.issuers.clone().map(Into::into),
        keep_opaque: source.keep_opaque.unwrap_or(defaults.keep_opaque),
        keep_signature: defaults.keep_signature,
        max_token_lifetime: source.max_token_lifetime.map_or(defaults.max_token_lifetime, seconds),
        actor: Arc::default(),
    }
}
