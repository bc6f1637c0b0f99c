//! JWTs as credentials: what the token of a configured issuer lets its bearer do here.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Expect, Issuers, VerifyError};
use crate::config::{Credentials, Scope};
use crate::revocation::Claims;
use crate::revocation::token::{self, Token};

/// Somebody who has shown a good token. Whether it is revoked is another question.
#[derive(Clone, Debug)]
pub struct SignedIn {
    /// Who it is.
    pub name: Arc<str>,
    /// The client that the token was issued to, if it names one.
    pub client_id: Option<Arc<str>>,
    /// What the bearer may do.
    pub scopes: Arc<[Scope]>,
    /// The issuers that the bearer may speak about.
    pub issuers: Option<Arc<[String]>>,
    /// When the token expires, NumericDate seconds.
    pub expires_at: i64,
    /// What the ledger is asked about the token.
    pub claims: Claims,
}

/// An access token, by its own type (RFC 9068 §2.1), by the general one, or by none, as many issuers still write it. A
/// token of any other type was made for something else (RFC 8725 §3.11).
pub const ACCESS_TOKEN: &[&str] = &["", "jwt", "at+jwt"];
/// The longest name of a caller, bytes: it becomes the `source` of revocations.
const MAX_NAME: usize = 64;

impl Issuers {
    /// Whether any issuer's tokens are credentials here.
    pub fn have_credentials(&self) -> bool {
        self.all.iter().any(|issuer| issuer.config.credentials.is_some())
    }

    /// Who presents this bearer token.
    pub async fn sign_in(&self, text: &str) -> Result<SignedIn, VerifyError> {
        let Ok(Token::Jwt(jwt)) = token::read(text) else { return Err(VerifyError::Malformed) };
        let issuer = jwt.claims.iss.flatten().and_then(|iss| self.find(&iss)).ok_or(VerifyError::Issuer)?;
        let credentials = issuer.config.credentials.as_ref().ok_or(VerifyError::Issuer)?;
        let meant = [issuer.config.issuer.clone()];
        let expect = Expect {
            issuers: Some(&meant),
            audiences: &credentials.audiences,
            types: ACCESS_TOKEN,
            needs_exp: true,
            early: false,
        };
        let verified = self.verify(text, &expect).await?;
        let client_id = verified.jwt.claims.client_id.as_deref();
        Ok(SignedIn {
            name: name(credentials, &verified.claims, client_id).ok_or(VerifyError::Malformed)?.into(),
            client_id: client_id.map(Into::into),
            scopes: scopes(credentials, &verified.claims).into(),
            issuers: credentials.issuers.clone().map(Into::into),
            // The reader rounds up, and nothing may last longer than the token.
            expires_at: verified.claims.get("exp").and_then(Value::as_f64).unwrap_or_default().floor() as i64,
            claims: verified.to_check(),
        })
    }
}

/// The caller's name: of the configured claim, else of the client, else of the subject.
fn name<'a>(credentials: &Credentials, claims: &'a Map<String, Value>, client_id: Option<&'a str>) -> Option<&'a str> {
    let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
    let name = match &credentials.name_claim {
        Some(claim) => text(claim),
        None => client_id.or_else(|| text("sub")),
    };
    name.filter(|name| !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control))
}

/// What the values of the claim are worth here; those that the configuration does not name are worth nothing.
fn scopes(credentials: &Credentials, claims: &Map<String, Value>) -> Vec<Scope> {
    let words: Vec<&str> = match claims.get(&credentials.claim) {
        Some(Value::String(words)) => words.split(' ').collect(),
        Some(Value::Array(words)) => words.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let mut scopes: Vec<Scope> =
        words.into_iter().filter_map(|word| credentials.scopes.get(word)).flatten().copied().collect();
    scopes.sort_unstable();
    scopes.dedup();
    scopes
}
