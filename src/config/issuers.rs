//! `[[issuers]]`: whose tokens are believed, and where their keys are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::clients::Scope;
use super::duration;

/// An issuer of JWTs: an OpenID provider, an SSF transmitter, a token service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// What its tokens have as `iss`, to the letter.
    pub issuer: String,
    /// Its metadata (OpenID Connect Discovery 1.0 §4, RFC 8414 §3); when nothing else is given, the `issuer` with
    /// `/.well-known/openid-configuration` behind it.
    #[serde(default)]
    pub discovery_url: Option<String>,
    /// Its key set (RFC 7517 §5), when there is no metadata.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// A file with its key set.
    #[serde(default)]
    pub jwks_file: Option<PathBuf>,
    /// A file with one public key (PEM, SubjectPublicKeyInfo).
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
    /// The signature algorithms it uses (RFC 7518 §3.1, RFC 8037).
    #[serde(default = "asymmetric")]
    pub algorithms: Vec<Algorithm>,
    /// Certificates (PEM) to trust instead of the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How old a key set may become before it is read again.
    #[serde(default = "ten_minutes", deserialize_with = "duration::deserialize")]
    pub refresh_interval: Duration,
    /// How often at the most it is read because of a key that is not known.
    #[serde(default = "half_a_minute", deserialize_with = "duration::deserialize")]
    pub unknown_key_interval: Duration,
    /// What its tokens let their bearers do here; nothing when absent.
    #[serde(default)]
    pub credentials: Option<Credentials>,
}

/// How a token of an issuer is a credential of the hub (`Authorization: Bearer`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// One of these has to be in `aud`: who we are to the issuer. Else a token made for anybody would open the hub.
    pub audiences: Vec<String>,
    /// The claim whose words are looked up in `scopes`: text with blanks between, or a list of texts.
    #[serde(default = "scope")]
    pub claim: String,
    /// What each word lets its bearer do here.
    pub scopes: BTreeMap<String, Vec<Scope>>,
    /// The claim that names the caller; when absent `client_id` (else `azp`, `appid`), else `sub`.
    #[serde(default)]
    pub name_claim: Option<String>,
    /// The only issuers that such a caller may speak about; all when absent.
    #[serde(default)]
    pub issuers: Option<Vec<String>>,
}

fn scope() -> String {
    "scope".into()
}

/// A signature algorithm. Symmetric ones are not among them: whoever could check could also sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[expect(missing_docs, reason = "the names are those of RFC 7518 §3.1 and RFC 8037 §3.1")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

fn asymmetric() -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    vec![RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA]
}

const fn ten_minutes() -> Duration {
    Duration::from_secs(600)
}

const fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

impl Issuer {
    /// What is wrong with it, as setting and message.
    pub(super) fn complaint(&self) -> Option<(&'static str, String)> {
        let places =
            [self.discovery_url.is_some(), self.jwks_url.is_some(), self.jwks_file.is_some(), self.pem_file.is_some()];
        if self.issuer.is_empty() {
            return Some(("issuer", "is empty".into()));
        }
        if places.into_iter().filter(|given| *given).count() > 1 {
            return Some(("issuer", "give one of discovery_url, jwks_url, jwks_file and pem_file".into()));
        }
        let http =
            |url: &Option<String>| url.as_ref().is_none_or(|u| u.starts_with("https://") || u.starts_with("http://"));
        if !http(&self.discovery_url) || (!places.contains(&true) && !http(&Some(self.issuer.clone()))) {
            return Some((
                "discovery_url",
                "has to begin with https://, or http:// on a network that you trust".into(),
            ));
        }
        if !http(&self.jwks_url) {
            return Some(("jwks_url", "has to begin with https://, or http:// on a network that you trust".into()));
        }
        if self.algorithms.is_empty() {
            return Some(("algorithms", "is empty; leave it out for all asymmetric ones".into()));
        }
        if self.refresh_interval.is_zero() || self.unknown_key_interval.is_zero() {
            return Some(("refresh_interval", "0 is not accepted; use a duration such as \"10m\"".into()));
        }
        self.credentials.as_ref().and_then(Credentials::complaint)
    }
}

impl Credentials {
    fn complaint(&self) -> Option<(&'static str, String)> {
        let empty = |all: &[String]| all.is_empty() || all.iter().any(String::is_empty);
        if empty(&self.audiences) {
            let message = "names nobody; give what the issuer writes into `aud` for this hub";
            return Some(("credentials.audiences", message.into()));
        }
        if self.scopes.is_empty() || self.scopes.values().any(Vec::is_empty) {
            let message = "gives nothing; write { \"revocations:read\" = [\"read\"] } and the like";
            return Some(("credentials.scopes", message.into()));
        }
        if self.claim.is_empty() || self.name_claim.as_ref().is_some_and(String::is_empty) {
            return Some(("credentials.claim", "is empty; name a claim".into()));
        }
        if self.issuers.as_deref().is_some_and(empty) {
            return Some(("credentials.issuers", "names no issuer; leave the setting out to allow all".into()));
        }
        None
    }
}
