//! The sources that speak OAuth and OpenID, end to end; each module's tests are named after what a standard asks of a
//! receiver.

#[macro_use]
#[path = "../hub/harness.rs"]
#[allow(dead_code, unused_macros, reason = "another binary needs the rest")]
mod harness;

mod global_token_revocation;
mod sets;
mod ssf_poll;
mod ssf_push;
mod transmitter;
