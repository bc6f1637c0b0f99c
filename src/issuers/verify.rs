//! Checking a JWT against the configured issuers.

use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::{Issuers, Unverified, Wanted, keys};
use crate::revocation::Claims;
use crate::revocation::token::Jwt;

/// What a kind of token has to be, besides well signed.
#[derive(Clone, Debug, Default)]
pub struct Expect<'a> {
    /// The issuers that are meant; all configured ones when `None`.
    pub issuers: Option<&'a [String]>,
    /// One of these has to be in `aud`; when empty `aud` is not looked at.
    pub audiences: &'a [String],
    /// The accepted values of the header's `typ`, without `application/` and in lower case (RFC 7515 §4.1.9); when empty
    /// it is not looked at. `""` accepts a token without `typ`.
    pub types: &'a [&'a str],
    /// Whether there has to be an `exp`.
    pub needs_exp: bool,
    /// Whether it may be from the future (`nbf`, `iat`): a token that is revoked before its time is revoked.
    pub early: bool,
}

/// A JWT that was signed by one of the issuers and is what was expected.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What the strict reader found.
    pub jwt: Jwt,
    /// `iss`.
    pub issuer: String,
    /// All claims.
    pub claims: Map<String, Value>,
}

impl Verified {
    /// What the ledger is asked about the token. Entra calls its `jti` `uti`, and it is revoked by that name there.
    pub fn to_check(&self) -> Claims {
        let mut claims = self.jwt.claims.clone();
        claims.jti = claims.jti.or_else(|| Some(self.claims.get("uti")?.as_str()?.to_owned()));
        claims
    }
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// It is no JWT in the one spelling that counts.
    #[error("the token is not a JWT in strict compact serialization (RFC 7515 §7.1)")]
    Malformed,
    /// Its `typ` is another one.
    #[error("the token is of another type (header typ)")]
    Type,
    /// Its `iss` is none of those that may be here.
    #[error("the issuer of the token is not accepted here")]
    Issuer,
    /// Its `alg` is not accepted of this issuer.
    #[error("the signature algorithm of the token is not accepted")]
    Algorithm,
    /// Its key is not in the issuer's set.
    #[error("the key of the token is not in the key set of its issuer")]
    Key,
    /// It was not signed with that key.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Its `aud` is somebody else.
    #[error("the token is for another audience")]
    Audience,
    /// Its `exp` has passed, or it has none and needs one.
    #[error("the token has expired, or does not say when it does")]
    Expired,
    /// Its `nbf` or `iat` is in the future.
    #[error("the token is from the future (nbf, iat)")]
    NotYet,
    /// The issuer's keys are not known and cannot be read now.
    #[error("the keys of the issuer cannot be read at the moment, or not again so soon")]
    Unavailable,
}

impl VerifyError {
    /// A stable name, for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            VerifyError::Malformed => "malformed_token",
            VerifyError::Type => "wrong_type",
            VerifyError::Issuer => "unknown_issuer",
            VerifyError::Algorithm => "wrong_algorithm",
            VerifyError::Key => "unknown_key",
            VerifyError::Signature => "wrong_signature",
            VerifyError::Audience => "wrong_audience",
            VerifyError::Expired => "expired",
            VerifyError::NotYet => "not_yet",
            VerifyError::Unavailable => "keys_unavailable",
        }
    }
}

impl Issuers {
    /// Checks a token. Whether it is *revoked* is another question.
    pub async fn verify(&self, text: &str, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
        let result = self.check(text, expect).await;
        let outcome = result.as_ref().map_or_else(|error| error.reason(), |_| "good");
        self.metrics.tokens_checked.with_label_values(&[outcome]).inc();
        result
    }

    async fn check(&self, text: &str, expect: &Expect<'_>) -> Result<Verified, VerifyError> {
        let Unverified { jwt, alg, typ, claims } = Unverified::read(text)?;
        if !expect.types.is_empty() && !expect.types.contains(&&*typ) {
            return Err(VerifyError::Type);
        }
        let iss = jwt.claims.iss.clone().flatten().ok_or(VerifyError::Issuer)?;
        if expect.issuers.is_some_and(|meant| !meant.contains(&iss)) {
            return Err(VerifyError::Issuer);
        }
        let issuer = self.find(&iss).ok_or(VerifyError::Issuer)?;
        let algorithm = issuer.config.algorithms.iter().copied().find(|a| format!("{a:?}") == alg);
        let algorithm = keys::of(algorithm.ok_or(VerifyError::Algorithm)?);

        let kid = jwt.claims.kid.as_deref();
        let known = issuer.keys().await?;
        if let Err(error) = signed(text, &known, kid, algorithm) {
            // The key may be a new one, also under a name that is known or without any.
            let wanted = Wanted { iat: jwt.claims.iat, is_named: known.names(kid), skew: self.skew };
            if let Some(newer) = issuer.newer(&known, &wanted).await? {
                signed(text, &newer, kid, algorithm)?;
            } else {
                return Err(error);
            }
        }

        let now = self.clock.now();
        let time = |name: &str| match claims.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or(VerifyError::Malformed),
        };
        match time("exp")? {
            Some(exp) if exp <= now.saturating_sub(self.skew) as f64 => return Err(VerifyError::Expired),
            None if expect.needs_exp => return Err(VerifyError::Expired),
            _ => {}
        }
        for name in ["nbf", "iat"] {
            if time(name)?.is_some_and(|at| at > now.saturating_add(self.skew) as f64) && !expect.early {
                return Err(VerifyError::NotYet);
            }
        }
        if !expect.audiences.is_empty() && !audience(&claims, expect.audiences) {
            return Err(VerifyError::Audience);
        }
        Ok(Verified { jwt, issuer: iss, claims })
    }
}

/// Whether one of the keys has signed the token. Nothing of the text is read here: that was done before, strictly.
fn signed(text: &str, known: &keys::KeySet, kid: Option<&str>, algorithm: Algorithm) -> Result<(), VerifyError> {
    let (message, signature) = text.rsplit_once('.').ok_or(VerifyError::Malformed)?;
    let mut error = VerifyError::Key;
    for key in known.candidates(kid, algorithm) {
        match jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.decoding, algorithm) {
            Ok(true) => return Ok(()),
            _ => error = VerifyError::Signature,
        }
    }
    Err(error)
}

fn audience(claims: &Map<String, Value>, accepted: &[String]) -> bool {
    let is = |value: &Value| value.as_str().is_some_and(|text| accepted.iter().any(|a| a == text));
    match claims.get("aud") {
        Some(Value::Array(all)) => all.iter().any(is),
        Some(value) => is(value),
        None => false,
    }
}
