//! A JWT as it stands, before anything of it is believed. Pure, and total: any text gives a token or an error.

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::VerifyError;
use crate::revocation::token::{self, Jwt, Token};

/// What a token says of itself.
#[derive(Clone, Debug)]
pub struct Unverified {
    /// What the strict reader found.
    pub jwt: Jwt,
    /// `alg` as it stands there.
    pub alg: String,
    /// `typ` in lower case and without `application/` (RFC 7515 §4.1.9); empty when there is none.
    pub typ: String,
    /// All claims.
    pub claims: Map<String, Value>,
}

/// What is read of the header besides what the strict reader looks at.
#[derive(Deserialize)]
struct Header {
    alg: String,
    typ: Option<String>,
    /// Extensions that have to be understood (RFC 7515 §4.1.11); none is. `null` is there as well.
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    /// Whether the payload is encoded, which that of a JWT has to be (RFC 7797 §7).
    b64: Option<bool>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// The claims; one that is there twice could be read in two ways.
struct Unique(Map<String, Value>);

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Unique;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Unique, A::Error> {
                let mut claims = Map::new();
                while let Some((name, value)) = members.next_entry::<String, Value>()? {
                    if claims.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a claim is there twice"));
                    }
                }
                Ok(Unique(claims))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl Unverified {
    /// Reads a token in compact serialization; [`VerifyError::Malformed`] for whatever else.
    pub fn read(text: &str) -> Result<Self, VerifyError> {
        let Ok(Token::Jwt(jwt)) = token::read(text) else { return Err(VerifyError::Malformed) };
        let header: Header = segment(text, 0).ok_or(VerifyError::Malformed)?;
        if header.crit || header.b64 == Some(false) {
            return Err(VerifyError::Malformed);
        }
        let Unique(claims) = segment(text, 1).ok_or(VerifyError::Malformed)?;
        let typ = header.typ.unwrap_or_default().to_ascii_lowercase();
        let typ = typ.strip_prefix("application/").unwrap_or(&typ).to_owned();
        Ok(Self { jwt, alg: header.alg, typ, claims })
    }
}

fn segment<T: for<'de> Deserialize<'de>>(text: &str, at: usize) -> Option<T> {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text.split('.').nth(at)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}
