//! A look at the key set of an issuer, for people who look for a fault.

use jsonwebtoken::Algorithm as Jwa;

use super::{fetch, keys};
use crate::config::{self, Algorithm};

/// A key that can check signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usable {
    /// Its name, if it has one.
    pub kid: Option<String>,
    /// What it checks, as RFC 7518 §3.1 names it.
    pub algorithms: Vec<&'static str>,
}

/// Reads the key set once, from where the configuration says. Errors name addresses and nothing that is secret.
pub async fn key_set(issuer: &config::Issuer) -> anyhow::Result<Vec<Usable>> {
    Ok(fetch::key_set(issuer).await?.usable())
}

/// The names of algorithms.
pub fn names(algorithms: &[Algorithm]) -> Vec<&'static str> {
    algorithms.iter().map(|algorithm| name(keys::of(*algorithm))).collect()
}

/// The names of all algorithms that can be allowed.
pub fn algorithms() -> [&'static str; 9] {
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
}

pub(super) fn name(jwa: Jwa) -> &'static str {
    let own = format!("{jwa:?}");
    algorithms().into_iter().find(|name| *name == own).unwrap_or("another")
}
