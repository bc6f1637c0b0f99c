//! Answers of `/revokedjwt`.

use revocation_hub::formats::wso2::snapshot;
use revocation_hub::formats::wso2::translate::{self, Untyped};

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(list) = snapshot::decode(body) else { return };
    let named = list.tokens.len() + list.subjects.len() + list.apps.len();
    assert!(translate::snapshot(list, Untyped::Both).len() >= named);
}
