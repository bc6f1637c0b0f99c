//! The one clock. Everything that compares a wall-clock time asks a [`Clock`], so that a test can move it.
//!
//! Durations that only pace work (poll intervals, time-outs) use tokio's timer and not this clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall-clock time in NumericDate seconds (RFC 7519 §2).
///
/// Where several hubs share a database, its clock is the one that counts: the feed reads it along with the log and tells
/// this one by how much it is off ([`Clock::follow`]). So all replicas agree on what has expired, whatever their own
/// machines think.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    manual: Option<Arc<AtomicI64>>,
    /// Milliseconds that the machine's own clock is behind the one that counts.
    behind: Arc<AtomicI64>,
    /// Milliseconds that tests put on the machine's clock.
    error: i64,
    /// There is a clock that counts more, and it has not been heard of yet.
    waits: Arc<AtomicBool>,
}

impl Clock {
    /// The operating system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands at `now` (seconds) until [`Clock::set`] or [`Clock::advance`] moves it.
    pub fn manual(now: i64) -> Self {
        Self { manual: Some(Arc::new(AtomicI64::new(now))), ..Self::default() }
    }

    /// The operating system's clock, wrong by `millis`.
    pub fn wrong_by(millis: i64) -> Self {
        Self { error: millis, ..Self::default() }
    }

    /// From now on this clock shows what another one does, which showed `millis` (milliseconds since the Unix epoch) at some
    /// moment between two at which this machine's showed `asked` and `answered`, see [`Clock::own_millis`]. Returns by how
    /// many milliseconds this machine's is behind. It moves no further than it must for this to be so: an answer that was
    /// long on its way says little. A manual clock stands where it is put.
    pub fn follow(&self, millis: i64, asked: i64, answered: i64) -> i64 {
        let (least, most) = (millis.saturating_sub(answered), millis.saturating_sub(asked));
        let behind = self.behind.load(Ordering::Acquire).max(least).min(most);
        self.behind.store(behind, Ordering::Release);
        self.waits.store(false, Ordering::Release);
        behind
    }

    /// Says that there is a clock to follow. Until it has been heard of, nobody knows what has expired.
    pub fn wait(&self) {
        self.waits.store(true, Ordering::Release);
    }

    /// Whether this clock shows what counts.
    pub fn is_right(&self) -> bool {
        self.manual.is_some() || !self.waits.load(Ordering::Acquire)
    }

    /// The second in which the clock that this one follows showed `millis`. A manual clock follows none and says what it shows.
    pub fn seconds(&self, millis: i64) -> i64 {
        if self.manual.is_some() { self.now() } else { millis.div_euclid(1000) }
    }

    /// What the machine's own clock shows, milliseconds since the Unix epoch.
    pub fn own_millis(&self) -> i64 {
        // A clock before 1970 is no clock; 0 makes every expiry lie in the future, which fails closed.
        #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
        let own = SystemTime::now().duration_since(UNIX_EPOCH);
        own.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)).saturating_add(self.error)
    }

    /// Seconds since the Unix epoch, rounded down.
    pub fn now(&self) -> i64 {
        match &self.manual {
            Some(at) => at.load(Ordering::Acquire),
            None => self.millis().div_euclid(1000),
        }
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(&self) -> i64 {
        match &self.manual {
            Some(at) => at.load(Ordering::Acquire).saturating_mul(1000),
            None => self.own_millis().saturating_add(self.behind.load(Ordering::Acquire)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_long_on_its_way_says_little() {
        let clock = Clock::system();
        // Asked late, answered late: the same clock all the same.
        clock.wait();
        assert!(!clock.is_right());
        assert_eq!(clock.follow(10_000, 9_000, 10_000), 0);
        assert!(clock.is_right());
        assert_eq!(clock.follow(10_000, 9_990, 30_000), 0);
        // What is certain is followed, and no further.
        assert_eq!(clock.follow(15_000, 9_990, 10_000), 5_000);
        assert_eq!(clock.follow(15_000, 8_000, 12_000), 5_000);
        assert_eq!(clock.follow(15_000, 12_000, 12_500), 3_000);
    }
}
