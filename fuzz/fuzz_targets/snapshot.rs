#![no_main]

use libfuzzer_sys::fuzz_target;
use revocation_hub::formats::wso2::snapshot;
use revocation_hub::formats::wso2::translate::{self, Untyped};

fuzz_target!(|body: &[u8]| {
    let Ok(list) = snapshot::decode(body) else { return };
    let named = list.tokens.len() + list.subjects.len() + list.apps.len();
    assert!(translate::snapshot(list, Untyped::Both).len() >= named);
});
