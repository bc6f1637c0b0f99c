//! Foreign message formats: pure, total functions, used by sources and outlets alike.

use crate::config::Untyped;
use crate::intake::NewRevocation;

/// How to read messages.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// What a key is that says nothing of its kind.
    pub untyped: Untyped,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// These are to be revoked.
    Revocations(Vec<NewRevocation>),
    /// More was revoked than the message says; the list has to be pulled.
    Pull,
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unreadable")]
pub struct Unreadable;

impl Unreadable {
    /// A stable code.
    pub fn reason(&self) -> &'static str {
        "unreadable"
    }
}

/// Reads a message.
pub fn decode(_: Option<&str>, _: &[u8], _: &Options) -> Result<Decoded, Unreadable> {
    Err(Unreadable)
}
