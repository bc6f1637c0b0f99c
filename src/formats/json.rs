//! Reading other people's JSON: members of an unexpected type, and objects that must be objects.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Where a JSON text is broken. What serde says beyond that may quote the text, which may hold a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the JSON that was expected, at line {line}, column {column}")]
pub struct Broken {
    /// From 1.
    pub line: usize,
    /// From 1; 0 when not known.
    pub column: usize,
}

impl From<serde_json::Error> for Broken {
    fn from(error: serde_json::Error) -> Self {
        Self { line: error.line(), column: error.column() }
    }
}

/// A member of which only text and whole numbers matter, whatever its type: Java's `getString` and `getLong` convert,
/// so both spellings of everything occur. Absent and `null` are the same.
#[derive(Clone, Default, PartialEq)]
pub enum Scalar {
    /// Absent, `null`, an object, an array.
    #[default]
    Nothing,
    /// A string.
    Text(String),
    /// A whole number; beyond 64 bits the nearest that fits.
    Integer(i64),
    /// `true` or `false`.
    Bool(bool),
}

impl Scalar {
    /// As text; a number in decimal.
    pub fn text(self) -> Option<String> {
        match self {
            Scalar::Nothing => None,
            Scalar::Text(text) => Some(text),
            Scalar::Integer(number) => Some(number.to_string()),
            Scalar::Bool(value) => Some(value.to_string()),
        }
    }

    /// As a number; text if it is one. What is not a number is as good as absent: all the numbers of these formats
    /// are optional, and a revocation with an unknown end is better than none.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Scalar::Integer(number) => Some(*number),
            Scalar::Text(text) => text.trim().parse().ok(),
            Scalar::Nothing | Scalar::Bool(_) => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_unit<E>(self) -> Result<Scalar, E> {
                Ok(Scalar::Nothing)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(i64::try_from(value).unwrap_or(i64::MAX)))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Scalar, E> {
                // `as` saturates, and JSON has no NaN.
                Ok(Scalar::Integer(value.ceil() as i64))
            }

            fn visit_str<E>(self, value: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(value.to_owned()))
            }

            fn visit_string<E>(self, value: String) -> Result<Scalar, E> {
                Ok(Scalar::Text(value))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// A struct that was written as a JSON object. serde would also take an array for the members in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_convert_as_java_does() {
        let read = |json: &str| serde_json::from_str::<Scalar>(json).unwrap();
        for (json, text, integer) in [
            ("null", None, None),
            (r#""5000""#, Some("5000"), Some(5000)),
            ("5000", Some("5000"), Some(5000)),
            ("-1234", Some("-1234"), Some(-1234)),
            ("9223372036854775807", Some("9223372036854775807"), Some(i64::MAX)),
            ("9223372036854775808", Some("9223372036854775807"), Some(i64::MAX)),
            ("1e300", Some("9223372036854775807"), Some(i64::MAX)),
            ("4.1024448e12", Some("4102444800000"), Some(4_102_444_800_000)),
            ("true", Some("true"), None),
            (r#""x""#, Some("x"), None),
            (r#"{"a":[1,{"b":2}]}"#, None, None),
            ("[[],{}]", None, None),
        ] {
            assert_eq!(read(json).integer(), integer, "{json}");
            assert_eq!(read(json).text().as_deref(), text, "{json}");
        }
    }
}
