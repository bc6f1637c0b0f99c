//! Forms as OAuth 2.0 sends them (`application/x-www-form-urlencoded`; RFC 6749 §3.2 and appendix B).

use std::collections::BTreeMap;

/// The parameters of a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

/// Why a form is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// It has so many parameters that nobody can mean it.
    #[error("the form has more than {MAX_PARAMETERS} parameters")]
    TooMany,
    /// A parameter is there twice, and readers could take either (RFC 6749 §3.2).
    #[error("the form has a parameter twice")]
    Twice,
}

const MAX_PARAMETERS: usize = 100;

impl Form {
    /// Reads a form. Unknown parameters are nobody's concern; one without a value counts as left out (RFC 6749 §3.2).
    pub fn read(body: &[u8]) -> Result<Self, FormError> {
        let pairs = serde_urlencoded::from_bytes::<Pairs>(body).map_err(|_| FormError::TooMany)?;
        let mut form = BTreeMap::new();
        for (name, value) in pairs.0 {
            if form.insert(name, value).is_some() {
                return Err(FormError::Twice);
            }
        }
        form.retain(|_, value| !value.is_empty());
        Ok(Self(form))
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

impl std::fmt::Debug for Form {
    /// Never shows a value: it may be a token or a secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Some pairs, before anything else of them is looked at.
struct Pairs(Vec<(String, String)>);

impl<'de> serde::Deserialize<'de> for Pairs {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Pairs;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a form")
            }
            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    if pairs.len() == MAX_PARAMETERS {
                        return Err(serde::de::Error::custom("too many"));
                    }
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_as_oauth_has_it() {
        let form = Form::read(b"token=a%2Eb+c&empty=&x=1&").unwrap();
        assert_eq!((form.get("token"), form.get("x")), (Some("a.b c"), Some("1")));
        assert_eq!((form.get("empty"), form.get("y")), (None, None));
        assert_eq!(format!("{form:?}"), r#"{"token", "x"}"#);
        assert_eq!(Form::read(b"a=1&b=2&a=1"), Err(FormError::Twice));
        assert_eq!(Form::read(b"a=&a=1"), Err(FormError::Twice), "which of the two would count?");
        assert_eq!(Form::read("&a=".repeat(1000).as_bytes()), Err(FormError::TooMany));
        assert!(Form::read(b"").unwrap().get("token").is_none());
        // What is no UTF-8 is read as characters that no token has.
        assert_eq!(Form::read(b"token=%ff").unwrap().get("token"), Some("\u{fffd}"));
    }
}
