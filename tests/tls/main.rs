//! The hub over TLS: with certificates that the tests make, and with openssl and curl as clients that others have written.

#[macro_use]
#[allow(dead_code, unused_macros, unused_imports)]
#[path = "../hub/harness.rs"]
mod harness;
mod authority;

mod admin;
mod clients;
mod command;
mod postgres;
mod reload;
mod server;
