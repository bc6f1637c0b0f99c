//! Cursors: where a client stands in the log.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The random name of one incarnation of the log: 8 lower-case letters and digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(Arc<str>);

impl Epoch {
    const LENGTH: usize = 8;

    /// A new random name.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let name: String =
            rand::random::<[u8; Self::LENGTH]>().iter().map(|b| char::from(ALPHABET[usize::from(b % 32)])).collect();
        Self(name.into())
    }

    /// The name as it stands in cursors.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Epoch {
    type Err = InvalidCursor;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let ok = s.len() == Self::LENGTH && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if ok { Ok(Self(s.into())) } else { Err(InvalidCursor) }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `<epoch>-<seq>`: everything up to and including `seq` of that incarnation has been seen. Opaque to clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which incarnation of the log.
    pub epoch: Epoch,
    /// The last position seen; 0 is before the first.
    pub seq: u64,
}

/// The text is not a cursor the hub has ever given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor of this hub: expected <epoch>-<seq> as given in Revocation-Cursor or an event's id")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (epoch, seq) = s.split_once('-').ok_or(InvalidCursor)?;
        // Only the one spelling that the hub writes: no sign, no leading zero.
        if seq.is_empty() || !seq.bytes().all(|b| b.is_ascii_digit()) || (seq.len() > 1 && seq.starts_with('0')) {
            return Err(InvalidCursor);
        }
        Ok(Self { epoch: epoch.parse()?, seq: seq.parse().map_err(|_| InvalidCursor)? })
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_own_text() {
        let cursor = Cursor { epoch: Epoch::random(), seq: 42 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
    }

    #[test]
    fn garbage_is_not_a_cursor() {
        for bad in [
            "",
            "-",
            "5",
            "abcdefgh",
            "abcdefgh-",
            "abcdefgh-01",
            "abcdefgh--1",
            "abcdefgh-+1",
            "ABCDEFGH-1",
            "abcdefgh-18446744073709551616",
            "abcdefg-1",
            "abcdefgh-1\n",
            "äbcdefg-1",
        ] {
            assert_eq!(bad.parse::<Cursor>(), Err(InvalidCursor), "{bad:?}");
        }
    }
}
