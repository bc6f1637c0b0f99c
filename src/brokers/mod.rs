//! What sources and outlets of the same broker share: how to get there, and the protocols themselves.

pub mod amqp1;
pub mod dial;
pub mod stomp;
