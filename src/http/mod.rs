//! What every HTTP interface of the hub shares: who is calling, how errors read, how connections are served.

pub mod admission;
pub mod auth;
pub mod body;
pub mod budget;
pub mod endless;
pub mod flow;
pub mod negotiate;
pub mod oauth;
pub mod problem;
pub mod server;
pub mod via;
pub mod webhook;

pub use auth::{Authenticator, Caller, Presented};
pub use problem::{Code, Problem};
