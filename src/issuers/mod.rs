//! Issuers: whose JWTs are believed.
//!
//! **Pattern.** One [`Issuer`] per configured `iss`, with its key set in memory. A key set is read when it is first needed,
//! read again when it has become old, and, at a bounded rate, when a token names a key that is not in it. An issuer that
//! is away costs nothing as long as its keys are known; when they are not, the answer is [`VerifyError::Unavailable`] and
//! never a guess.
//!
//! **Invariants.**
//! * The token chooses nothing: its `iss` only selects among the configured issuers, its `alg` has to be in the issuer's
//!   list and fit the key, its `kid` only selects among the issuer's keys; `jku`, `x5u` and `jwk` are never looked at.
//! * A token is first read as strictly as [`crate::revocation::token`] reads, so that it has one spelling.
//! * Times are those of the one clock, with `clock_skew` of tolerance.

mod fetch;
mod keys;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

pub use verify::{Expect, Verified, VerifyError};

use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use keys::KeySet;

/// All configured issuers.
pub struct Issuers {
    all: Vec<Issuer>,
    clock: Clock,
    /// Seconds.
    skew: i64,
}

/// One issuer and its keys.
pub struct Issuer {
    config: config::Issuer,
    keys: parking_lot::RwLock<Option<Known>>,
    /// Who reads the key set now; others wait for the result instead of asking once more.
    reading: Mutex<Attempts>,
    metrics: Arc<Metrics>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    read_at: Instant,
}

#[derive(Default)]
struct Attempts {
    last: Option<Instant>,
}

/// After a read that failed, so long nobody tries again.
const PAUSE: Duration = Duration::from_secs(2);

impl Issuers {
    /// The issuers of the configuration; nothing is read yet. `skew` is `clock_skew`, seconds.
    pub fn new(all: &[config::Issuer], clock: Clock, skew: i64, metrics: &Arc<Metrics>) -> Arc<Self> {
        let all = all.iter().map(|config| Issuer {
            config: config.clone(),
            keys: parking_lot::RwLock::default(),
            reading: Mutex::default(),
            metrics: metrics.clone(),
        });
        Arc::new(Self { all: all.collect(), clock, skew })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn find(&self, iss: &str) -> Option<&Issuer> {
        self.all.iter().find(|issuer| issuer.config.issuer == iss)
    }

    /// Reads the key sets that are old, for as long as it is polled; so that a request seldom has to wait for one, and a
    /// key that its issuer has withdrawn does not live on.
    pub async fn keep_fresh(self: Arc<Self>, stop: tokio_util::sync::CancellationToken) {
        loop {
            for issuer in &self.all {
                let _ = issuer.keys(None).await;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(5).mul_f64(0.8 + 0.4 * rand::random::<f64>())) => {}
            }
        }
    }
}

impl Issuer {
    /// The key set. With `missing` (a key that is not in the set at hand) it is read again unless that was done lately.
    async fn keys(&self, missing: Option<&KeySet>) -> Result<Arc<KeySet>, VerifyError> {
        let fresh = |known: &Known| match missing {
            Some(old) => {
                !std::ptr::eq(old, &raw const *known.keys) || known.read_at.elapsed() < self.config.unknown_key_interval
            }
            None => known.read_at.elapsed() < self.config.refresh_interval,
        };
        let at_hand = self.keys.read().clone();
        if let Some(known) = at_hand.as_ref().filter(|known| fresh(known)) {
            return Ok(known.keys.clone());
        }
        let mut attempts = self.reading.lock().await;
        // Somebody else may have read it while we waited.
        let at_hand = self.keys.read().clone();
        if let Some(known) = at_hand.as_ref().filter(|known| fresh(known)) {
            return Ok(known.keys.clone());
        }
        let pause = if missing.is_some() { self.config.unknown_key_interval } else { PAUSE };
        if attempts.last.is_none_or(|last| last.elapsed() >= pause) {
            attempts.last = Some(Instant::now());
            match fetch::key_set(&self.config).await {
                Ok(keys) => {
                    let keys = Arc::new(keys);
                    self.metrics.key_sets.with_label_values(&[&*self.config.issuer, "read"]).inc();
                    *self.keys.write() = Some(Known { keys: keys.clone(), read_at: Instant::now() });
                    return Ok(keys);
                }
                Err(error) => {
                    self.metrics.key_sets.with_label_values(&[&*self.config.issuer, "failed"]).inc();
                    let (issuer, known) = (&self.config.issuer, at_hand.is_some());
                    let error = format!("{error:#}");
                    tracing::warn!(issuer, error, known, "cannot read the keys of an issuer");
                }
            }
        }
        // Old keys are better than none: an issuer that is away has not withdrawn them.
        at_hand.map(|known| known.keys).ok_or(VerifyError::Unavailable)
    }
}
