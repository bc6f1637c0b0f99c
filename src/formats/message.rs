//! A message of any format that the hub understands, told apart by content type, and within JSON by its members.
//!
//! Nothing is ever guessed twice: a CloudEvent is opened once, and what is in it is not opened again.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::amqp1_value::{self, ValueError};
use super::cloudevents;
use super::jms_map_xml::{self, XmlError};
use super::json::{Broken, Object};
use super::native::{self, Refusal};
use super::wso2::translate::{self, Untyped};
use super::wso2::value::{Map, Value};
use super::wso2::{Event, Malformed, legacy_map, map, notify, payload::Payload, text};
use crate::intake::NewRevocation;

/// How messages are read.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The most revocations in one message.
    pub max_items: usize,
    /// What a token is taken for that a WSO2 message does not say the type of.
    pub untyped: Untyped,
}

/// The formats a message can be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `amqp/map`
    Wso2Map,
    /// `jms/map-message`
    Wso2LegacyMap,
    /// A MapMessage of a broker that is not WSO2's: XML (ActiveMQ over STOMP), or a value of AMQP 1.0.
    JmsMap,
    /// WSO2's JSON text.
    Wso2Text,
    /// The body of a WSO2 notify call.
    Wso2Notify,
    /// The hub's own JSON.
    Native,
}

impl Format {
    /// A stable name, for metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Wso2Map => "wso2_map",
            Format::Wso2LegacyMap => "wso2_legacy_map",
            Format::JmsMap => "jms_map",
            Format::Wso2Text => "wso2_text",
            Format::Wso2Notify => "wso2_notify",
            Format::Native => "native",
        }
    }
}

/// What a message says.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The format it came in; for a CloudEvent that of its data.
    pub format: Format,
    /// What it revokes.
    pub revocations: Vec<NewRevocation>,
    /// Whether it says that more was revoked than it names: WSO2's `/revokedjwt` has to be read.
    pub wants_snapshot: bool,
    /// The sender's name of the event, by which a repeat can be known: WSO2's `eventId`, else the `id` of a CloudEvent.
    pub event_id: Option<String>,
}

/// Why a message cannot be read. Reading it again cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// It is of a WSO2 format and broken, or says nothing.
    #[error(transparent)]
    Wso2(#[from] Malformed),
    /// It is of the native format and wrong.
    #[error(transparent)]
    Native(#[from] Refusal),
    /// It is a map message in XML and broken.
    #[error(transparent)]
    Xml(#[from] XmlError),
    /// It is a value of AMQP 1.0 and broken.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// It is not JSON.
    #[error(transparent)]
    Json(#[from] Broken),
    /// It is a CloudEvent and broken.
    #[error("not a CloudEvent 1.0: {0}")]
    CloudEvent(&'static str),
    /// It is of no format that is known.
    #[error("of no format that is known")]
    UnknownFormat,
    /// It has more items than accepted.
    #[error("more than {0} revocations at once (limits.max_items)")]
    TooMany(usize),
}

impl Unreadable {
    /// Every reason, for metrics that start at 0.
    pub const REASONS: [&'static str; 11] = [
        "malformed_map",
        "malformed_json",
        "malformed_rule",
        "malformed_cloudevent",
        "no_token",
        "unknown_type",
        "unknown_format",
        "invalid_item",
        "invalid_target",
        "invalid_time",
        "too_many_items",
    ];

    /// A stable name, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Unreadable::Wso2(malformed) => malformed.reason(),
            Unreadable::Native(refusal) => refusal.fault.reason(),
            Unreadable::Xml(_) | Unreadable::Value(_) => "malformed_map",
            Unreadable::Json(_) => "malformed_json",
            Unreadable::CloudEvent(_) => "malformed_cloudevent",
            Unreadable::UnknownFormat => "unknown_format",
            Unreadable::TooMany(_) => "too_many_items",
        }
    }
}

/// Reads a message.
pub fn decode(content_type: Option<&str>, body: &[u8], options: &Options) -> Result<Decoded, Unreadable> {
    match &*media_type(content_type) {
        cloudevents::STRUCTURED => cloudevents::structured(body, options),
        other => plain(other, body, options),
    }
}

/// The media type without parameters, in lower case; empty when there is none.
pub(super) fn media_type(content_type: Option<&str>) -> String {
    content_type.and_then(|value| value.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase()
}

pub(super) fn plain(media_type: &str, body: &[u8], options: &Options) -> Result<Decoded, Unreadable> {
    match media_type {
        "amqp/map" => {
            let event = Payload::from_map(&map::decode(body).map_err(Malformed::from)?).into_event()?;
            wso2(Format::Wso2Map, event, options)
        }
        "jms/map-message" => {
            let event = Payload::from_map(&legacy_map::decode(body).map_err(Malformed::from)?).into_event()?;
            wso2(Format::Wso2LegacyMap, event, options)
        }
        jms_map_xml::CONTENT_TYPE => jms_map(&jms_map_xml::decode(body)?, options),
        amqp1_value::CONTENT_TYPE => match amqp1_value::decode(body)? {
            Value::Map(map) => jms_map(&map, options),
            Value::Text(text) => json(text.as_bytes(), options),
            Value::Bytes(bytes) => json(&bytes, options),
            _ => Err(Unreadable::UnknownFormat),
        },
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            Ok(native(native::ndjson(body, options.max_items)?))
        }
        // JMS clients and brokers name text, or nothing, for everything that is not a map.
        "application/json" | "text/json" | "text/plain" | "" => json(body, options),
        _ => Err(Unreadable::UnknownFormat),
    }
}

/// A JMS MapMessage, however the broker told it.
fn jms_map(map: &Map, options: &Options) -> Result<Decoded, Unreadable> {
    wso2(Format::JmsMap, Payload::from_map(map).into_event()?, options)
}

/// The members by which the formats in JSON are told apart. What clients of the hub write has none of them; what a hub tells
/// has `kind`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Probe {
    event: Option<IgnoredAny>,
    #[serde(rename = "accessToken")]
    access_token: Option<IgnoredAny>,
    r#type: Option<IgnoredAny>,
    kind: Option<IgnoredAny>,
}

pub(super) fn json(body: &[u8], options: &Options) -> Result<Decoded, Unreadable> {
    match body.trim_ascii_start().first() {
        Some(b'{') => {}
        Some(b'[') => return Ok(native(native::json(body, options.max_items)?)),
        _ => return Err(Unreadable::UnknownFormat),
    }
    match serde_json::from_slice::<Object<Probe>>(body) {
        Ok(Object(probe)) if probe.event.is_some() => wso2(Format::Wso2Text, text::decode(body)?, options),
        Ok(Object(probe)) if probe.access_token.is_some() || probe.r#type.is_some() => {
            wso2(Format::Wso2Notify, notify::decode(body)?, options)
        }
        Ok(Object(probe)) if probe.kind.is_some() => Ok(native(native::Items::One(native::wire(body)?))),
        Ok(_) => Ok(native(native::json(body, options.max_items)?)),
        Err(error) => Err(Broken::from(error).into()),
    }
}

fn native(items: native::Items) -> Decoded {
    Decoded { format: Format::Native, revocations: items.into(), wants_snapshot: false, event_id: None }
}

fn wso2(format: Format, event: Event, options: &Options) -> Result<Decoded, Unreadable> {
    if matches!(&event, Event::Batch(batch) if batch.events.len() > options.max_items) {
        return Err(Unreadable::TooMany(options.max_items));
    }
    Ok(Decoded {
        format,
        wants_snapshot: event.wants_snapshot(),
        event_id: event.event_id().map(str::to_owned),
        revocations: translate::event(event, options.untyped),
    })
}

#[cfg(test)]
mod tests;
