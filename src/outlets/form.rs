//! What a message of an outlet looks like: a row of the log in the form that its readers understand, and who is told when
//! they cannot.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Format;
use crate::formats::wso2::announce::{self, Facts};
use crate::formats::wso2::payload::Payload;
use crate::formats::wso2::{Event, legacy_map, map, text};
use crate::formats::{amqp1_value, jms_map_xml};
use crate::metrics::Metrics;
use crate::revocation::{Kind, Lifted, Row, Wire};

/// The body of a message and what is said of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Formed {
    /// What the body is.
    pub content_type: &'static str,
    /// Whether it is text, in UTF-8.
    pub text: bool,
    /// In the native form, whether the row revokes or takes back: `revoked` or `lifted`, as on the event stream. WSO2's
    /// forms only ever revoke.
    pub event: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// How map messages are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maps {
    /// As WSO2's clients do it, for AMQP 0-9-1.
    Wso2,
    /// In XML, of which ActiveMQ makes a JMS MapMessage. Both map formats are the same here.
    Xml,
    /// As a value of AMQP 1.0. Both map formats are the same here.
    Amqp1,
}

/// Forms the messages of one outlet.
pub struct Former {
    outlet: String,
    format: Format,
    maps: Maps,
    metrics: Arc<Metrics>,
    /// What was warned of already.
    told: Mutex<HashSet<&'static str>>,
}

impl Former {
    /// For an outlet of this name and format.
    pub fn new(outlet: &str, format: Format, metrics: Arc<Metrics>) -> Self {
        Self { outlet: outlet.to_owned(), format, maps: Maps::Wso2, metrics, told: Mutex::default() }
    }

    /// The same with another encoding of map messages.
    #[must_use]
    pub fn with_maps(self, maps: Maps) -> Self {
        Self { maps, ..self }
    }

    /// The message, or `None` when the format has no place for it. That, and a rule which some readers of the format
    /// cannot judge, is told once for each kind.
    pub fn form(&self, row: &Row) -> Option<Formed> {
        let kind = row.revocation.target.kind;
        if self.format == Format::Native {
            return Some(native(row));
        }
        let Some(event) = Facts::of(row).as_ref().and_then(announce::event) else {
            let (what, why) = missing(row);
            self.tell(what, || {
                tracing::warn!(name = self.outlet, what, why, "an outlet leaves out what its format cannot express");
            });
            return None;
        };
        let Some(formed) = self.wso2(&event) else {
            self.tell("text", || {
                let why = "a text has a character that its encoding does not have";
                tracing::warn!(name = self.outlet, what = kind.name(), why, "an outlet leaves out a revocation");
            });
            return None;
        };
        if !matches!(event, Event::Token(_)) {
            self.metrics.outlet_rules.with_label_values(&[&self.outlet]).inc();
            self.tell(kind.name(), || {
                let blind = match self.format {
                    Format::Json => "Choreo Connect and Microgateway, and API Manager gateways before 4.3,",
                    _ => "Microgateway and API Manager 3 gateways",
                };
                tracing::warn!(
                    name = self.outlet,
                    what = kind.name(),
                    "an outlet sends rules that {blind} cannot judge: there such tokens stay valid unless they are revoked \
                     one by one"
                );
            });
        }
        Some(formed)
    }

    fn wso2(&self, event: &Event) -> Option<Formed> {
        let map = || Payload::of(event).to_map();
        let (content_type, text, body) = match self.format {
            Format::Map | Format::LegacyMap if self.maps == Maps::Xml => {
                (jms_map_xml::CONTENT_TYPE, true, jms_map_xml::encode(&map()).ok()?.into_bytes())
            }
            Format::Map | Format::LegacyMap if self.maps == Maps::Amqp1 => {
                (amqp1_value::CONTENT_TYPE, false, amqp1_value::encode(&map()).ok()?)
            }
            Format::Map => ("amqp/map", false, map::encode(&map()).ok()?),
            Format::LegacyMap => ("jms/map-message", false, legacy_map::encode(&map()).ok()?),
            // WSO2's mapper sends JSON as plain text.
            _ => ("text/plain", true, text::encode(event).into_bytes()),
        };
        Some(Formed { content_type, text, event: None, body })
    }

    fn tell(&self, what: &'static str, warn: impl FnOnce()) {
        if self.told.lock().insert(what) {
            warn();
        }
    }
}

/// What the WSO2 forms have no place for, and why.
fn missing(row: &Row) -> (&'static str, &'static str) {
    if row.lifted {
        return ("lift", "WSO2 has no event that takes a revocation back; its gateways forget it when they restart");
    }
    match row.revocation.target.kind {
        Kind::TokenHash => ("token_hash", "gateways compare the text of the token, which is not kept: see keep_opaque"),
        Kind::Session => ("session", "WSO2 gateways know no sessions"),
        Kind::Key => ("key", "WSO2 gateways know no single keys"),
        Kind::Issuer => ("issuer", "WSO2 gateways do not compare issuers"),
        other => (other.name(), "WSO2 has no name for it"),
    }
}

fn native(row: &Row) -> Formed {
    let (event, body) = if row.lifted {
        ("lifted", serde_json::to_vec(&Lifted { id: row.id, target: &row.revocation.target }))
    } else {
        ("revoked", serde_json::to_vec(&Wire { id: row.id, revocation: &row.revocation }))
    };
    let body = body.expect("strings and numbers are JSON");
    Formed { content_type: "application/json", text: true, event: Some(event), body }
}
