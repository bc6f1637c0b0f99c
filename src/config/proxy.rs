//! `[proxy]`: the control plane behind the paths that Choreo Connect needs besides.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::links::ServerUrl;
use super::secret::Secret;

/// The control plane, if there is one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proxy {
    /// Where it is; without it nothing is passed on.
    pub url: Option<ServerUrl>,
    /// Who the hub is there.
    pub username: Option<String>,
    /// The password; after loading it is here wherever it came from.
    pub password: Secret,
    /// The file the password was read from.
    pub password_file: Option<PathBuf>,
    /// PEM certificates to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How long a connection may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub connect_timeout: Duration,
    /// How long it may be silent.
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            url: None,
            username: None,
            password: Secret::default(),
            password_file: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(5),
            timeout: Duration::from_secs(60),
        }
    }
}

impl Proxy {
    /// What is wrong with it, as setting and message.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        let of = |setting, message: &str| Some((setting, message.to_owned()));
        for (setting, duration) in [("connect_timeout", self.connect_timeout), ("timeout", self.timeout)] {
            if duration.is_zero() {
                return of(setting, "0 is not accepted; use a duration such as \"5s\"");
            }
        }
        let Some(url) = &self.url else {
            let lonely = self.username.is_some() || !self.password.is_empty() || self.ca_file.is_some();
            return lonely.then(|| ("url", "is missing; without it nothing is passed on".to_owned()));
        };
        // What cannot be read may be a password in the wrong place, so it is not repeated.
        let parsed = url.expose().parse::<reqwest::Url>().ok();
        let Some(parsed) = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
            return of("url", "has to begin with https:// or http:// and name a host");
        };
        if parsed.query().is_some() || parsed.fragment().is_some() || parsed.path().contains("/internal/data") {
            return of("url", "goes without path and query: the paths are the same on both sides");
        }
        if self.username.is_none() && !self.password.is_empty() {
            return of("username", "is missing");
        }
        None
    }
}
