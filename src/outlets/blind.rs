//! What a kind of reader cannot judge. WSO2 gateways compare the text of a token and nothing else, but for API Manager 4.3
//! and later, which also know rules on users and clients. What else is revoked they accept, and nobody would notice.
//!
//! Source: the look-ups of product-microgateway (`revoked_token_map.bal`), Choreo Connect (`RevokedJWTDataHolder`) and
//! carbon-apimgt (`JWTValidator`).

use std::sync::atomic::{AtomicBool, Ordering};

use crate::ledger::Stats;
use crate::metrics::Metrics;
use crate::revocation::Kind;

/// The kinds of readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// Of the array: Microgateway 3.2, Choreo Connect, API Manager gateways 3.2 to 4.2.
    Array,
    /// Of the array in the older spelling: API Manager gateways 3.0 and 3.1.
    Legacy,
    /// Of the object: API Manager gateways since 4.3.
    Object,
    /// Of the etcd keys: Microgateway 3.
    Etcd,
}

impl Reader {
    /// Every kind.
    pub const ALL: [Reader; 4] = [Reader::Array, Reader::Legacy, Reader::Object, Reader::Etcd];

    /// The name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Reader::Array => "array",
            Reader::Legacy => "legacy",
            Reader::Object => "object",
            Reader::Etcd => "etcd",
        }
    }

    /// How many of the live revocations it cannot judge.
    fn misses(self, stats: &Stats) -> usize {
        let each = Kind::ALL.into_iter().zip(stats.live.into_iter().zip(stats.keyless));
        each.map(|(kind, (live, keyless))| match (kind, self) {
            // Without the text of an opaque token there is nothing to compare.
            (Kind::TokenHash, _) => keyless,
            // These compare signatures only.
            (Kind::Token, Reader::Legacy) => keyless,
            (Kind::Token | Kind::Signature, _) | (Kind::Subject | Kind::Client, Reader::Object) => 0,
            (Kind::Session | Kind::Subject | Kind::Client | Kind::Key | Kind::Issuer, _) => live,
        })
        .sum()
    }
}

/// Which kinds of readers have come, and which of them were warned about.
#[derive(Default)]
pub struct Blind {
    come: [AtomicBool; Reader::ALL.len()],
    warned: [AtomicBool; Reader::ALL.len()],
}

impl Blind {
    /// A reader of this kind has come.
    pub fn reads(&self, reader: Reader, stats: &Stats, metrics: &Metrics) {
        self.come[reader as usize].store(true, Ordering::Relaxed);
        self.look(stats, metrics);
    }

    /// Counts anew for all kinds that have come, and warns of each kind once: most readers come once, and what they cannot
    /// judge may come afterwards.
    pub fn look(&self, stats: &Stats, metrics: &Metrics) {
        for reader in Reader::ALL {
            if !self.come[reader as usize].load(Ordering::Relaxed) {
                continue;
            }
            let count = reader.misses(stats);
            metrics.unjudged.with_label_values(&[reader.name()]).set(count as i64);
            if count > 0 && !self.warned[reader as usize].swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    reader = reader.name(),
                    count,
                    "revocations are in force that gateways reading this list cannot judge and will accept: rules, or \
                     tokens whose text is not kept; see integrations/wso2 and the metric unjudged_revocations"
                );
            }
        }
    }
}
