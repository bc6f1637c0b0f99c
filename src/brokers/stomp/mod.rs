//! STOMP 1.2 and 1.1 (stomp.github.io), as ActiveMQ speaks it. The crates there are rest on parsers that nobody keeps any
//! more, or have a licence that ours does not go with, and the protocol is small: [`frame`] is all of it.

pub mod connection;
pub mod frame;
