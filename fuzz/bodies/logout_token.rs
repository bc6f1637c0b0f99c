//! Claims of logout tokens.

use revocation_hub::formats::logout_token::{self, Whom};

/// Panics at what must not be.
pub fn run(json: &[u8]) {
    let Ok(claims) = serde_json::from_slice(json) else { return };
    if let Ok(logout) = logout_token::read(&claims) {
        // Whoever names a session must never log out all of them.
        assert!(!logout.id.is_empty() && !claims.contains_key("nonce"));
        assert!(matches!(logout.whom, Whom::Session(_)) == claims.contains_key("sid"));
    }
}
