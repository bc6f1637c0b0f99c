//! Secrets: values that must never reach a log, an error text or a core of `{:?}`.

use std::fmt;
use std::io::Read as _;
use std::path::Path;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use subtle::ConstantTimeEq as _;

/// A secret text. `{}` and `{:?}` print `***`; comparing takes the same time wherever the difference is.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that compares or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads a secret from a file; one line break at the end is not part of it.
    pub fn read(path: &Path) -> Result<Self, String> {
        /// More is not a secret but a wrong path.
        const MAX: u64 = 64 * 1024;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX + 1).read_to_string(&mut text))
            .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        if text.len() as u64 > MAX {
            return Err(format!("{} is larger than 64 KiB, which is no secret", path.display()));
        }
        if text.ends_with('\n') {
            text.truncate(text.len() - 1);
            if text.ends_with('\r') {
                text.truncate(text.len() - 1);
            }
        }
        if text.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(Self(text)) }
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor).map(Self)
    }
}

/// The place of the store. May hold a password, so that `{}` and `{:?}` print `***` in its place.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Wraps a URL as it was given.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The URL with its password, for connecting.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rather hide too much: what cannot be taken apart is hidden whole, and a password may contain `/`, `?`, `@`.
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return f.write_str(if self.0.starts_with("sqlite:") { &self.0 } else { "***" });
        };
        write!(f, "{scheme}://")?;
        let rest = match rest.rsplit_once('@') {
            Some((login, rest)) => {
                match login.split_once(':') {
                    Some((user, _)) => write!(f, "{user}:***@")?,
                    None => write!(f, "{login}@")?,
                }
                rest
            }
            None => rest,
        };
        let Some((place, query)) = rest.split_once('?') else { return f.write_str(rest) };
        f.write_str(place)?;
        for (i, pair) in query.split('&').enumerate() {
            f.write_str(if i == 0 { "?" } else { "&" })?;
            match pair.split_once('=') {
                Some((key, _)) if key.to_ascii_lowercase().contains("pass") => write!(f, "{key}=***")?,
                _ => f.write_str(pair)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl<'de> Deserialize<'de> for DatabaseUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_string(TextVisitor).map(Self)
    }
}

/// Takes text and refuses everything else without repeating it, as serde's own messages would.
struct TextVisitor;

impl Visitor<'_> for TextVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.into())
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<String, E> {
        Err(E::custom("must be text; put it in quotes"))
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<String, E> {
        Err(E::custom("must be text; put it in quotes"))
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<String, E> {
        Err(E::custom("must be text; put it in quotes"))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<String, E> {
        Err(E::custom("must be text; put it in quotes"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_does_not_print_itself() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(secret, Secret::new("hunter2"));
        assert_ne!(secret, Secret::new("hunter3"));
    }

    #[test]
    fn a_database_url_prints_everything_but_its_password() {
        for (url, shown) in [
            ("sqlite://revocation-hub.db", "sqlite://revocation-hub.db"),
            ("sqlite:hub.db", "sqlite:hub.db"),
            ("postgres://hub@db/hub", "postgres://hub@db/hub"),
            ("postgres://hub:hunter2@db:5432/hub", "postgres://hub:***@db:5432/hub"),
            ("postgres://hub:hun@ter/2?@db/hub?sslmode=require", "postgres://hub:***@db/hub?sslmode=require"),
            ("postgres:///hub?user=u&password=hunter2&x=y", "postgres:///hub?user=u&password=***&x=y"),
            ("host=db password=hunter2", "***"),
        ] {
            let url = DatabaseUrl::new(url);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), format!("\"{shown}\""));
        }
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_part_of_the_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        for (text, secret) in [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a ")] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Secret::read(&path).unwrap().expose(), secret);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(Secret::read(&path).unwrap_err().ends_with("is empty"));
    }
}
