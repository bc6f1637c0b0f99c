//! Issuers: whose JWTs are believed.
//!
//! **Pattern.** One [`Issuer`] per configured `iss`, with its key set in memory. A task per issuer reads the set at the start
//! and again when it has become old; a request reads it only when nothing is known yet, or, at a bounded rate, when no
//! key at hand has signed its token. An issuer that is away costs nothing as long as its keys are known: no request waits
//! for it. When they are not, or when a new key may be in a set that cannot be read or was not read lately, the answer is
//! [`VerifyError::Unavailable`] and never a guess: whoever is told that a token is no good does not send it again.
//!
//! **Invariants.**
//! * The token chooses nothing: its `iss` only selects among the configured issuers, its `alg` has to be in the issuer's
//!   list and fit the key, its `kid` only selects among the issuer's keys; `jku`, `x5u` and `jwk` are never looked at.
//! * A token is first read as strictly as [`crate::revocation::token`] reads, so that it has one spelling.
//! * Times are those of the one clock, with `clock_skew` of tolerance.

mod credentials;
mod fetch;
pub mod inspect;
mod keys;
mod unverified;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use credentials::{ACCESS_TOKEN, SignedIn};
pub use unverified::Unverified;
pub use verify::{Expect, Verified, VerifyError};

use crate::clock::Clock;
use crate::config;
use crate::metrics::Metrics;
use keys::KeySet;

/// All configured issuers.
pub struct Issuers {
    all: Vec<Issuer>,
    metrics: Arc<Metrics>,
    clock: Clock,
    /// Seconds.
    skew: i64,
}

/// One issuer and its keys.
pub struct Issuer {
    config: config::Issuer,
    known: parking_lot::RwLock<Option<Known>>,
    /// Who reads the key set now; others wait for the result instead of asking once more.
    reading: Mutex<Reading>,
    metrics: Arc<Metrics>,
    clock: Clock,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    read_at: Instant,
    /// When the reading began, NumericDate seconds. A key that is not in the set was made later, or is none of the issuer's.
    as_of: i64,
}

/// What the set is asked for after a token's key was not found in it.
struct Wanted {
    /// When the token says that it was made, NumericDate seconds rounded down.
    iat: Option<i64>,
    /// Whether the set has a key of the token's `kid`, and only its signature is wrong.
    is_named: bool,
    /// `clock_skew`, seconds.
    skew: i64,
}

impl Wanted {
    /// Whether the key can have come into the set after it was read: the token is not older than that.
    fn may_be_newer(&self, than: i64) -> bool {
        !self.is_named && self.iat.is_none_or(|iat| iat.saturating_add(self.skew) >= than)
    }
}

#[derive(Default)]
struct Reading {
    /// When the last read failed; `None` when it did not.
    failed: Option<Instant>,
    /// When the set was last read because of a token whose key was not in it.
    asked: Option<Instant>,
}

/// After a read that failed while nothing is known, so long nobody tries again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often at the least somebody looks whether a key set is old.
const LOOK: Duration = Duration::from_secs(5);

impl Issuers {
    /// The issuers of the configuration; nothing is read yet. `skew` is `clock_skew`, seconds.
    pub fn new(all: &[config::Issuer], clock: Clock, skew: i64, metrics: &Arc<Metrics>) -> Arc<Self> {
        let all = all.iter().map(|config| Issuer {
            config: config.clone(),
            known: parking_lot::RwLock::default(),
            reading: Mutex::default(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        });
        Arc::new(Self { all: all.collect(), metrics: metrics.clone(), clock, skew })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn find(&self, iss: &str) -> Option<&Issuer> {
        self.all.iter().find(|issuer| issuer.config.issuer == iss)
    }

    /// `clock_skew`, seconds.
    pub fn skew(&self) -> i64 {
        self.skew
    }

    /// Reads the key sets that are old, until `stop`; so that no request has to wait for one, and a key that its issuer
    /// has withdrawn does not live on. An issuer that is slow holds up no other.
    pub async fn keep_fresh(self: Arc<Self>, stop: CancellationToken) {
        let all = self.all.iter().map(Issuer::keep_fresh);
        tokio::select! {
            () = stop.cancelled() => {}
            _ = futures_util::future::join_all(all) => {}
        }
    }
}

impl Issuer {
    async fn keep_fresh(&self) {
        let pause = LOOK.min(self.config.refresh_interval);
        loop {
            let old = |known: &Known| known.read_at.elapsed() >= self.config.refresh_interval;
            if self.known.read().as_ref().is_none_or(old) {
                let mut reading = self.reading.lock().await;
                let _ = self.read(&mut reading).await;
            }
            tokio::time::sleep(pause.mul_f64(0.8 + 0.4 * rand::random::<f64>())).await;
        }
    }

    /// The key set at hand, or read now when there is none.
    async fn keys(&self) -> Result<Arc<KeySet>, VerifyError> {
        if let Some(known) = &*self.known.read() {
            return Ok(known.keys.clone());
        }
        let mut reading = self.reading.lock().await;
        // Somebody else may have read it while we waited.
        if let Some(known) = &*self.known.read() {
            return Ok(known.keys.clone());
        }
        if reading.failed.is_some_and(|at| at.elapsed() < PAUSE) {
            return Err(VerifyError::Unavailable);
        }
        self.read(&mut reading).await
    }

    /// A newer key set than `old`, in which a token's key was not: `None` when the one that was read a short time ago is new
    /// enough for this token. When the set cannot be read, or may not be read again yet, nobody knows whether the key is a
    /// new one.
    async fn newer(&self, old: &Arc<KeySet>, wanted: &Wanted) -> Result<Option<Arc<KeySet>>, VerifyError> {
        let mut reading = self.reading.lock().await;
        if let Some(known) = self.known.read().as_ref().filter(|known| !Arc::ptr_eq(&known.keys, old)) {
            return Ok(Some(known.keys.clone()));
        }
        if reading.asked.is_some_and(|at| at.elapsed() < self.config.unknown_key_interval) {
            let as_of = self.known.read().as_ref().map_or(i64::MIN, |known| known.as_of);
            let unknown = reading.failed.is_some() || wanted.may_be_newer(as_of);
            return if unknown { Err(VerifyError::Unavailable) } else { Ok(None) };
        }
        reading.asked = Some(Instant::now());
        self.read(&mut reading).await.map(Some)
    }

    /// Reads the key set. What is known stays when that fails: an issuer that is away has not withdrawn it.
    async fn read(&self, reading: &mut Reading) -> Result<Arc<KeySet>, VerifyError> {
        let count = |outcome| self.metrics.key_sets.with_label_values(&[&*self.config.issuer, outcome]).inc();
        let as_of = self.clock.now();
        match fetch::key_set(&self.config).await {
            Ok(keys) => {
                let keys = Arc::new(keys);
                *self.known.write() = Some(Known { keys: keys.clone(), read_at: Instant::now(), as_of });
                reading.failed = None;
                count("read");
                Ok(keys)
            }
            Err(error) => {
                let (issuer, error, known) = (&self.config.issuer, format!("{error:#}"), self.known.read().is_some());
                tracing::warn!(issuer, error, known, "cannot read the keys of an issuer");
                reading.failed = Some(Instant::now());
                count("failed");
                Err(VerifyError::Unavailable)
            }
        }
    }
}
