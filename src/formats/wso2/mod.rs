//! The revocation events of WSO2 API Manager: what its key managers push to `/internal/data/v1/notify` ([`notify`]), what
//! travels on the topic `tokenRevocation` as a map ([`map`], [`legacy_map`]) or as JSON text ([`text`]), and what
//! `/revokedjwt` lists ([`snapshot`]). [`translate`] makes revocations of them, [`announce`] makes them of revocations.
//!
//! Source: carbon-apimgt (`TokenRevocationNotifierImpl`, stream `org.wso2.apimgt.token.revocation.stream:1.0.0`) and the
//! Andes client, at the releases of API Manager 3.0 to 4.7.

pub mod announce;
pub mod legacy_map;
pub mod map;
pub mod naming;
pub mod notify;
pub mod payload;
#[cfg(test)]
mod properties;
pub mod snapshot;
#[cfg(test)]
mod tests;
pub mod text;
pub mod translate;
pub mod value;
#[cfg(test)]
pub(in crate::formats) mod vectors;

use std::fmt;

use super::json::Broken;
use value::MapError;

/// The tenant that WSO2 calls the super tenant.
pub const SUPER_TENANT: i32 = -1234;

/// The default of WSO2's setting `realtime_notifier.ttl`. Gateways want the member `ttl` to be there and never use it.
pub const TTL: &str = "5000";

/// The values of `type` that are not types of tokens.
pub mod event_type {
    /// One token; only in notify calls.
    pub const TOKEN: &str = "token_revocation";
    /// All tokens of an application (4.3).
    pub const APP: &str = "consumer_app_revocation_event";
    /// All tokens of a user or of a client (4.3).
    pub const SUBJECT: &str = "subject_entity_revocation_event";
    /// Many tokens of an application (4.7).
    pub const BATCH: &str = "token_revocation_batch";
}

/// An event, whichever way it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// One token was revoked.
    Token(TokenEvent),
    /// All tokens of an application that were issued before a moment.
    App(AppEvent),
    /// All tokens of a user or of a client that were issued before a moment.
    Subject(SubjectEvent),
    /// Many tokens of one application.
    Batch(BatchEvent),
}

/// One token was revoked.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TokenEvent {
    /// A UUID made by the first sender.
    pub event_id: Option<String>,
    /// The `jti`, the third segment of the JWT, the JWT, or an opaque token. May be a credential.
    pub revoked_token: String,
    /// A setting of the sender, unrelated to the token.
    pub ttl: Option<String>,
    /// Seconds or milliseconds; 0: not known; `i64::MAX`: never.
    pub expiry_time: Option<i64>,
    /// `JWT`, `Default` (opaque) or `API_KEY`.
    pub token_type: Option<String>,
    /// [`SUPER_TENANT`], or 0 when the sender did not know it.
    pub tenant_id: Option<i32>,
}

impl fmt::Debug for TokenEvent {
    /// Never shows the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenEvent")
            .field("event_id", &self.event_id)
            .field("expiry_time", &self.expiry_time)
            .field("token_type", &self.token_type)
            .field("tenant_id", &self.tenant_id)
            .finish_non_exhaustive()
    }
}

/// All tokens of an application that were issued before a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppEvent {
    /// A UUID made by the first sender.
    pub event_id: Option<String>,
    /// The tenant's number.
    pub tenant_id: Option<i32>,
    /// The tokens' `azp`.
    pub consumer_key: String,
    /// Milliseconds. `None` when the sender said none, which can only mean now.
    pub revocation_time_ms: Option<i64>,
    /// The tenant's name.
    pub organization: Option<String>,
}

/// All tokens of a user or of a client that were issued before a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectEvent {
    /// A UUID made by the first sender.
    pub event_id: Option<String>,
    /// The tenant's number.
    pub tenant_id: Option<i32>,
    /// The tokens' `entity_id`.
    pub entity_id: String,
    /// What the entity is.
    pub entity_type: EntityType,
    /// Milliseconds. `None` when the sender said none, which can only mean now.
    pub revocation_time_ms: Option<i64>,
    /// The tenant's name.
    pub organization: Option<String>,
}

/// Many tokens of one application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchEvent {
    /// A UUID made by the first sender.
    pub event_id: Option<String>,
    /// The tenant's number.
    pub tenant_id: Option<i32>,
    /// The application. Says nothing of its other tokens.
    pub consumer_key: Option<String>,
    /// The tokens. On the topic there are none: the receiver has to ask for `/revokedjwt`.
    pub events: Vec<TokenEvent>,
    /// How many members of the list named no token.
    pub unnamed: usize,
}

/// Whom a [`SubjectEvent`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityType {
    /// `USER_ID`
    User,
    /// `CLIENT_ID`
    Client,
}

impl EntityType {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            EntityType::User => "USER_ID",
            EntityType::Client => "CLIENT_ID",
        }
    }

    /// The type of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [EntityType::User, EntityType::Client].into_iter().find(|t| t.name() == name)
    }
}

impl Event {
    /// The sender's name of this event, by which a repeat can be known.
    pub fn event_id(&self) -> Option<&str> {
        let id = match self {
            Event::Token(event) => &event.event_id,
            Event::App(event) => &event.event_id,
            Event::Subject(event) => &event.event_id,
            Event::Batch(event) => &event.event_id,
        };
        id.as_deref()
    }

    /// Whether the event says that tokens were revoked but not all of which: `/revokedjwt` has to be read.
    pub fn wants_snapshot(&self) -> bool {
        matches!(self, Event::Batch(batch) if batch.events.is_empty() || batch.unnamed > 0)
    }
}

/// Why something is not an event or not a list of revoked tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A map message is broken.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A text is not JSON, or not of the types it should be.
    #[error(transparent)]
    Json(#[from] Broken),
    /// A JSON text has not the members of this format.
    #[error("not an event of this format: {0}")]
    Shape(&'static str),
    /// No token is named, or none that could be one.
    #[error("no token is named")]
    NoToken,
    /// The event is of a type that is not known.
    #[error("the event is of a type that is not known")]
    UnknownType,
    /// The rule in a rule event cannot be read.
    #[error("the event is a rule, but {0}")]
    Rule(&'static str),
}

impl Malformed {
    /// A stable name, for metrics.
    pub const fn reason(&self) -> &'static str {
        match self {
            Malformed::Map(_) => "malformed_map",
            Malformed::Json(_) => "malformed_json",
            Malformed::Shape(_) => "unknown_format",
            Malformed::NoToken => "no_token",
            Malformed::UnknownType => "unknown_type",
            Malformed::Rule(_) => "malformed_rule",
        }
    }
}
