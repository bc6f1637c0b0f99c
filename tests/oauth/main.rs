//! OAuth and OpenID: issuers and their keys, tokens as credentials, and the endpoints of the standards; each MUST that
//! concerns a receiver has a test named after it.
//!
//! Servers as in `tests/hub`; the OpenID provider is a real one (`tests/oauth/provider`).

#[macro_use]
#[path = "../hub/harness.rs"]
#[allow(dead_code, unused_macros, reason = "shared with tests/hub")]
mod harness;
mod issuer;
#[path = "../hub/snippets.rs"]
mod snippets;
#[path = "../hub/visit.rs"]
mod visit;

mod apim;
mod azure;
mod credentials;
mod doctor;
mod global_token_revocation;
mod introspection;
mod issuers;
mod logout;
mod provider;
mod revoke;
mod sets;
mod source_test;
mod spellings;
mod ssf_poll;
mod ssf_push;
mod token_services;
mod transmitter;
mod webhooks;
