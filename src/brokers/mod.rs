//! What sources and outlets of the same broker share: how to get there, and the protocols themselves.

pub mod amqp;
pub mod amqp1;
pub mod dial;
pub mod stomp;

/// Where revocations travel when the configuration does not say it.
pub const DESTINATION: &str = "/topic/tokenRevocation";

/// The most messages on their way without acknowledgement when the configuration does not say it.
pub const PREFETCH: u16 = 500;

/// The content type under which a message is set aside that is longer than accepted; only its beginning is kept.
pub const TOO_LONG: &str = "application/x-too-long";
