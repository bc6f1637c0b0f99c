//! One daemon that tells every API gateway which tokens are no longer valid.
//!
//! Data flows one way: [`sources`] → [`intake`] → [`store`] → [`feed`] → [`ledger`] → [`outlets`].

pub mod bench;
pub mod clock;
pub mod config;
pub mod revocation;
pub mod store;
