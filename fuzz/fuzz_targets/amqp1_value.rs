#![no_main]

#[path = "../bodies/amqp1_value.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|input: &[u8]| body::run(input));
