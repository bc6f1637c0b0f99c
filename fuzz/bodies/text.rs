//! WSO2's JSON text.

use revocation_hub::formats::wso2::text;
use revocation_hub::formats::wso2::translate::{self, Untyped};

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(event) = text::decode(body) else { return };
    // Writing fills in what was missing; after that nothing changes any more.
    let written = text::encode(&event);
    let again = text::decode(written.as_bytes()).expect("what was written can be read");
    assert_eq!(text::encode(&again), written);
    let _ = translate::event(event, Untyped::Both);
}
