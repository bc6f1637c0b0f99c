//! Who is let in when there is more to do than there is room for. Each kind of work has a budget of its own, so that none
//! can starve another: requests that wait for their answer, large bodies on their way in, event streams, and first loads
//! (long lists and long replays). Beyond a budget the answer is 503 with a `Retry-After` that differs from one caller to
//! the next, or a closed connection where an answer would be misunderstood.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;

use super::auth::Caller;
use super::budget::{Budget, Full, Permit};
use super::problem::{Code, Problem};
use super::server::HangUp;
use crate::config::Limits;
use crate::metrics::Metrics;

/// Bodies up to this many bytes are not counted as large: as many as there are requests fit into memory.
const SMALL_BODY: u64 = 64 << 10;

/// A kind of work that has a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A request that waits for its answer.
    Request,
    /// A large body, or one of unknown length.
    LargeBody,
    /// An open event stream.
    Stream,
    /// A long list or a long replay.
    FirstLoad,
}

impl Work {
    /// The label in metrics, and the setting.
    const fn names(self) -> (&'static str, &'static str) {
        match self {
            Work::Request => ("requests", "max_requests"),
            Work::LargeBody => ("large_bodies", "max_large_bodies"),
            Work::Stream => ("streams", "max_streams"),
            Work::FirstLoad => ("first_loads", "max_first_loads"),
        }
    }
}

/// All budgets of a hub.
pub struct Admission {
    requests: Arc<Budget>,
    large_bodies: Arc<Budget>,
    streams: Arc<Budget>,
    first_loads: Arc<Budget>,
    retry_after: Duration,
    metrics: Arc<Metrics>,
}

impl Admission {
    /// Empty budgets, as large as the limits say.
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Arc<Self> {
        let budget = |places| Budget::new(places, limits.client_share);
        Arc::new(Self {
            requests: budget(limits.max_requests),
            large_bodies: budget(limits.max_large_bodies),
            streams: budget(limits.max_streams),
            first_loads: budget(limits.max_first_loads),
            retry_after: limits.retry_after,
            metrics,
        })
    }

    /// A place for work of a caller, or the problem that there is none. Callers that nobody can tell apart have no share.
    pub fn take(&self, work: Work, caller: Option<&Caller>) -> Result<Permit, Problem> {
        let client = caller.and_then(Caller::account);
        self.budget(work).take(client).map_err(|full| self.refuse(work, full))
    }

    fn budget(&self, work: Work) -> &Arc<Budget> {
        match work {
            Work::Request => &self.requests,
            Work::LargeBody => &self.large_bodies,
            Work::Stream => &self.streams,
            Work::FirstLoad => &self.first_loads,
        }
    }

    fn refuse(&self, work: Work, full: Full) -> Problem {
        let (name, setting) = work.names();
        let budget = self.budget(work);
        let (reason, detail) = match full {
            Full::All => {
                (name.to_owned(), format!("all {} places are taken (limits.{setting}); come back", budget.places()))
            }
            Full::Client => {
                let share = budget.share();
                let detail = format!(
                    "this client has its {share} places of limits.{setting} already (limits.client_share); come back"
                );
                (format!("client_{name}"), detail)
            }
        };
        self.metrics.admissions_refused.with_label_values(&[&reason]).inc();
        Problem::new(Code::Overloaded, detail).retry_within(self.retry_after)
    }
}

/// The place of a request. It goes with the answer's head; what the body of an answer takes is the business of other
/// budgets.
#[derive(Clone)]
pub struct Ticket {
    permit: Arc<Mutex<Permit>>,
    admission: Arc<Admission>,
}

impl Ticket {
    /// From here on it is known whose request it is.
    pub fn belongs_to(&self, caller: &Caller) -> Result<(), Problem> {
        let Some(client) = caller.account() else { return Ok(()) };
        self.permit.lock().charge(client).map_err(|full| self.admission.refuse(Work::Request, full))
    }
}

/// Whether an answer would be misunderstood at this route, so that there is rather none.
pub type HangsUp = Arc<dyn Fn(&str, &Method) -> bool + Send + Sync>;

/// What stands in front of every route but those for operating and those of fixed texts.
#[derive(Clone)]
pub struct Door {
    /// The budgets.
    pub admission: Arc<Admission>,
    /// By route and method.
    pub hangs_up: HangsUp,
}

/// Lets a request in when there is room for it. It stands before authentication, which is work too.
pub async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let admission = &door.admission;
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // Whoever looks after the hub has to see most when it is full. The others are fixed texts.
    if matches!(route, "/livez" | "/readyz" | "/metrics" | "/openapi.json" | "/") || request.method() == Method::OPTIONS
    {
        return next.run(request).await;
    }
    let large = is_large(request.headers());
    let places = admission.take(Work::Request, None).and_then(|place| {
        let body = large.then(|| admission.take(Work::LargeBody, None)).transpose()?;
        Ok((place, body))
    });
    let (place, _body) = match places {
        Ok(places) => places,
        Err(_) if (door.hangs_up)(route, request.method()) => return HangUp.into_response(),
        Err(problem) => return problem.into_response(),
    };
    let ticket = Ticket { permit: Arc::new(Mutex::new(place)), admission: admission.clone() };
    request.extensions_mut().insert(ticket.clone());
    let response = next.run(request).await;
    drop(ticket);
    response
}

fn is_large(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) => length > SMALL_BODY,
        None => headers.contains_key(header::TRANSFER_ENCODING),
    }
}
