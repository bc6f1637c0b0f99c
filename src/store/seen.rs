//! The replay guard: ids of signed events and webhooks that were taken, with the first answer. It is in the store, so that it
//! survives a restart and holds for every replica.
//!
//! An id is remembered *after* the commit of what it brought. A crash in between lets a repeat through once more, which
//! changes nothing; the other order would lose a revocation.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::StoreError;

/// An id within its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenId(pub [u8; 32]);

impl SeenId {
    /// The id that `source` gave.
    pub fn of(source: &str, id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update((source.len() as u64).to_be_bytes());
        hash.update(source.as_bytes());
        hash.update(id.as_bytes());
        Self(hash.finalize().into())
    }
}

/// What was seen before.
#[async_trait]
pub trait Seen: Send + Sync {
    /// The first answer to this id, if it was taken before and can still be repeated at `now` (NumericDate seconds).
    async fn seen(&self, id: SeenId, now: i64) -> Result<Option<String>, StoreError>;

    /// Remembers an id and its answer until `until` (NumericDate seconds). The first answer stays.
    async fn remember(&self, id: SeenId, answer: &str, until: i64) -> Result<(), StoreError>;

    /// Forgets at most `limit` ids that can no longer be repeated; returns how many it forgot.
    async fn forget(&self, now: i64, limit: usize) -> Result<u64, StoreError>;
}
