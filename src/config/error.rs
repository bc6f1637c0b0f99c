//! What can be wrong with a configuration: one line that says which setting, which value, what is accepted.

use std::net::SocketAddr;
use std::path::PathBuf;

use figment::error::{Actual, Kind, OneOf};

use super::environment;

/// Why a configuration is not accepted. The process ends with [`ConfigError::EXIT_CODE`].
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}: {reason}", path.display())]
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected; never the line itself, which may hold a secret.
        message: String,
    },
    /// There is no such setting.
    #[error("{place}: there is no such setting; {known}")]
    Unknown {
        /// Where it came from and its name.
        place: String,
        /// The one that was probably meant, and those that there are at this place.
        known: String,
    },
    /// A value is of the wrong type or not among those accepted.
    #[error("{place}: {message}")]
    Value {
        /// Where it came from and its name.
        place: String,
        /// What is wrong and what is accepted.
        message: String,
    },
    /// A setting that does not make sense, by itself or beside another.
    #[error("{key}: {message}")]
    Invalid {
        /// The setting.
        key: String,
        /// What is wrong and what is accepted.
        message: String,
    },
    /// Anyone who can reach the address could revoke every token.
    #[error(
        "{key}: {address} can be reached from other machines and no client is configured, so anyone could revoke tokens; \
         add [[clients]] with credentials (see `revocation-hub config default`) or listen on 127.0.0.1 or [::1]"
    )]
    OpenToTheNetwork {
        /// The setting.
        key: &'static str,
        /// The address.
        address: SocketAddr,
    },
}

impl ConfigError {
    /// How the process ends on any of these (`EX_USAGE` of sysexits).
    pub const EXIT_CODE: u8 = 64;

    pub(super) fn invalid(key: impl Into<String>, message: impl Into<String>) -> Self {
        ConfigError::Invalid { key: key.into(), message: message.into() }
    }
}

/// Where a layer of settings came from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    File(PathBuf),
    /// The names of the variables that are settings.
    Environment(Vec<String>),
    Flags,
}

impl Origin {
    /// How a person finds the setting again.
    pub fn place(&self, path: &[String]) -> String {
        match self {
            Origin::File(file) => format!("{}: {}", file.display(), dotted(path)),
            Origin::Environment(names) => format!("environment variable {}", environment::variable(path, names)),
            Origin::Flags => format!("flag --{}", path.join("-").replace('_', "-")),
        }
    }

    /// Says what figment found in our words, without repeating what may be a secret.
    pub fn explain(&self, error: figment::Error) -> ConfigError {
        let place = self.place(&error.path);
        let secret = error.path.first().is_some_and(|key| {
            ["clients", "sources", "outlets", "proxy"].contains(&key.as_str()) || key.starts_with("database_url")
        });
        let message = match error.kind {
            Kind::UnknownField(found, known) => return ConfigError::Unknown { place, known: those(&found, known) },
            Kind::UnknownVariant(found, known) => format!("\"{found}\" is not accepted; use {}", OneOf(known)),
            Kind::MissingField(field) => format!("`{field}` is missing"),
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("found {}, expected {expected}", shown(&found, secret))
            }
            other => other.to_string(),
        };
        ConfigError::Value { place, message }
    }
}

/// The settings there are, the most similar one in front.
fn those(found: &str, known: &[&str]) -> String {
    /// Above it a person says "of course": a letter too many, two that changed places, a plural.
    const SIMILAR: f64 = 0.9;
    let alike = |name: &&&str| strsim::jaro_winkler(found, name);
    let nearest = known.iter().max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|name| alike(name) > SIMILAR);
    let meant = nearest.map_or_else(String::new, |name| format!("did you mean {name}? "));
    format!("{meant}known here: {}", known.join(", "))
}

/// A value in an error text.
fn shown(actual: &Actual, secret: bool) -> String {
    match actual {
        Actual::Seq => "a list".into(),
        Actual::Map => "a table".into(),
        Actual::Str(_) if secret => "text".into(),
        Actual::Bool(_) | Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) if secret => {
            "a number, true or false".into()
        }
        other => other.to_string(),
    }
}

/// `["clients", "0", "name"]` as `clients[0].name`.
fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{part}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(part);
        }
    }
    text
}
