//! The native format: how a client of the hub writes revocations in JSON, one, many, or one a line. The same in HTTP, in a
//! message and in a CloudEvent.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::intake::{Lifetime, NewRevocation, NewTarget};
use crate::revocation::{Kind, Target};

/// What is wrong with a text in the native format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not JSON.
    Json,
    /// An item has an unknown member, or one of the wrong type.
    Item,
    /// An item does not name exactly one target.
    Target,
    /// A time is given twice.
    Time,
    /// There are more items than accepted.
    TooMany,
}

impl Fault {
    /// A stable name, for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Fault::Json => "malformed_json",
            Fault::Item => "invalid_item",
            Fault::Target => "invalid_target",
            Fault::Time => "invalid_time",
            Fault::TooMany => "too_many_items",
        }
    }
}

/// Why a text is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// The kind of fault.
    pub fault: Fault,
    /// For people; holds no token.
    pub detail: String,
    /// Which item, from 0.
    pub index: Option<usize>,
}

impl Refusal {
    fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into(), index: None }
    }

    fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

/// What a text holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Items {
    /// One object.
    One(NewRevocation),
    /// An array, or lines.
    Many(Vec<NewRevocation>),
}

impl From<Items> for Vec<NewRevocation> {
    fn from(items: Items) -> Self {
        match items {
            Items::One(item) => vec![item],
            Items::Many(items) => items,
        }
    }
}

/// One revocation as a client writes it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Item {
    jti: Option<String>,
    sha256: Option<String>,
    token: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    kid: Option<String>,
    iss: Option<String>,
    exp: Option<i64>,
    ttl: Option<i64>,
    issued_before: Option<i64>,
    reason: Option<String>,
}

impl Item {
    fn translate(self) -> Result<NewRevocation, Refusal> {
        let named = [
            (Kind::Token, self.jti),
            (Kind::TokenHash, self.sha256.map(|hex| hex.to_ascii_lowercase())),
            (Kind::Session, self.sid),
            (Kind::Subject, self.sub),
            (Kind::Client, self.client_id),
            (Kind::Key, self.kid),
        ];
        let mut named = named.into_iter().filter_map(|(kind, value)| Some((kind, value?)));
        let target = match (self.token, named.next(), named.next()) {
            (Some(token), None, None) => NewTarget::Raw { token, iss: self.iss },
            (None, Some((Kind::TokenHash, value)), None) => {
                // A digest names one token by itself; an issuer would only make a second name for it.
                NewTarget::Named(Target { kind: Kind::TokenHash, iss: None, value })
            }
            (None, Some((kind, value)), None) => NewTarget::Named(Target { kind, iss: self.iss, value }),
            (None, None, _) => match self.iss {
                Some(iss) => NewTarget::Named(Target { kind: Kind::Issuer, iss: None, value: iss }),
                None => {
                    let detail = "no target: name one of jti, sha256, token, sid, sub, client_id, kid, or iss alone";
                    return Err(Refusal::new(Fault::Target, detail));
                }
            },
            _ => {
                let detail = "more than one target: name one of jti, sha256, token, sid, sub, client_id, kid";
                return Err(Refusal::new(Fault::Target, detail));
            }
        };
        let lifetime = match (self.exp, self.ttl) {
            (Some(_), Some(_)) => return Err(Refusal::new(Fault::Time, "give exp or ttl, not both")),
            (Some(exp), None) => Lifetime::Until(exp),
            (None, Some(ttl)) => Lifetime::For(ttl),
            (None, None) => Lifetime::Unsaid,
        };
        Ok(NewRevocation { target, lifetime, issued_before: self.issued_before, reason: self.reason })
    }
}

/// A revocation as a hub tells it (the wire form), which is what another hub's outlet sends. Without `revoked_at` it is a
/// lift, which nobody may do for another hub.
#[derive(Deserialize)]
struct Told {
    kind: String,
    jti: Option<String>,
    sha256: Option<String>,
    sig: Option<String>,
    sid: Option<String>,
    sub: Option<String>,
    client_id: Option<String>,
    kid: Option<String>,
    iss: Option<String>,
    exp: Option<i64>,
    issued_before: Option<i64>,
    revoked_at: Option<i64>,
    reason: Option<String>,
}

/// Reads one revocation in the wire form.
pub fn wire(json: &[u8]) -> Result<NewRevocation, Refusal> {
    let told: Told = serde_json::from_slice(json).map_err(|e| json_error(&redacted(e)))?;
    if told.revoked_at.is_none() {
        return Err(Refusal::new(Fault::Target, "another hub's lift is not taken over; lift it here"));
    }
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == told.kind);
    let kind = kind.ok_or_else(|| Refusal::new(Fault::Target, "the kind of target is not known"))?;
    let (value, iss) = match kind {
        Kind::Token => (told.jti, told.iss),
        Kind::TokenHash => (told.sha256, None),
        Kind::Signature => (told.sig, told.iss),
        Kind::Session => (told.sid, told.iss),
        Kind::Subject => (told.sub, told.iss),
        Kind::Client => (told.client_id, told.iss),
        Kind::Key => (told.kid, told.iss),
        Kind::Issuer => (told.iss, None),
    };
    let value = value.ok_or_else(|| Refusal::new(Fault::Target, format!("{} is missing", kind.field())))?;
    Ok(NewRevocation {
        target: NewTarget::Named(Target { kind, iss, value }),
        // Left out, it is kept until it is lifted.
        lifetime: told.exp.map_or(Lifetime::Unlimited, Lifetime::Until),
        issued_before: told.issued_before,
        reason: told.reason,
    })
}

fn json_error(error: &serde_json::Error) -> Refusal {
    // serde_json quotes names of members but no values of strings, so no token gets into the answer.
    let code = if error.is_data() { Fault::Item } else { Fault::Json };
    Refusal::new(code, error.to_string())
}

fn item(index: usize, json: &[u8]) -> Result<NewRevocation, Refusal> {
    // serde would also take an array for the members in their order.
    if json.trim_ascii_start().first() == Some(&b'[') {
        return Err(Refusal::new(Fault::Item, "expected an object").at(index));
    }
    let item: Item = serde_json::from_slice(json).map_err(|e| json_error(&redacted(e)).at(index))?;
    item.translate().map_err(|refusal| refusal.at(index))
}

/// serde_json quotes values of the wrong type and members it does not know. A token that stands in the wrong place must
/// not come back that way, so only what was expected is told.
fn redacted(error: serde_json::Error) -> serde_json::Error {
    let text = error.to_string();
    // The last one: the value itself may say the same.
    let expected = text.rfind(", expected").map_or("", |at| &text[at..]);
    if error.is_data() && text.starts_with("invalid type") {
        serde::de::Error::custom(format!("a member has the wrong type{expected}"))
    } else if error.is_data() && text.starts_with("unknown field") && text.len() > LONGEST_UNKNOWN {
        serde::de::Error::custom(format!("unknown field{expected}"))
    } else {
        error
    }
}

/// The longest complaint about an unknown member that is passed on: a slip of the pen is short, a token is not.
const LONGEST_UNKNOWN: usize = 200;

fn too_many(max_items: usize) -> Refusal {
    Refusal::new(Fault::TooMany, format!("more than {max_items} revocations at once (limits.max_items)"))
}

/// Reads one object or an array of them.
pub fn json(bytes: &[u8], max_items: usize) -> Result<Items, Refusal> {
    match bytes.trim_ascii_start().first() {
        Some(b'[') => {
            let raw: Vec<&RawValue> = serde_json::from_slice(bytes).map_err(|e| json_error(&e))?;
            if raw.len() > max_items {
                return Err(too_many(max_items));
            }
            let items = raw.iter().enumerate().map(|(index, raw)| item(index, raw.get().as_bytes()));
            Ok(Items::Many(items.collect::<Result<_, _>>()?))
        }
        Some(b'{') => Ok(Items::One(item(0, bytes)?)),
        Some(_) => Err(Refusal::new(Fault::Json, "expected an object or an array of objects")),
        None => Err(Refusal::new(Fault::Json, "the body is empty")),
    }
}

/// Reads one object a line; empty lines do not count.
pub fn ndjson(bytes: &[u8], max_items: usize) -> Result<Items, Refusal> {
    let lines = bytes.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let mut items = Vec::new();
    for (index, line) in lines.enumerate() {
        if index == max_items {
            return Err(too_many(max_items));
        }
        items.push(item(index, line)?);
    }
    Ok(Items::Many(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_many_and_lines_are_the_same_items() {
        let one = br#"{"jti":"a","exp":7}"#;
        let Ok(Items::One(item)) = json(one, 1) else { panic!("one item") };
        assert_eq!(item.target, NewTarget::Named(Target { kind: Kind::Token, iss: None, value: "a".into() }));
        assert_eq!(item.lifetime, Lifetime::Until(7));
        assert_eq!(json(br#"[{"jti":"a","exp":7}]"#, 1), Ok(Items::Many(vec![item.clone()])));
        assert_eq!(ndjson(b"\n{\"jti\":\"a\",\"exp\":7}\r\n\n", 1), Ok(Items::Many(vec![item])));
    }

    #[test]
    fn a_refusal_names_the_item_and_never_quotes_a_token() {
        let refused = |text: &str| json(text.as_bytes(), 2).unwrap_err();
        for (text, fault, index) in [
            ("", Fault::Json, None),
            ("7", Fault::Json, None),
            ("{", Fault::Json, Some(0)),
            (r#"[{"jti":"a"},[]]"#, Fault::Item, Some(1)),
            (r#"{"jti":"a","sub":"b"}"#, Fault::Target, Some(0)),
            ("{}", Fault::Target, Some(0)),
            (r#"{"jti":"a","exp":1,"ttl":1}"#, Fault::Time, Some(0)),
            ("[{},{},{}]", Fault::TooMany, None),
        ] {
            let refusal = refused(text);
            assert_eq!((refusal.fault, refusal.index), (fault, index), "{text}");
        }
        let refusal = refused(r#"{"exp":"eyJhbGciOiJub25lIn0.e30."}"#);
        assert!(!refusal.detail.contains("eyJ"), "{}", refusal.detail);
    }
}
