//! Durations in the configuration: `"60s"`, `"30d"`, `"1h 30m"`, or whole seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};

/// Beyond this a value is a slip of the unit (milliseconds for seconds), not a wish.
const MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Reads what a person writes for a duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let refused = |why: &str| format!("\"{text}\" is {why}; write \"60s\", \"5m\", \"30d\" or whole seconds");
    let text = text.trim();
    let value = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        Duration::from_secs(text.parse().map_err(|_| refused("too long"))?)
    } else {
        humantime::parse_duration(text).map_err(|_| refused("not a duration"))?
    };
    if value > MAX { Err(refused("more than 100 years")) } else { Ok(value) }
}

/// For `#[serde(deserialize_with)]`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

/// The same for an optional setting.
pub(super) fn deserialize_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize(deserializer).map(Some)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"60s\", \"5m\" or \"30d\", or whole seconds")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Duration, E> {
        parse(&seconds.to_string()).map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Duration, E> {
        parse(&seconds.to_string()).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_durations_in_words_or_in_seconds() {
        assert_eq!(parse("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse("1h 30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse("30d"), Ok(Duration::from_secs(2_592_000)));
        assert_eq!(parse(" 60 "), Ok(Duration::from_secs(60)));
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn what_is_no_duration_is_named_with_what_is_accepted() {
        for bad in ["", "-1", "1.5", "soon", "60 parsecs", "99999999999999999999", "101 years"] {
            let why = parse(bad).unwrap_err();
            assert!(why.contains("\"60s\""), "{why}");
        }
    }
}
