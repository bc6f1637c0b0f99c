//! One daemon that tells every API gateway which tokens are no longer valid.
//!
//! Data flows one way: [`sources`] → [`intake`] → [`store`] → [`feed`] → [`ledger`] → [`outlets`]. The words they share
//! are in [`revocation`]; [`hub`] puts the rooms together, [`router`] lists every path.

pub mod actor;
pub mod bench;
pub mod brokers;
pub mod cli;
pub mod clock;
pub mod config;
pub mod feed;
pub mod formats;
pub mod http;
pub mod hub;
pub mod intake;
pub mod issuers;
pub mod ledger;
pub mod lifecycle;
pub mod link;
pub mod logging;
pub mod memory;
pub mod metrics;
pub mod origin;
pub mod outlets;
pub mod proxy;
pub mod reload;
pub mod revocation;
pub mod router;
pub mod sources;
pub mod store;
pub mod tls;
