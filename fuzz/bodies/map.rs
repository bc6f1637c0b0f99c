//! `amqp/map`.

use revocation_hub::formats::wso2::map;
use revocation_hub::formats::wso2::payload::Payload;
use revocation_hub::formats::wso2::translate::{self, Untyped};

/// Panics at what must not be.
pub fn run(body: &[u8]) {
    let Ok(decoded) = map::decode(body) else { return };
    // What was read can be written, and what was written reads the same; compared as bytes, because NaN is not NaN.
    let written = map::encode(&decoded).expect("what was read can be written");
    let again = map::decode(&written).expect("what was written can be read");
    assert_eq!(map::encode(&again).as_ref(), Ok(&written));
    if let Ok(event) = Payload::from_map(&decoded).into_event() {
        let _ = translate::event(event, Untyped::Both);
    }
}
