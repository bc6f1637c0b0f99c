//! An issuer of Security Event Tokens: its keys, and tokens signed with them.

use std::path::PathBuf;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use revocation_hub::config::{Config, Source};
use serde_json::{Value, json};

use crate::harness::*;

/// The issuer that tests believe.
pub const ISSUER: &str = "https://idp.example.com/";
/// Who the hub is to it.
pub const AUDIENCE: &str = "https://sp.example.com/caep";

pub const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
pub const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
pub const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

/// A key pair and its name.
pub struct Signer {
    pub algorithm: Algorithm,
    key: EncodingKey,
    /// The public key (RFC 7517).
    pub jwk: Value,
    /// The public key as PEM text: what an attacker would take for a secret.
    pub pem: String,
}

impl Signer {
    /// A fresh P-256 key.
    pub fn es256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let coordinate = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": coordinate(x), "y": coordinate(y)});
        let pem = pem("PUBLIC KEY", pair.public_key().as_der().unwrap().as_ref());
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().unwrap().as_ref());
        Self { algorithm: Algorithm::ES256, key, jwk, pem }
    }

    /// A fresh RSA key of 2048 bits, as the interoperability profile of CAEP asks for.
    pub fn rs256(kid: &str) -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let public = pair.public_key();
        let n = number(public.modulus().big_endian_without_leading_zero());
        let e = number(public.exponent().big_endian_without_leading_zero());
        let private: aws_lc_rs::encoding::Pkcs8V1Der<'static> = pair.as_der().unwrap();
        let key = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        let jwk = json!({"kty": "RSA", "kid": kid, "n": n, "e": e});
        Self { algorithm: Algorithm::RS256, key, jwk, pem: String::new() }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(Some("secevent+jwt"), claims)
    }

    /// A token of another type.
    pub fn sign_as(&self, typ: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = typ.map(str::to_owned);
        header.kid = self.jwk["kid"].as_str().map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// The file with the key set.
    pub fn jwks_file(&self, place: &Place) -> PathBuf {
        let file = place.folder.path().join("jwks.json");
        std::fs::write(&file, json!({"keys": [self.jwk]}).to_string()).unwrap();
        file
    }
}

fn pem(name: &str, der: &[u8]) -> String {
    format!("-----BEGIN {name}-----\n{}\n-----END {name}-----\n", STANDARD.encode(der))
}

/// A token with this header, signed by nobody.
pub fn unsigned(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()), encode(signature))
}

/// The settings of a hub that believes `signer`, with one source of security events.
pub fn believing(place: &Place, signer: &Signer, source: Value) -> Config {
    let mut config = place.config();
    let issuer = json!({"issuer": ISSUER, "jwks_file": signer.jwks_file(place)});
    config.issuers = vec![serde_json::from_value(issuer).unwrap()];
    config.sources = vec![self::source(source)];
    config
}

/// A source as the configuration writes it.
pub fn source(settings: Value) -> Source {
    serde_json::from_value(settings).unwrap()
}

/// The claims of a token about user `u`, in the form of SSF 1.0.
pub fn claims(jti: &str, uri: &str) -> Value {
    let sub_id = json!({"format": "iss_sub", "iss": ISSUER, "sub": "u"});
    json!({"iss": ISSUER, "aud": AUDIENCE, "jti": jti, "iat": 1_700_000_000, "sub_id": sub_id, "events": {uri: {}}})
}

/// The same about a session.
pub fn session(jti: &str, sid: &str) -> Value {
    let mut claims = claims(jti, &format!("{CAEP}session-revoked"));
    claims["sub_id"] = json!({"format": "opaque", "id": sid});
    claims
}

/// What is revoked, without what only the hub knows.
pub async fn revoked(hub: &Api) -> Vec<Value> {
    let mut all: Vec<Value> = hub.snapshot().await.map.into_values().collect();
    for one in &mut all {
        for name in ["id", "exp", "revoked_at"] {
            one.as_object_mut().unwrap().remove(name);
        }
    }
    all.sort_by_key(ToString::to_string);
    all
}
