//! The answers of the etcd v2 keys interface (etcd 3.4 with `--enable-v2`): compact JSON and a line break.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use serde::ser::SerializeStruct;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One key.
pub struct Node<'a> {
    /// `/<directory>/<key>`.
    pub key: &'a str,
    /// When it is over, NumericDate seconds; `None`: never.
    pub exp: Option<i64>,
    /// The position of the revocation.
    pub modified: u64,
    /// The same, because the log keeps no other.
    pub created: u64,
}

impl Node<'_> {
    /// The node at `now` (NumericDate seconds).
    pub fn json(&self, now: i64) -> Value {
        serde_json::to_value(At { node: self, now }).expect("text and numbers are JSON")
    }

    /// The same as text, with its members in etcd's order.
    pub fn write(&self, now: i64, out: &mut Vec<u8>) {
        serde_json::to_writer(out, &At { node: self, now }).expect("text and numbers are JSON");
    }
}

struct At<'a> {
    node: &'a Node<'a>,
    now: i64,
}

impl Serialize for At<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let node = self.node;
        let mut out = serializer.serialize_struct("node", 6)?;
        out.serialize_field("key", node.key)?;
        out.serialize_field("value", "true")?;
        if let Some(exp) = node.exp {
            let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(exp.unsigned_abs());
            out.serialize_field("expiration", &humantime::format_rfc3339_nanos(at).to_string())?;
            // A key whose time is up is not listed by etcd; here it is for as long as `clock_skew`.
            out.serialize_field("ttl", &(exp - self.now).max(1))?;
        }
        out.serialize_field("modifiedIndex", &node.modified)?;
        out.serialize_field("createdIndex", &node.created)?;
        out.end()
    }
}

/// The headers of an answer. `epoch` names the cluster, `index` is the head of the log.
pub fn headers(epoch: &str, index: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let cluster = hex::encode(&Sha256::digest(epoch.as_bytes())[..8]);
    let fields = [
        ("x-etcd-cluster-id", cluster),
        ("x-etcd-index", index.to_string()),
        ("x-raft-index", index.to_string()),
        ("x-raft-term", "1".to_owned()),
    ];
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    headers
}
