//! The answers of the etcd v2 keys interface (etcd 3.4 with `--enable-v2`): compact JSON, members in etcd's order, and a line
//! break.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};

use crate::revocation::Cursor;

/// One key.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    /// `/<directory>/<key>`.
    pub key: &'a str,
    /// What is left of it.
    pub state: State,
    /// The position of the revocation, or of the lift.
    pub modified: u64,
    /// The position before, because the log keeps no other.
    pub created: u64,
}

/// Whether a key is there.
#[derive(Clone, Copy, Debug)]
pub enum State {
    /// Until `exp`, at `now`; both NumericDate seconds.
    Until {
        /// The end.
        exp: i64,
        /// For the time that is left.
        now: i64,
    },
    /// Without end.
    Forever,
    /// Just deleted.
    Gone,
}

impl State {
    /// A key that is there until `exp`, or without end.
    pub fn of(exp: Option<i64>, now: i64) -> Self {
        exp.map_or(State::Forever, |exp| State::Until { exp, now })
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("node", 6)?;
        out.serialize_field("key", self.key)?;
        if !matches!(self.state, State::Gone) {
            out.serialize_field("value", "true")?;
        }
        if let State::Until { exp, now } = self.state {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(exp.unsigned_abs());
            out.serialize_field("expiration", &humantime::format_rfc3339_seconds(at).to_string())?;
            // A key whose time is up is not listed by etcd; here it is for as long as `clock_skew`.
            out.serialize_field("ttl", &(exp - now).max(1))?;
        }
        out.serialize_field("modifiedIndex", &self.modified)?;
        out.serialize_field("createdIndex", &self.created)?;
        out.end()
    }
}

/// The answer to a request about one key.
#[derive(Debug, Serialize)]
pub struct Answer<'a> {
    /// `get`, `set` or `delete`.
    pub action: &'static str,
    /// The key as it is now.
    pub node: Node<'a>,
    /// The key as it was before.
    #[serde(rename = "prevNode", skip_serializing_if = "Option::is_none")]
    pub previous: Option<Node<'a>>,
}

/// An error (etcd's `v2error`).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Error<'a> {
    error_code: u16,
    message: &'static str,
    cause: &'a str,
    index: u64,
}

impl<'a> Error<'a> {
    /// There is no such key.
    pub fn not_found(path: &'a str, index: u64) -> Self {
        Self { error_code: 100, message: "Key not found", cause: path, index }
    }

    /// `ttl` is not a number.
    pub fn bad_ttl() -> Self {
        let message = "The given TTL in POST form is not a number";
        Self { error_code: 202, message, cause: "invalid value for \"ttl\"", index: 0 }
    }
}

/// A body: JSON and a line break.
pub fn line(answer: &impl Serialize) -> Vec<u8> {
    let mut out = serde_json::to_vec(answer).expect("text and numbers are JSON");
    out.push(b'\n');
    out
}

/// The headers of an answer without data.
pub fn error_headers(cursor: Option<&Cursor>) -> HeaderMap {
    let mut headers = headers(cursor);
    headers.remove("x-raft-index");
    headers.remove("x-raft-term");
    headers
}

/// The headers of an answer: the epoch names the cluster, the position is the index. Without a cursor those are left out.
pub fn headers(cursor: Option<&Cursor>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let Some(cursor) = cursor else { return headers };
    let cluster = hex::encode(&Sha256::digest(cursor.epoch.as_str().as_bytes())[..8]);
    let fields = [
        ("x-etcd-cluster-id", cluster),
        ("x-etcd-index", cursor.seq.to_string()),
        ("x-raft-index", cursor.seq.to_string()),
        ("x-raft-term", "1".to_owned()),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
