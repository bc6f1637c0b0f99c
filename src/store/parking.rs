//! Parked messages: what a broker delivered and nobody could read, kept for a person.
//!
//! Such a message is acknowledged, so that it does not stop the queue; here are its bytes. They may hold a token.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::StoreError;

/// The longest text (reason, detail, content type) that is kept, in characters.
const MAX_TEXT: usize = 500;

/// A text as it is kept. It can come from a foreign message: Postgres has no NUL in texts, and a message that cannot be
/// parked would hold up its source for ever.
pub(super) fn kept(text: &str) -> String {
    text.chars().take(MAX_TEXT).map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A message on its way to be parked.
#[derive(Clone, PartialEq, Eq)]
pub struct Parked {
    /// The name of the source that it came by.
    pub source: String,
    /// Why: a stable code.
    pub reason: String,
    /// Why, for people; no token in it.
    pub detail: String,
    /// What the message said its body was.
    pub content_type: Option<String>,
    /// The body as it came.
    pub body: Vec<u8>,
    /// When it came, NumericDate seconds.
    pub received_at: i64,
}

impl std::fmt::Debug for Parked {
    /// Never shows the body.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parked")
            .field("source", &self.source)
            .field("reason", &self.reason)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

impl Parked {
    /// SHA-256 over source and body: the same message delivered again has the same.
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update((self.source.len() as u64).to_be_bytes());
        hash.update(self.source.as_bytes());
        hash.update(&self.body);
        hash.finalize().into()
    }
}

/// A parked message without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedHead {
    /// Its number, by which people name it.
    pub number: u64,
    /// See [`Parked::source`].
    pub source: String,
    /// See [`Parked::reason`].
    pub reason: String,
    /// See [`Parked::detail`].
    pub detail: String,
    /// See [`Parked::content_type`].
    pub content_type: Option<String>,
    /// The length of the body.
    pub bytes: u64,
    /// See [`Parked::received_at`].
    pub received_at: i64,
}

/// A parked message and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Its number, by which people name it.
    pub number: u64,
    /// The message.
    pub message: Parked,
}

/// Where messages that nobody could read are kept.
#[async_trait]
pub trait Parking: Send + Sync {
    /// Keeps messages and returns when they are on disk. One with the source and body of one that is there already
    /// (a redelivery) changes nothing. Of the texts control characters are replaced, and what is too long is cut; the body
    /// is kept as it is. Beyond `max` messages the oldest go; returns how many that were.
    async fn park(&self, messages: &[Parked], max: usize) -> Result<u64, StoreError>;

    /// Up to `limit` messages with a number after `after`, in the order of their numbers, without their bodies.
    async fn parked(&self, after: u64, limit: usize) -> Result<Vec<ParkedHead>, StoreError>;

    /// One message.
    async fn parked_one(&self, number: u64) -> Result<Option<ParkedMessage>, StoreError>;

    /// Forgets a message; whether it was there.
    async fn unpark(&self, number: u64) -> Result<bool, StoreError>;

    /// How many there are.
    async fn parked_count(&self) -> Result<u64, StoreError>;
}
