//! Targets: what is revoked, and the digest that names it.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// The kinds of target. The numbers stand in the database and never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Kind {
    /// One JWT, by `jti` (RFC 7519 §4.1.7).
    Token = 1,
    /// One token without `jti`, by SHA-256.
    TokenHash = 2,
    /// One JWT, by its third segment. Only from WSO2 sources.
    Signature = 3,
    /// All tokens of a session, by `sid` (OpenID Connect Front-Channel Logout 1.0 §3).
    Session = 4,
    /// All tokens of a subject issued before a moment.
    Subject = 5,
    /// All tokens of a client issued before a moment.
    Client = 6,
    /// All tokens signed with one key, by header `kid`.
    Key = 7,
    /// All tokens of an issuer issued before a moment.
    Issuer = 8,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Kind; 8] = [
        Kind::Token,
        Kind::TokenHash,
        Kind::Signature,
        Kind::Session,
        Kind::Subject,
        Kind::Client,
        Kind::Key,
        Kind::Issuer,
    ];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Token => "token",
            Kind::TokenHash => "token_hash",
            Kind::Signature => "signature",
            Kind::Session => "session",
            Kind::Subject => "subject",
            Kind::Client => "client",
            Kind::Key => "key",
            Kind::Issuer => "issuer",
        }
    }

    /// The member that holds the target's value on the wire.
    pub const fn field(self) -> &'static str {
        match self {
            Kind::Token => "jti",
            Kind::TokenHash => "sha256",
            Kind::Signature => "sig",
            Kind::Session => "sid",
            Kind::Subject => "sub",
            Kind::Client => "client_id",
            Kind::Key => "kid",
            Kind::Issuer => "iss",
        }
    }

    /// Whether the kind hits only tokens issued before a moment.
    pub const fn has_issued_before(self) -> bool {
        matches!(self, Kind::Subject | Kind::Client | Kind::Issuer)
    }

    /// Whether the kind can hit more than one token, so that naming it takes the `rules` scope.
    pub const fn is_rule(self) -> bool {
        !matches!(self, Kind::Token | Kind::TokenHash | Kind::Signature)
    }

    /// The kind with this number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|k| *k as i16 == number)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What is revoked. For [`Kind::Issuer`] the issuer is the `value` and `iss` is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Which claim (or digest) is compared.
    pub kind: Kind,
    /// The issuer the token must have, when one is given.
    pub iss: Option<String>,
    /// What it is compared with. For [`Kind::TokenHash`] 64 lower-case hexadecimal digits.
    pub value: String,
}

impl Target {
    /// The digest that names this target.
    pub fn id(&self) -> Id {
        Id::of(self.kind, self.iss.as_deref(), &self.value)
    }

    /// The issuer this target is confined to, if any.
    pub fn issuer(&self) -> Option<&str> {
        match self.kind {
            Kind::Issuer => Some(&self.value),
            _ => self.iss.as_deref(),
        }
    }
}

/// A stable digest of (kind, iss, value): the first 128 bits of SHA-256 over the length-prefixed parts.
/// On the wire 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub [u8; 16]);

impl Id {
    /// The id of a target given by its parts.
    pub fn of(kind: Kind, iss: Option<&str>, value: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update([kind as u8, u8::from(iss.is_some())]);
        // Lengths first, so that no two targets share an encoding.
        for part in [iss.unwrap_or_default(), value] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// The text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 32 lower-case hexadecimal digits")]
pub struct InvalidId;

impl FromStr for Id {
    type Err = InvalidId;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        if s.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(InvalidId);
        }
        let mut id = [0; 16];
        hex::decode_to_slice(s, &mut id).map_err(|_| InvalidId)?;
        Ok(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 32]))
    }
}

impl Id {
    /// Its 32 hexadecimal digits, written into `room`.
    pub fn digits(self, room: &mut [u8; 32]) -> &str {
        hex::encode_to_slice(self.0, room).expect("two digits for each of 16 bytes");
        str::from_utf8(room).expect("digits are UTF-8")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_tell_targets_apart() {
        // Frozen: the ids of rows that are already in somebody's database must never change.
        assert_eq!(Id::of(Kind::Token, None, "a").to_string(), "17ff4c81ed84eb9298bd115737bd8202");
        let ids = [
            Id::of(Kind::Token, None, "ab"),
            Id::of(Kind::Token, Some(""), "ab"),
            Id::of(Kind::Token, Some("a"), "b"),
            Id::of(Kind::Token, Some("ab"), ""),
            Id::of(Kind::Session, None, "ab"),
        ];
        for (i, a) in ids.iter().enumerate() {
            assert!(ids[i + 1..].iter().all(|b| a != b));
            assert_eq!(a.to_string().parse(), Ok(*a));
        }
    }
}
