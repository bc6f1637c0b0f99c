//! Foreign message formats, as pure functions: bytes in, values out, and the other way round. No I/O, no clock.
//!
//! Sources decode with them and outlets encode with them, so that a format is understood in one place. [`message`] picks
//! the format of a message by its content type.
//!
//! **Invariants.** Decoders are total: any bytes give a value or an error, never a panic, and memory in proportion to
//! the input whatever the input claims of itself. No error text holds a value from the input, which may be a token.

pub mod amqp1_value;
pub mod cloudevents;
pub mod etcd;
pub mod form;
pub mod jms_map_xml;
pub mod json;
pub mod logout_token;
pub mod message;
pub mod native;
pub mod set;
pub mod signature;
pub mod subject;
pub mod wso2;
