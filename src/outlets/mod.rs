//! Ways out. Each outlet reads the ledger and knows nothing before it.

pub mod amqp;
pub mod amqp1;
pub mod apim;
pub mod audit;
pub mod blind;
pub mod check;
pub mod etcd;
pub mod events;
pub mod form;
pub mod introspect;
mod list;
pub mod operate;
pub mod page;
pub mod publisher;
pub mod report;
pub mod snapshot;
pub mod start;
pub mod stomp;
pub mod wso2;

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::http::admission::{Admission, Work};
use crate::http::body::BodyBounds;
use crate::http::budget::Permit;
use crate::http::flow::Flow;
use crate::http::{Caller, Code, Problem};
use crate::issuers::Issuers;
use crate::ledger::{Ledger, Reach};
use crate::lifecycle::Drain;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::revocation::Cursor;

/// Responses that show state say in this header where they stand.
pub const CURSOR: HeaderName = HeaderName::from_static("revocation-cursor");

/// What every outlet shares.
pub struct Outlets {
    /// What they read.
    pub ledger: Arc<Ledger>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Bounds of the few request bodies.
    pub body: BodyBounds,
    /// A stream ends after 80 to 100 % of this.
    pub max_stream_age: Duration,
    /// What streams tell clients to wait before they come back.
    pub retry: Duration,
    /// `readyz` turns false when the last successful read of the store is older.
    pub max_lag: Duration,
    /// The outlets that send.
    pub links: Vec<Arc<Link>>,
    /// Whose JWTs are believed.
    pub issuers: Arc<Issuers>,
    /// The one clock.
    pub clock: Clock,
    /// What some readers cannot judge.
    pub blind: blind::Blind,
    /// The hub is no longer ready and takes no new streams.
    pub stopping: CancellationToken,
    /// How open streams leave then.
    pub drain: Drain,
    /// How much may go on at once.
    pub admission: Arc<Admission>,
    /// Lists and replays of up to so many entries are no first loads.
    pub small_load: usize,
    /// How long any other may take.
    pub first_load_timeout: Duration,
}

/// The state of outlets.
pub type SharedOutlets = Arc<Outlets>;

/// How long a reader waits for this replica to reach a cursor that another one gave it.
const REACH_PATIENCE: Duration = Duration::from_secs(5);

/// A first load that is under way, or one that is too small to count.
pub struct Load(Option<(Permit, Arc<Metrics>, Flow)>);

impl Drop for Load {
    fn drop(&mut self) {
        if let Some((permit, metrics, flow)) = self.0.take() {
            flow.end_load();
            // In this order: whoever sees the number finds the place free.
            drop(permit);
            metrics.first_loads.dec();
        }
    }
}

/// Where a client that presents a cursor stands.
enum Standing {
    /// Here, in the present epoch.
    At(u64),
    /// Nowhere in this log; the reason is for people.
    Reset(&'static str),
}

impl Outlets {
    /// The present end of the log, or the problem that nothing is known yet.
    fn cursor(&self) -> Result<Cursor, Problem> {
        self.ledger.cursor().ok_or_else(Problem::not_loaded)
    }

    /// A place for sending everything after the position `after` by a connection, which is cut when that takes too long; or
    /// the problem that too much is being sent already.
    fn load(&self, caller: &Caller, after: u64, flow: &Flow) -> Result<Load, Problem> {
        let stats = self.ledger.stats();
        let all = stats.live.iter().sum::<usize>() + stats.tombstones;
        // The log is compacted: there are no more entries than positions, and may be far fewer.
        let entries = all.min(usize::try_from(stats.head.saturating_sub(after)).unwrap_or(usize::MAX));
        if entries <= self.small_load {
            return Ok(Load(None));
        }
        let permit = self.admission.take(Work::FirstLoad, Some(caller))?;
        self.metrics.first_loads.inc();
        flow.begin_load(self.first_load_timeout);
        Ok(Load(Some((permit, self.metrics.clone(), flow.clone()))))
    }

    /// Places a client's cursor. A cursor ahead of this replica, or of another epoch, is waited for, because another replica
    /// may have read the store earlier; when the store does not have it either, the log is not the one that gave it.
    async fn place(&self, cursor: &Cursor) -> Result<Standing, Problem> {
        self.cursor()?;
        match tokio::time::timeout(REACH_PATIENCE, self.ledger.reach(&cursor.epoch, cursor.seq)).await {
            Ok(Reach::Here) => Ok(Standing::At(cursor.seq)),
            Ok(Reach::Beyond) => Ok(Standing::Reset("ahead")),
            Ok(Reach::OtherEpoch) => Ok(Standing::Reset("epoch")),
            Err(_) => {
                let detail = "this replica has not reached the cursor and the store does not answer; ask again";
                Err(Problem::new(Code::NotLoaded, detail))
            }
        }
    }
}
