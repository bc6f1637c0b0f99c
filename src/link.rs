//! Links: the connections to other systems, as `/v1/sources`, `/v1/outlets` and the metrics show them, and the loop that
//! keeps one up.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::metrics::Metrics;

/// The first pause after a session has ended; each further one is twice as long, and each is cut at random.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause. Short, because every second of it is one in which a revocation does not arrive.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);
/// What a session may still do when the hub stops: finish what it has in hand.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// A session that lasted so long was a good one, and the next pause is a first one.
const GOOD_SESSION: Duration = Duration::from_secs(30);
/// How often trouble that goes on is said again.
const REMIND: Duration = Duration::from_secs(600);

/// Whether a link is a way in or a way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// A source.
    In,
    /// An outlet.
    Out,
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Direction::In => "source",
            Direction::Out => "outlet",
        }
    }
}

/// What a link does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It serves requests, and waits for them.
    Serving,
    /// On its way to a session.
    Connecting,
    /// In a session.
    Connected,
    /// The last session ended; the next attempt comes by itself.
    Waiting,
    /// Connected, and holding messages back because the store does not answer.
    Holding,
    /// Another replica does it.
    Standby,
    /// The hub is stopping.
    Stopped,
}

/// What people see of a link.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind in the configuration.
    pub kind: &'static str,
    /// What it does at the moment.
    pub state: State,
    /// Since when, NumericDate seconds.
    pub since: i64,
    /// When something was last delivered, NumericDate seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_success: Option<i64>,
    /// What went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When that was, NumericDate seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error_at: Option<i64>,
    /// How often a session or a request failed.
    pub failures: u64,
    /// Messages delivered: committed (source) or confirmed (outlet).
    pub delivered: u64,
    /// Messages that were set aside: unreadable or refused (source), not expressible (outlet).
    pub set_aside: u64,
    /// For a source of security events: when its transmitter last verified the stream, NumericDate seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<i64>,
    /// What it said then (`state`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_state: Option<String>,
    /// For an outlet: positions of the log that it is behind. Absent where another replica sends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// For an outlet: the position that it has reached.
    #[serde(skip)]
    reached: Option<u64>,
    /// Whether the last line in the log about it told of trouble.
    #[serde(skip)]
    troubled: bool,
}

/// One connection to another system. Cheap to share.
pub struct Link {
    direction: Direction,
    clock: Clock,
    metrics: Arc<Metrics>,
    report: Mutex<Report>,
}

impl Link {
    /// A link that has done nothing yet.
    pub fn new(
        direction: Direction,
        name: &str,
        kind: &'static str,
        state: State,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let report = Report {
            name: name.to_owned(),
            kind,
            state,
            since: clock.now(),
            last_success: None,
            last_error: None,
            last_error_at: None,
            failures: 0,
            delivered: 0,
            set_aside: 0,
            last_verification: None,
            verification_state: None,
            lag: None,
            reached: None,
            troubled: false,
        };
        let link = Self { direction, clock, metrics, report: Mutex::new(report) };
        link.show_up(name, state);
        // A link that never delivers anything has been silent since now.
        let labels = [direction.name(), name];
        link.metrics.link_last_success.with_label_values(&labels).set(link.clock.now());
        Arc::new(link)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> String {
        self.report.lock().name.clone()
    }

    /// What people see of it.
    pub fn report(&self) -> Report {
        self.report.lock().clone()
    }

    /// It does something else now.
    pub fn is(&self, state: State) {
        let mut report = self.report.lock();
        if report.state == state {
            return;
        }
        if state == State::Connected && std::mem::take(&mut report.troubled) {
            tracing::info!(name = report.name, "the {} is connected again", self.direction.name());
        }
        if matches!(state, State::Standby | State::Stopped) {
            // What another replica has sent meanwhile is not known here.
            (report.reached, report.lag) = (None, None);
            let _ = self.metrics.outlet_lag.remove_label_values(&[&report.name]);
        }
        (report.state, report.since) = (state, self.clock.now());
        self.show_up(&report.name, state);
    }

    fn show_up(&self, name: &str, state: State) {
        let up = matches!(state, State::Serving | State::Connected | State::Holding);
        self.metrics.link_up.with_label_values(&[self.direction.name(), name]).set(i64::from(up));
    }

    /// Something was delivered. `outcome` is a fixed word, such as `committed` or `confirmed`.
    pub fn delivered(&self, count: u64, outcome: &'static str) {
        let mut report = self.report.lock();
        let now = self.clock.now();
        report.delivered += count;
        report.last_success = Some(now);
        let labels = [self.direction.name(), &*report.name];
        self.metrics.link_last_success.with_label_values(&labels).set(now);
        self.metrics.link_messages.with_label_values(&[labels[0], labels[1], outcome]).inc_by(count);
    }

    /// Something was set aside. `reason` is a stable code.
    pub fn set_aside(&self, count: u64, reason: &str) {
        let mut report = self.report.lock();
        report.set_aside += count;
        let labels = [self.direction.name(), &*report.name, reason];
        self.metrics.link_messages.with_label_values(&labels).inc_by(count);
    }

    /// Something was passed over as it should be, such as what we sent ourselves. `outcome` is a fixed word.
    pub fn passed_over(&self, count: u64, outcome: &'static str) {
        let report = self.report.lock();
        self.metrics.link_messages.with_label_values(&[self.direction.name(), &*report.name, outcome]).inc_by(count);
    }

    /// The other end has shown that the way to us is whole (SSF 1.0 §8.1.4). `state` is for people.
    pub fn verified(&self, state: Option<&str>) {
        let mut report = self.report.lock();
        report.last_verification = Some(self.clock.now());
        report.verification_state = state.map(str::to_owned);
    }

    /// Something went wrong. `error` is for people and must not hold a token or a secret.
    pub fn failed(&self, error: &str) {
        let mut report = self.report.lock();
        report.failures += 1;
        report.last_error = Some(error.chars().filter(|c| !c.is_control()).take(500).collect());
        report.last_error_at = Some(self.clock.now());
        self.metrics.link_failures.with_label_values(&[self.direction.name(), &report.name]).inc();
    }

    /// An outlet has reached this position.
    pub fn reached(&self, seq: u64) {
        self.report.lock().reached = Some(seq);
    }

    /// Says how far an outlet is behind `head`, also while it cannot send. Nothing where another replica sends.
    pub fn measure(&self, head: u64) {
        let mut report = self.report.lock();
        let Some(reached) = report.reached else { return };
        let lag = head.saturating_sub(reached);
        report.lag = Some(lag);
        let lag = i64::try_from(lag).unwrap_or(i64::MAX);
        self.metrics.outlet_lag.with_label_values(&[&report.name]).set(lag);
    }
}

/// Keeps a link up until `stop`: one session after the other, with pauses that grow while sessions fail and are cut at
/// random, so that many hubs do not return together. A session says [`State::Connected`] when it is one, and returns only
/// by failing; when `stop` is cancelled it has a moment to finish what it has in hand.
pub async fn keep_up<F, S>(link: &Link, stop: &CancellationToken, mut session: F)
where
    F: FnMut() -> S,
    S: Future<Output = anyhow::Result<Infallible>>,
{
    let mut pause = FIRST_PAUSE;
    let mut said: Option<Instant> = None;
    loop {
        link.is(State::Connecting);
        let began = Instant::now();
        let session = session();
        tokio::pin!(session);
        let error = tokio::select! {
            biased;
            () = stop.cancelled() => {
                // What is committed should be acknowledged too; otherwise it comes again.
                let _ = tokio::time::timeout(LAST_WORDS, session).await;
                break;
            }
            Err(error) = &mut session => error,
        };
        if began.elapsed() >= GOOD_SESSION {
            (pause, said) = (FIRST_PAUSE, None);
        }
        let text = format!("{error:#}");
        link.failed(&text);
        link.is(State::Waiting);
        let (direction, name) = (link.direction.name(), link.name());
        // Once per trouble, and again every few minutes: a broker that is away for an hour is not thousands of lines.
        if said.is_some_and(|at| at.elapsed() < REMIND) {
            tracing::debug!(name, error = text, "the {direction} failed again");
        } else {
            tracing::warn!(
                name,
                error = text,
                "the {direction} lost its connection or could not get one; it tries again by itself"
            );
            link.report.lock().troubled = true;
            said = Some(Instant::now());
        }
        let jittered = pause.mul_f64(0.5 + 0.5 * rand::random::<f64>());
        pause = (pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(jittered) => {}
        }
    }
    link.is(State::Stopped);
}
