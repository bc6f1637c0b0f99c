//! The body of `POST /internal/data/v1/notify` (API Manager 3.2): what a key manager says of a revocation.
//!
//! Source: `NotifyApiServiceImpl` and `DefaultKeyManagerEventHandlerImpl` of carbon-apimgt; sent by
//! `ApimOauthEventInterceptor` of apim-km-wso2is. Gson leaves null members out, and nothing about a sender's version can
//! be relied on, so every member may be missing that is not the token itself. The original picks the type of an event by
//! looking for words anywhere in the body; here only `type` counts.

use std::borrow::Cow;

use serde::Deserialize;

use super::payload::{entity_type, name, tenant};
use super::{AppEvent, BatchEvent, Event, Malformed, SubjectEvent, TokenEvent, event_type};
use crate::formats::json::{Broken, Object, Scalar};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    access_token: Scalar,
    expiry_time: Scalar,
    consumer_key: Scalar,
    token_type: Scalar,
    event_id: Scalar,
    r#type: Scalar,
    tenant_id: Scalar,
    tenant_domain: Scalar,
    revocation_time: Scalar,
    entity_id: Scalar,
    entity_type: Scalar,
    token_revocation_event_list: Option<Vec<Option<Object<Body>>>>,
}

/// Reads a body.
pub fn decode(body: &[u8]) -> Result<Event, Malformed> {
    let Object(body): Object<Body> = serde_json::from_str(&as_text(body)).map_err(Broken::from)?;
    match body.r#type.clone().text().as_deref() {
        // Without a type, a token is a token.
        Some(event_type::TOKEN) | None => token(body).map(Event::Token).ok_or(Malformed::NoToken),
        Some(event_type::APP) => Ok(Event::App(AppEvent {
            event_id: body.event_id.text(),
            tenant_id: tenant(body.tenant_id.integer()),
            revocation_time_ms: body.revocation_time.integer(),
            consumer_key: name(body.consumer_key.text()).ok_or(Malformed::Rule("it names no consumer key"))?,
            organization: name(body.tenant_domain.text()),
        })),
        Some(event_type::SUBJECT) => Ok(Event::Subject(SubjectEvent {
            event_id: body.event_id.text(),
            tenant_id: tenant(body.tenant_id.integer()),
            revocation_time_ms: body.revocation_time.integer(),
            entity_id: name(body.entity_id.text()).ok_or(Malformed::Rule("it names no entity"))?,
            entity_type: entity_type(body.entity_type)?,
            organization: name(body.tenant_domain.text()),
        })),
        Some(event_type::BATCH) => Ok(Event::Batch(batch(body))),
        Some(_) => Err(Malformed::UnknownType),
    }
}

/// One member of a batch that names no token must not cost the others: the sender never reads an answer.
fn batch(body: Body) -> BatchEvent {
    let list = body.token_revocation_event_list.unwrap_or_default();
    let all = list.len();
    let events: Vec<TokenEvent> = list.into_iter().flatten().filter_map(|Object(body)| token(body)).collect();
    BatchEvent {
        event_id: body.event_id.text(),
        tenant_id: tenant(body.tenant_id.integer()),
        consumer_key: name(body.consumer_key.text()),
        unnamed: all - events.len(),
        events,
    }
}

fn token(body: Body) -> Option<TokenEvent> {
    Some(TokenEvent {
        revoked_token: name(body.access_token.text())?,
        event_id: body.event_id.text(),
        ttl: None,
        expiry_time: body.expiry_time.integer(),
        token_type: body.token_type.text(),
        tenant_id: tenant(body.tenant_id.integer()),
    })
}

/// Senders build the body without naming a charset, which makes it Latin-1 whatever the header says. What is UTF-8 is
/// taken for UTF-8, because nobody writes that by accident.
fn as_text(body: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(body) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(body.iter().copied().map(char::from).collect()),
    }
}
