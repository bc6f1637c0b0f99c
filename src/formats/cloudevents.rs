//! CloudEvents 1.0.2 around what the hub reads: the structured mode and the batch of the JSON event format (§3, §4), and the
//! binary mode of the HTTP protocol binding (§3.1), where the attributes are headers and the body is the data.
//!
//! An event is opened once: what is in it is not opened again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::json::{Broken, Object};
use super::message::{self, Decoded, Options, Unreadable};

/// The media type of the structured mode.
pub const STRUCTURED: &str = "application/cloudevents+json";
/// The media type of a batch.
pub const BATCH: &str = "application/cloudevents-batch+json";

/// The attributes and the data in one object.
#[derive(Deserialize)]
struct CloudEvent<'a> {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    r#type: Option<String>,
    datacontenttype: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
}

/// The required attributes (CloudEvents 1.0.2 §3.1).
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes<'a> {
    /// `specversion`
    pub specversion: Option<&'a str>,
    /// `id`
    pub id: Option<&'a str>,
    /// `source`
    pub source: Option<&'a str>,
    /// `type`
    pub r#type: Option<&'a str>,
}

impl Attributes<'_> {
    /// Whether all are there and of this version.
    pub fn check(&self) -> Result<(), Unreadable> {
        if self.specversion != Some("1.0") {
            return Err(Unreadable::CloudEvent("specversion is not 1.0"));
        }
        let given = |attribute: Option<&str>| attribute.is_some_and(|text| !text.is_empty());
        if !(given(self.id) && given(self.source) && given(self.r#type)) {
            return Err(Unreadable::CloudEvent("id, source or type is missing"));
        }
        Ok(())
    }
}

/// JSON is UTF-8 (RFC 8259 §8.1), also in members that nobody here reads.
fn text(body: &[u8]) -> Result<&str, Unreadable> {
    str::from_utf8(body).map_err(|_| Unreadable::CloudEvent("it is not UTF-8"))
}

/// One event in the structured mode.
pub fn structured(body: &[u8], options: &Options) -> Result<Decoded, Unreadable> {
    let Object(event): Object<CloudEvent<'_>> = serde_json::from_str(text(body)?).map_err(Broken::from)?;
    let attributes = Attributes {
        specversion: event.specversion.as_deref(),
        id: event.id.as_deref(),
        source: event.source.as_deref(),
        r#type: event.r#type.as_deref(),
    };
    attributes.check()?;
    let mut decoded = match (event.data, event.data_base64) {
        (Some(_), Some(_)) => return Err(Unreadable::CloudEvent("data and data_base64 are both there")),
        (None, None) => return Err(Unreadable::CloudEvent("there is no data")),
        // Data that is JSON stands in the event as it is, whatever its type is called.
        (Some(data), None) => message::json(data.get().as_bytes(), options)?,
        (None, Some(base64)) => {
            let data = STANDARD.decode(base64).map_err(|_| Unreadable::CloudEvent("data_base64 is not base64"))?;
            message::plain(&message::media_type(event.datacontenttype.as_deref()), &data, options)?
        }
    };
    decoded.event_id = decoded.event_id.or(event.id);
    Ok(decoded)
}

/// A batch: an array of events in the structured mode. All of them or, by the first error, none.
pub fn batch(body: &[u8], options: &Options) -> Result<Vec<Decoded>, Unreadable> {
    let events: Vec<&RawValue> = serde_json::from_str(text(body)?).map_err(Broken::from)?;
    if events.len() > options.max_items {
        return Err(Unreadable::TooMany(options.max_items));
    }
    let mut left = options.max_items;
    let mut all = Vec::with_capacity(events.len());
    for event in events {
        let decoded =
            structured(event.get().as_bytes(), &Options { max_items: left, ..*options }).map_err(|error| {
                // The bound of the batch, whichever event went beyond it.
                if error.reason() == "too_many_items" { Unreadable::TooMany(options.max_items) } else { error }
            })?;
        if decoded.revocations.len() > left {
            return Err(Unreadable::TooMany(options.max_items));
        }
        left -= decoded.revocations.len();
        all.push(decoded);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const OPTIONS: Options = Options { max_items: 3, untyped: crate::formats::wso2::translate::Untyped::Both };

    fn event(id: &str, data: &Value) -> Value {
        json!({"specversion": "1.0", "id": id, "source": "/sts", "type": "revoked", "data": data})
    }

    #[test]
    fn a_batch_is_taken_whole_or_not_at_all() {
        let one = json!({"jti": "a"});
        let read = |events: Value| batch(events.to_string().as_bytes(), &OPTIONS);
        assert_eq!(read(json!([])).unwrap().len(), 0);
        let all = read(json!([event("1", &one), event("2", &json!([one, one]))])).unwrap();
        assert_eq!(all.iter().map(|d| d.revocations.len()).sum::<usize>(), 3);
        assert!(read(json!([event("1", &one), event("", &one)])).is_err());
        assert!(read(json!([event("1", &one), {"jti": "a"}])).is_err());
        assert!(read(event("1", &one)).is_err());
        // Also where nobody looks.
        let mut bytes = event("1", &one).to_string().replace("\"/sts\"", "\"/sts\",\"x\":\"?\"").into_bytes();
        assert_eq!(structured(&bytes, &OPTIONS).unwrap().revocations.len(), 1);
        let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
        bytes[at] = 0xff;
        assert_eq!(structured(&bytes, &OPTIONS).unwrap_err(), Unreadable::CloudEvent("it is not UTF-8"));
        let four = json!([event("1", &json!([one, one])), event("2", &json!([one, one]))]);
        assert_eq!(read(four).unwrap_err(), Unreadable::TooMany(3));
    }

    #[test]
    fn every_required_attribute_is_required() {
        let good = Attributes { specversion: Some("1.0"), id: Some("1"), source: Some("/"), r#type: Some("t") };
        assert_eq!(good.check(), Ok(()));
        for bad in [
            Attributes { specversion: None, ..good },
            Attributes { specversion: Some("0.3"), ..good },
            Attributes { id: Some(""), ..good },
            Attributes { source: None, ..good },
            Attributes { r#type: None, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
