//! `[[clients]]`: who may do what, and how they prove who they are.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::secret::Secret;
use crate::formats::signature::Style;

/// One client: a gateway that reads, an STS that publishes, a person who does both.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its name, in logs and as the `source` of its revocations.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The only issuers it may speak about; all when absent.
    #[serde(default)]
    pub issuers: Option<Vec<String>>,
    /// HTTP Basic, which is what WSO2 gateways send.
    #[serde(default)]
    pub basic: Option<Basic>,
    /// A bearer token.
    #[serde(default)]
    pub bearer: Option<Bearer>,
    /// Signatures of its webhooks.
    #[serde(default)]
    pub webhook: Option<Webhook>,
    /// Overrides the setting of the same name for what this client sends.
    #[serde(default)]
    pub keep_opaque: Option<bool>,
    /// Overrides `default_max_token_lifetime` for what this client sends.
    #[serde(default, deserialize_with = "duration::deserialize_option")]
    pub max_token_lifetime: Option<Duration>,
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Basic {
    /// The user name; no colon in it.
    pub username: String,
    /// The password; after loading it is here wherever it came from.
    #[serde(default)]
    pub password: Secret,
    /// The file the password was read from.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// A bearer token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bearer {
    /// The token; after loading it is here wherever it came from.
    #[serde(default)]
    pub token: Secret,
    /// The file the token was read from.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// How a client signs its webhooks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The way it signs.
    #[serde(default)]
    pub style: Style,
    /// The secret, or several on lines of their own while one replaces another; for `v1a` of Standard Webhooks the public
    /// key. After loading it is here wherever it came from.
    #[serde(default)]
    pub secret: Secret,
    /// The file the secret was read from.
    #[serde(default)]
    pub secret_file: Option<PathBuf>,
    /// How far the time of a signature may be from now.
    #[serde(default = "five_minutes", deserialize_with = "duration::deserialize")]
    pub tolerance: Duration,
}

impl Webhook {
    /// The secrets.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.secret.expose().lines().filter(|line| !line.is_empty())
    }
}

const fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Revoke single tokens.
    Publish,
    /// Snapshot, check, events, the WSO2 paths.
    Read,
    /// Take revocations back.
    Lift,
    /// Revoke whatever is wider than one token; with `publish`.
    Rules,
    /// Operate the hub; it contains none of the other scopes.
    Admin,
}

impl Scope {
    /// The name in configuration and errors.
    pub const fn name(self) -> &'static str {
        match self {
            Scope::Publish => "publish",
            Scope::Read => "read",
            Scope::Lift => "lift",
            Scope::Rules => "rules",
            Scope::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
