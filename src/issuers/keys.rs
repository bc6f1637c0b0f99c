//! Key sets (RFC 7517 §5): which keys of a set can check a signature, and with which algorithm.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm as Jwa, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

use crate::config::Algorithm;

/// The keys of an issuer.
pub struct KeySet {
    keys: Vec<Key>,
}

/// One key.
pub struct Key {
    kid: Option<String>,
    /// The algorithms that go with it.
    algorithms: Vec<Jwa>,
    /// What checks a signature.
    pub decoding: DecodingKey,
}

/// Why a key set cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is not what RFC 7517 calls a JWK Set.
    #[error("not a JWK Set (RFC 7517 §5)")]
    NotASet,
    /// It has no key that can check a signature with an accepted algorithm.
    #[error("none of its {0} keys can check a signature with an accepted algorithm")]
    NoKey(usize),
    /// The PEM text holds no public key of a kind that is known.
    #[error("not a PEM public key (RSA, P-256, P-384 or Ed25519)")]
    NotAPublicKey,
}

#[derive(Deserialize)]
struct Set {
    // One at a time: a set may hold keys that nobody here knows (RFC 7517 §5).
    keys: Vec<Value>,
}

impl KeySet {
    /// The usable keys of a JWK Set.
    pub fn read(json: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let set: Set = serde_json::from_slice(json).map_err(|_| KeySetError::NotASet)?;
        let all = set.keys.len();
        let keys: Vec<Key> = set.keys.into_iter().filter_map(|value| key(value, allowed)).collect();
        if keys.is_empty() { Err(KeySetError::NoKey(all)) } else { Ok(Self { keys }) }
    }

    /// The one key of a PEM text (RFC 7468 §13).
    pub fn read_pem(pem: &[u8], allowed: &[Algorithm]) -> Result<Self, KeySetError> {
        let kinds = [
            (DecodingKey::from_rsa_pem(pem), &RSA[..]),
            (DecodingKey::from_ec_pem(pem), &[Jwa::ES256, Jwa::ES384][..]),
            (DecodingKey::from_ed_pem(pem), &[Jwa::EdDSA][..]),
        ];
        let read = |(decoding, algorithms): (jsonwebtoken::errors::Result<_>, _)| {
            decoding.ok().map(|decoding| Key { kid: None, algorithms: only(algorithms, allowed), decoding })
        };
        let key = kinds.into_iter().find_map(read).ok_or(KeySetError::NotAPublicKey)?;
        if key.algorithms.is_empty() { Err(KeySetError::NoKey(1)) } else { Ok(Self { keys: vec![key] }) }
    }

    /// Whether a key of this name is in the set.
    pub fn names(&self, kid: Option<&str>) -> bool {
        kid.is_some_and(|kid| self.keys.iter().any(|key| key.kid.as_deref() == Some(kid)))
    }

    /// What there is.
    pub fn usable(&self) -> Vec<super::inspect::Usable> {
        let names = |key: &Key| key.algorithms.iter().map(|jwa| super::inspect::name(*jwa)).collect();
        self.keys.iter().map(|key| super::inspect::Usable { kid: key.kid.clone(), algorithms: names(key) }).collect()
    }

    /// The keys that may have signed a token with this header: those of its `kid`, or, without one, all of the algorithm.
    pub fn candidates<'a>(&'a self, kid: Option<&'a str>, algorithm: Jwa) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| {
            key.algorithms.contains(&algorithm) && (kid.is_none() || key.kid.is_none() || key.kid.as_deref() == kid)
        })
    }
}

const RSA: [Jwa; 6] = [Jwa::RS256, Jwa::RS384, Jwa::RS512, Jwa::PS256, Jwa::PS384, Jwa::PS512];

fn key(value: Value, allowed: &[Algorithm]) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let fit: &[Jwa] = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) if long_enough(&rsa.n) => &RSA,
        AlgorithmParameters::EllipticCurve(ec) => match ec.curve {
            EllipticCurve::P256 => &[Jwa::ES256],
            EllipticCurve::P384 => &[Jwa::ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => &[Jwa::EdDSA],
        // A symmetric key in a public set is a key that everybody has.
        _ => &[],
    };
    let mut algorithms = only(fit, allowed);
    // A key that says what it is for is for nothing else.
    if let Some(own) = common.key_algorithm {
        algorithms.retain(|jwa| format!("{jwa:?}") == own.to_string());
    }
    if !signs || algorithms.is_empty() {
        return None;
    }
    let decoding = DecodingKey::from_jwk(&jwk).ok()?;
    Some(Key { kid: jwk.common.key_id, algorithms, decoding })
}

/// Whether a modulus has 2048 bits or more (RFC 7518 §3.3). Without leading zeros, as RFC 7518 §6.3.1.1 asks for.
fn long_enough(modulus: &str) -> bool {
    let bytes = URL_SAFE_NO_PAD.decode(modulus).unwrap_or_default();
    let bits = bytes
        .iter()
        .position(|b| *b != 0)
        .map_or(0, |zeros| (bytes.len() - zeros) * 8 - bytes[zeros].leading_zeros() as usize);
    bits >= 2048
}

fn only(fit: &[Jwa], allowed: &[Algorithm]) -> Vec<Jwa> {
    fit.iter().copied().filter(|jwa| allowed.iter().any(|a| of(*a) == *jwa)).collect()
}

/// The library's name of an algorithm.
pub fn of(algorithm: Algorithm) -> Jwa {
    match algorithm {
        Algorithm::RS256 => Jwa::RS256,
        Algorithm::RS384 => Jwa::RS384,
        Algorithm::RS512 => Jwa::RS512,
        Algorithm::PS256 => Jwa::PS256,
        Algorithm::PS384 => Jwa::PS384,
        Algorithm::PS512 => Jwa::PS512,
        Algorithm::ES256 => Jwa::ES256,
        Algorithm::ES384 => Jwa::ES384,
        Algorithm::EdDSA => Jwa::EdDSA,
    }
}
