//! The dispatcher; the first byte picks the content type.

use revocation_hub::formats::message::{self, Options, Unreadable};
use revocation_hub::formats::wso2::translate::Untyped;

const TYPES: [Option<&str>; 6] = [
    None,
    Some("amqp/map"),
    Some("jms/map-message"),
    Some("application/json"),
    Some("application/x-ndjson"),
    Some("application/cloudevents+json"),
];

/// Panics at what must not be.
pub fn run(input: &[u8]) {
    let Some((first, body)) = input.split_first() else { return };
    let options = Options { max_items: 100, untyped: Untyped::Both };
    match message::decode(TYPES[usize::from(*first) % TYPES.len()], body, &options) {
        Ok(decoded) => assert!(decoded.revocations.len() <= 2 * options.max_items),
        Err(unreadable) => assert!(Unreadable::REASONS.contains(&unreadable.reason())),
    }
}
