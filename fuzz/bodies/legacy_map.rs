//! `jms/map-message`.

use revocation_hub::formats::wso2::legacy_map;
use revocation_hub::formats::wso2::payload::Payload;
use revocation_hub::formats::wso2::translate::{self, Untyped};

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(decoded) = legacy_map::decode(body) else { return };
    // What was read can be written, and what was written reads the same; compared as bytes, because NaN is not NaN.
    let written = legacy_map::encode(&decoded).expect("what was read can be written");
    let again = legacy_map::decode(&written).expect("what was written can be read");
    assert_eq!(legacy_map::encode(&again).as_ref(), Ok(&written));
    if let Ok(event) = Payload::from_map(&decoded).into_event() {
        let _ = translate::event(event, Untyped::Both);
    }
}
