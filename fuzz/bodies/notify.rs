//! Bodies of WSO2's notify call.

use revocation_hub::formats::wso2::translate::{self, Untyped};
use revocation_hub::formats::wso2::{notify, text};

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(event) = notify::decode(body) else { return };
    // What comes in by a call must be fit to go out on the topic.
    let _ = text::encode(&event);
    let _ = translate::event(event, Untyped::Both);
}
