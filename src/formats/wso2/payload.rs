//! The six members of a message on the topic `tokenRevocation`, the same in a map and in JSON text, and how an event is
//! told in them: a rule stands in `revokedToken`, as base64 of a small JSON object.
//!
//! Source: stream `org.wso2.apimgt.token.revocation.stream:1.0.0`; `TokenRevocationNotifierImpl` of API Manager 4.3.
//! API Manager 3.0 and 3.1 have only `revokedToken`, `ttl` and `expiryTime`.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::value::{Map, Value};
use super::{
    AppEvent, BatchEvent, EntityType, Event, Malformed, SUPER_TENANT, SubjectEvent, TTL, TokenEvent, event_type,
};
use crate::formats::json::{Object, Scalar};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The members as they stand in a message.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Payload {
    /// `eventId`
    pub event_id: Option<String>,
    /// `revokedToken`
    pub revoked_token: Option<String>,
    /// `ttl`
    pub ttl: Option<String>,
    /// `expiryTime`
    pub expiry_time: Option<i64>,
    /// `type`
    pub kind: Option<String>,
    /// `tenantId`
    pub tenant_id: Option<i32>,
}

impl fmt::Debug for Payload {
    /// Never shows the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("event_id", &self.event_id).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What a rule event carries in `revokedToken`. 4.3 writes times as strings; a number once broke its own gateway.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Rule {
    consumer_key: Scalar,
    #[serde(rename = "entityId")]
    entity_id: Scalar,
    #[serde(rename = "entityType")]
    entity_type: Scalar,
    #[serde(rename = "revocationTime")]
    revocation_time: Scalar,
}

impl Rule {
    fn read(text: &str) -> Result<Self, Malformed> {
        let json = BASE64.decode(text).map_err(|_| Malformed::Rule("it is not base64"))?;
        let Object(rule) = serde_json::from_slice(&json).map_err(|_| Malformed::Rule("it is not a JSON object"))?;
        Ok(rule)
    }
}

/// A name that can be one.
pub(super) fn name(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

/// A tenant's number; what is none is not worth an error.
pub(super) fn tenant(number: Option<i64>) -> Option<i32> {
    number.and_then(|number| i32::try_from(number).ok())
}

impl Payload {
    /// Reads the members of a map message.
    pub fn from_map(map: &Map) -> Self {
        let text = |key| map.get(key).and_then(Value::text);
        let integer = |key| map.get(key).and_then(Value::integer);
        Self {
            event_id: text("eventId"),
            revoked_token: text("revokedToken"),
            ttl: text("ttl"),
            expiry_time: integer("expiryTime"),
            kind: text("type"),
            tenant_id: tenant(integer("tenantId")),
        }
    }

    /// The members as a map message, in the order in which WSO2 was seen to write them. Nothing that a consumer reads is
    /// left out or null, except what nobody knows.
    pub fn to_map(&self) -> Map {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let entry = |key: &str, value| (key.to_owned(), value);
        Map(vec![
            entry("eventId", text(&self.event_id)),
            entry("expiryTime", Value::I64(self.expiry_time.unwrap_or(0))),
            entry("tenantId", Value::I32(self.tenant_id.unwrap_or(SUPER_TENANT))),
            entry("revokedToken", Value::Text(self.revoked_token.clone().unwrap_or_default())),
            entry("type", text(&self.kind)),
            entry("ttl", Value::Text(self.ttl.clone().unwrap_or_else(|| TTL.to_owned()))),
        ])
    }

    /// What the message says.
    pub fn into_event(self) -> Result<Event, Malformed> {
        let (event_id, tenant_id, token) = (self.event_id, self.tenant_id, name(self.revoked_token));
        Ok(match self.kind.as_deref() {
            Some(event_type::APP) => {
                let rule = Rule::read(&token.ok_or(Malformed::NoToken)?)?;
                Event::App(AppEvent {
                    event_id,
                    tenant_id,
                    revocation_time_ms: rule.revocation_time.integer(),
                    consumer_key: name(rule.consumer_key.text()).ok_or(Malformed::Rule("it names no consumer key"))?,
                    organization: None,
                })
            }
            Some(event_type::SUBJECT) => {
                let rule = Rule::read(&token.ok_or(Malformed::NoToken)?)?;
                Event::Subject(SubjectEvent {
                    event_id,
                    tenant_id,
                    revocation_time_ms: rule.revocation_time.integer(),
                    entity_id: name(rule.entity_id.text()).ok_or(Malformed::Rule("it names no entity"))?,
                    entity_type: entity_type(rule.entity_type)?,
                    organization: None,
                })
            }
            // The message does its work even if it names nobody: the list has to be read.
            Some(event_type::BATCH) => {
                Event::Batch(BatchEvent { event_id, tenant_id, consumer_key: token, ..Default::default() })
            }
            _ => Event::Token(TokenEvent {
                event_id,
                tenant_id,
                revoked_token: token.ok_or(Malformed::NoToken)?,
                ttl: self.ttl,
                expiry_time: self.expiry_time,
                token_type: self.kind,
            }),
        })
    }

    /// How an event is told. The tokens of a batch are left out, as WSO2 does it.
    pub fn of(event: &Event) -> Self {
        let rule = |event_id: &Option<String>, tenant_id, kind: &str, revoked_token| Self {
            event_id: event_id.clone(),
            revoked_token: Some(revoked_token),
            ttl: Some(TTL.to_owned()),
            expiry_time: Some(0),
            kind: Some(kind.to_owned()),
            tenant_id,
        };
        match event {
            Event::Token(e) => Self {
                event_id: e.event_id.clone(),
                revoked_token: Some(e.revoked_token.clone()),
                ttl: e.ttl.clone(),
                expiry_time: e.expiry_time,
                kind: e.token_type.clone(),
                tenant_id: e.tenant_id,
            },
            Event::App(e) => {
                let json = format!(r#"{{"consumer_key":{}{}}}"#, quoted(&e.consumer_key), time(e.revocation_time_ms));
                rule(&e.event_id, e.tenant_id, event_type::APP, BASE64.encode(json))
            }
            Event::Subject(e) => {
                let (kind, time, id) = (e.entity_type.name(), time(e.revocation_time_ms), quoted(&e.entity_id));
                let json = format!(r#"{{"entityType":"{kind}"{time},"entityId":{id}}}"#);
                rule(&e.event_id, e.tenant_id, event_type::SUBJECT, BASE64.encode(json))
            }
            Event::Batch(e) => {
                rule(&e.event_id, e.tenant_id, event_type::BATCH, e.consumer_key.clone().unwrap_or_default())
            }
        }
    }
}

/// The entity's type; without a known one nobody can tell which tokens are meant.
pub(super) fn entity_type(text: Scalar) -> Result<EntityType, Malformed> {
    text.text()
        .and_then(|name| EntityType::from_name(&name))
        .ok_or(Malformed::Rule("its entity type is neither USER_ID nor CLIENT_ID"))
}

fn time(ms: Option<i64>) -> String {
    ms.map_or_else(String::new, |ms| format!(r#","revocationTime":"{ms}""#))
}

/// A JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
