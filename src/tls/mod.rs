//! TLS: what we show to those who connect to us, and whom we believe when we connect.

pub mod accept;
pub mod certificate;
pub mod client;
pub mod server;
