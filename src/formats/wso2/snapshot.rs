//! The answer to `GET …/revokedjwt`: an array of tokens until API Manager 4.2, an object of three arrays since 4.3. Members
//! are spelled `jwtSignature`, `expiryTime` in 3.0 and 3.1, and `jwt_signature`, `expiry_time` later.
//!
//! Source: `RevokedjwtApiServiceImpl` of carbon-apimgt.
//!
//! Anything else is an error and never an empty list: an upstream that answers 200 with an error page has not said that
//! nothing is revoked.

use std::fmt;

use serde::Deserialize;

use super::payload::{entity_type, name};
use super::{AppEvent, Malformed, SubjectEvent};
use crate::formats::json::{Broken, Object, Scalar};

/// Everything that an API Manager says is revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Single tokens.
    pub tokens: Vec<Token>,
    /// Rules about users and clients.
    pub subjects: Vec<SubjectEvent>,
    /// Rules about applications.
    pub apps: Vec<AppEvent>,
    /// How many items named nothing that could be revoked.
    pub unnamed: usize,
}

/// A revoked token of the list.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// The `jti`, the third segment of the JWT, or an opaque token. May be a credential.
    pub key: String,
    /// Seconds or milliseconds, mixed; 0: not known; `i64::MAX`: never.
    pub expiry_time: Option<i64>,
}

impl fmt::Debug for Token {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expiry_time", &self.expiry_time).finish_non_exhaustive()
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Item {
    jwt_signature: Scalar,
    #[serde(rename = "jwtSignature")]
    jwt_signature_old: Scalar,
    expiry_time: Scalar,
    #[serde(rename = "expiryTime")]
    expiry_time_old: Scalar,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Subject {
    entity_id: Scalar,
    #[serde(rename = "entityId")]
    entity_id_old: Scalar,
    entity_type: Scalar,
    #[serde(rename = "entityType")]
    entity_type_old: Scalar,
    revocation_time: Scalar,
    #[serde(rename = "revocationTime")]
    revocation_time_old: Scalar,
    organization: Scalar,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct App {
    consumer_key: Scalar,
    #[serde(rename = "consumerKey")]
    consumer_key_old: Scalar,
    revocation_time: Scalar,
    #[serde(rename = "revocationTime")]
    revocation_time_old: Scalar,
    organization: Scalar,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists {
    #[serde(rename = "revokedJWTList")]
    tokens: Option<Vec<Object<Item>>>,
    #[serde(rename = "revokedJWTSubjectEntityList")]
    subjects: Option<Vec<Object<Subject>>>,
    #[serde(rename = "revokedJWTConsumerKeyList")]
    apps: Option<Vec<Object<App>>>,
}

/// Reads an answer.
pub fn decode(body: &[u8]) -> Result<Snapshot, Malformed> {
    let lists = match body.trim_ascii_start().first() {
        Some(b'[') => Lists { tokens: Some(serde_json::from_slice(body).map_err(Broken::from)?), ..Default::default() },
        Some(b'{') => {
            let Object(lists): Object<Lists> = serde_json::from_slice(body).map_err(Broken::from)?;
            // Every 4.3 writes it, empty if need be; an object without it is an error message.
            if lists.tokens.is_none() {
                return Err(Malformed::Shape("no member revokedJWTList"));
            }
            lists
        }
        _ => return Err(Malformed::Shape("neither a JSON array nor a JSON object")),
    };
    let mut snapshot = Snapshot::default();
    for Object(item) in lists.tokens.unwrap_or_default() {
        let token = name(item.jwt_signature.text())
            .or_else(|| name(item.jwt_signature_old.text()))
            .map(|key| Token { key, expiry_time: item.expiry_time.integer().or(item.expiry_time_old.integer()) });
        keep(token, &mut snapshot.tokens, &mut snapshot.unnamed);
    }
    for Object(item) in lists.subjects.unwrap_or_default() {
        keep(subject(item), &mut snapshot.subjects, &mut snapshot.unnamed);
    }
    for Object(item) in lists.apps.unwrap_or_default() {
        let app = name(item.consumer_key.text()).or_else(|| name(item.consumer_key_old.text())).map(|consumer_key| {
            AppEvent {
                consumer_key,
                revocation_time_ms: item.revocation_time.integer().or(item.revocation_time_old.integer()),
                organization: name(item.organization.text()),
                ..Default::default()
            }
        });
        keep(app, &mut snapshot.apps, &mut snapshot.unnamed);
    }
    Ok(snapshot)
}

fn subject(item: Subject) -> Option<SubjectEvent> {
    Some(SubjectEvent {
        event_id: None,
        tenant_id: None,
        entity_id: name(item.entity_id.text()).or_else(|| name(item.entity_id_old.text()))?,
        entity_type: entity_type(item.entity_type).or_else(|_| entity_type(item.entity_type_old)).ok()?,
        revocation_time_ms: item.revocation_time.integer().or(item.revocation_time_old.integer()),
        organization: name(item.organization.text()),
    })
}

/// One row of a foreign database that names nothing must not keep the others out.
fn keep<T>(item: Option<T>, list: &mut Vec<T>, unnamed: &mut usize) {
    match item {
        Some(item) => list.push(item),
        None => *unnamed += 1,
    }
}
