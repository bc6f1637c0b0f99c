//! The words of the hub: what a revocation is. Every room uses these types; none of them does any I/O.

mod cursor;
mod target;
pub mod token;
mod wire;

pub use cursor::{Cursor, Epoch, InvalidCursor};
pub use target::{Id, InvalidId, Kind, Target};
pub use token::Claims;
pub use wire::{Lifted, Wire};

/// When the last token that a revocation can hit has expired by itself, in NumericDate seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Expiry(pub i64);

impl Expiry {
    /// A token that was declared unlimited (WSO2: `Long.MAX_VALUE`); such a revocation is kept until it is lifted.
    pub const NEVER: Expiry = Expiry(i64::MAX);

    /// Whether this is [`Expiry::NEVER`].
    pub fn is_never(self) -> bool {
        self == Self::NEVER
    }

    /// Whether nothing is left to revoke at `now`, when clocks may differ by `skew` seconds.
    pub fn is_over(self, now: i64, skew: i64) -> bool {
        !self.is_never() && self.0.saturating_add(skew) <= now
    }

    /// The expiry as NumericDate seconds, `None` when there is none.
    pub fn seconds(self) -> Option<i64> {
        (!self.is_never()).then_some(self.0)
    }
}

/// One rule that makes tokens invalid, as intake hands it to the store and the store gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// What is revoked.
    pub target: Target,
    /// Tokens issued (`iat`) before this second are hit; only for the kinds of [`Kind::has_issued_before`].
    pub issued_before: Option<i64>,
    /// When the last token this can hit has expired.
    pub exp: Expiry,
    /// When the hub accepted it, NumericDate seconds.
    pub revoked_at: i64,
    /// Free text for people.
    pub reason: Option<String>,
    /// The name of the source it came from.
    pub source: String,
    /// What a WSO2 gateway compares when that is not the target's own value: the signature segment of a JWT, or
    /// the text of an opaque token of a source with `keep_opaque`. Only the WSO2 outlets ever show it.
    pub wso2_key: Option<String>,
}

impl Revocation {
    /// Seconds from its acceptance to its expiry.
    pub fn span(&self) -> i64 {
        self.exp.0.saturating_sub(self.revoked_at)
    }
}

/// A revocation with its position in the log. A lifted row is a tombstone: the target is no longer revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Position in the log, from 1; gap-free at the time of the commit.
    pub seq: u64,
    /// The digest of the target.
    pub id: Id,
    /// Whether this row takes the revocation back.
    pub lifted: bool,
    /// The rule itself.
    pub revocation: Revocation,
}
