#![no_main]

#[path = "../bodies/jms_map_xml.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
