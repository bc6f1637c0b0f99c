//! The topic's messages as JSON text, since API Manager 4.0: `{"event":{"payloadData":{…six members…}}}`, compact, the
//! members in the order of the stream.
//!
//! Source: `JSONOutputMapper` of carbon-analytics-common. That mapper does not escape strings, so a token with a quote is
//! sent as something that is not JSON; it is refused here, and written properly by [`encode`].

use serde::{Deserialize, Serialize};

use super::payload::{Payload, tenant};
use super::{Event, Malformed, SUPER_TENANT, TTL};
use crate::formats::json::{Broken, Object, Scalar};

#[derive(Deserialize)]
struct Outer {
    event: Option<Object<Inner>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inner {
    payload_data: Option<Object<Data>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Data {
    event_id: Scalar,
    revoked_token: Scalar,
    ttl: Scalar,
    expiry_time: Scalar,
    r#type: Scalar,
    tenant_id: Scalar,
}

/// Reads a body. Members may be missing, null, numbers instead of strings or the other way round; others are ignored.
pub fn decode(body: &[u8]) -> Result<Event, Malformed> {
    let Object(outer): Object<Outer> = serde_json::from_slice(body).map_err(Broken::from)?;
    let Object(inner) = outer.event.ok_or(Malformed::Shape("no member event"))?;
    let Object(data) = inner.payload_data.ok_or(Malformed::Shape("no member payloadData"))?;
    let payload = Payload {
        tenant_id: tenant(data.tenant_id.integer()),
        expiry_time: data.expiry_time.integer(),
        event_id: data.event_id.text(),
        revoked_token: data.revoked_token.text(),
        ttl: data.ttl.text(),
        kind: data.r#type.text(),
    };
    payload.into_event()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    event_id: Option<&'a str>,
    revoked_token: &'a str,
    ttl: &'a str,
    expiry_time: i64,
    r#type: Option<&'a str>,
    tenant_id: i32,
}

/// Writes a body. `ttl` and `revokedToken` are always strings and `expiryTime` a number, because gateways fail without.
pub fn encode(event: &Event) -> String {
    let payload = Payload::of(event);
    let written = Written {
        event_id: payload.event_id.as_deref(),
        revoked_token: payload.revoked_token.as_deref().unwrap_or_default(),
        ttl: payload.ttl.as_deref().unwrap_or(TTL),
        expiry_time: payload.expiry_time.unwrap_or(0),
        r#type: payload.kind.as_deref(),
        tenant_id: payload.tenant_id.unwrap_or(SUPER_TENANT),
    };
    let data = serde_json::to_string(&written).expect("strings and numbers are JSON");
    format!(r#"{{"event":{{"payloadData":{data}}}}}"#)
}
