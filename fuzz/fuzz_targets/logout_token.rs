#![no_main]

use libfuzzer_sys::fuzz_target;
use revocation_hub::formats::logout_token::{self, Whom};

fuzz_target!(|json: &[u8]| {
    let Ok(claims) = serde_json::from_slice(json) else { return };
    if let Ok(logout) = logout_token::read(&claims) {
        // Whoever names a session must never log out all of them.
        assert!(!logout.id.is_empty() && !claims.contains_key("nonce"));
        assert!(matches!(logout.whom, Whom::Session(_)) == claims.contains_key("sid"));
    }
});
