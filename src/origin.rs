//! Which messages of a broker are our own: what an outlet publishes can come back by a source (hub → broker → hub).
//!
//! Outlets put the name of the log into a header, [`HEADER`]; a source that finds the name of its own log there leaves the
//! message. The name is the **epoch**, not something more lasting, because "own" has to mean "already in this log": after
//! a restored backup the broker may bring back what the log has lost, and then it must be taken.
//!
//! A message that carries an older name, or that a broker has stripped of its headers, is taken like any other. That is
//! safe: the same revocation again changes nothing, so nothing is published again and the loop ends. (It may be stored once
//! more without its issuer when the format has no place for one.)

use std::sync::Arc;

use crate::ledger::Ledger;

/// The header, or application property, that names the log a message comes from.
pub const HEADER: &str = "revocation-hub";

/// The name of the log, as far as it is known at the moment. Cheap to share.
#[derive(Clone)]
pub struct Origin(Arc<dyn Fn() -> Option<String> + Send + Sync>);

impl Origin {
    /// The log that this ledger shows.
    pub fn of(ledger: Arc<Ledger>) -> Self {
        Self(Arc::new(move || ledger.cursor().map(|cursor| cursor.epoch.to_string())))
    }

    /// The name; `None` until the log has been read.
    pub fn name(&self) -> Option<String> {
        (self.0)()
    }

    /// Whether a message with this header is our own.
    pub fn is(&self, header: &str) -> bool {
        self.name().is_some_and(|name| name == header)
    }
}
