//! The one clock. Everything that compares a wall-clock time asks a [`Clock`], so that a test can move it.
//!
//! Durations that only pace work (poll intervals, time-outs) use tokio's timer and not this clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time in NumericDate seconds (RFC 7519 §2).
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self { manual: None }
    }

    /// A clock that stands at `now` (seconds) until [`Clock::set`] or [`Clock::advance`] moves it.
    pub fn manual(now: i64) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(now))) }
    }

    /// Seconds since the Unix epoch, rounded down.
    pub fn now(&self) -> i64 {
        match &self.manual {
            Some(at) => at.load(Ordering::Acquire),
            // A clock before 1970 is no clock; 0 makes every expiry lie in the future, which fails closed.
            #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
            None => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX)),
        }
    }

    /// Moves a manual clock to `now`. Does nothing to the system's clock.
    pub fn set(&self, now: i64) {
        if let Some(at) = &self.manual {
            at.store(now, Ordering::Release);
        }
    }

    /// Moves a manual clock forward by `seconds`. Does nothing to the system's clock.
    pub fn advance(&self, seconds: i64) {
        if let Some(at) = &self.manual {
            at.fetch_add(seconds, Ordering::AcqRel);
        }
    }
}
