//! `[[clients]]`: who may do what, and how they prove who they are.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;
use super::secret::Secret;
use crate::formats::signature::Style;
use crate::tls::certificate::{self, AlternativeName, ClientCertificate};

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
    /// A certificate that it shows (mutual TLS).
    #[serde(default)]
    pub certificate: Option<CertificateName>,
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

/// What the certificate of a client is called: exactly one of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CertificateName {
    /// The whole subject, as RFC 4514 writes it: `CN=gateway,O=Example`.
    pub subject: Option<String>,
    /// A DNS name among the alternative names.
    pub san_dns: Option<String>,
    /// A URI among them, such as a SPIFFE ID.
    pub san_uri: Option<String>,
    /// A mailbox among them.
    pub san_email: Option<String>,
    /// An address among them.
    pub san_ip: Option<IpAddr>,
}

/// One name, in the spelling that names are compared in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The subject.
    Subject(String),
    /// Another name.
    Alternative(AlternativeName),
}

impl CertificateName {
    /// The name, or what is wrong with it.
    pub fn name(&self) -> Result<Shown, &'static str> {
        use AlternativeName::{Dns, Email, Ip, Uri};
        let subject = self.subject.as_deref().map(|text| certificate::subject(text).map(Shown::Subject));
        let alternative = |name: Option<AlternativeName>| name.map(|name| Some(Shown::Alternative(name)));
        let all = [
            subject,
            alternative(self.san_dns.as_ref().map(|name| Dns(name.to_ascii_lowercase()))),
            alternative(self.san_uri.clone().map(Uri)),
            alternative(self.san_email.clone().map(Email)),
            alternative(self.san_ip.map(Ip)),
        ];
        let mut given = all.into_iter().flatten();
        let first = given.next().ok_or("names nothing; give subject, san_dns, san_uri, san_email or san_ip")?;
        if given.next().is_some() {
            return Err("names more than one thing; give one of subject, san_dns, san_uri, san_email and san_ip");
        }
        match first.ok_or("subject is not one that RFC 4514 knows; it looks like CN=gateway,O=Example")? {
            Shown::Alternative(Dns(text) | Uri(text) | Email(text)) if text.is_empty() => Err("is empty"),
            name => Ok(name),
        }
    }
}

impl Shown {
    /// Whether a certificate has this name.
    pub fn is_of(&self, certificate: &ClientCertificate) -> bool {
        match self {
            Shown::Subject(subject) => *subject == certificate.subject,
            Shown::Alternative(name) => certificate.names.contains(name),
        }
    }
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
