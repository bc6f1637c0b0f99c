//! An issuer to test with: keys, tokens signed with them (also ones that no library would make), and a small HTTP server
//! that serves its metadata and key set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaKeyPair,
};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use revocation_hub::config;
use serde_json::{Value, json};

use crate::harness::NOW;

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

enum Pair {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

/// A key pair with its name.
pub struct Key {
    pub kid: String,
    pub alg: &'static str,
    pair: Pair,
}

impl Key {
    pub fn rsa(kid: &str) -> Self {
        Self { kid: kid.into(), alg: "RS256", pair: Pair::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub fn p256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.into(), alg: "ES256", pair: Pair::P256(pair) }
    }

    pub fn p384(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        Self { kid: kid.into(), alg: "ES384", pair: Pair::P384(pair) }
    }

    pub fn ed(kid: &str) -> Self {
        Self { kid: kid.into(), alg: "EdDSA", pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()) }
    }

    /// The public half as a JWK.
    pub fn jwk(&self) -> Value {
        let point = |pair: &EcdsaKeyPair, crv: &str| {
            let (x, y) = pair.public_key().as_ref()[1..].split_at((pair.public_key().as_ref().len() - 1) / 2);
            json!({"kty": "EC", "kid": self.kid, "crv": crv, "x": b64(x), "y": b64(y)})
        };
        match &self.pair {
            Pair::Rsa(pair) => {
                let n = b64(pair.public_key().modulus().big_endian_without_leading_zero());
                let e = b64(pair.public_key().exponent().big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": self.kid, "n": n, "e": e})
            }
            Pair::P256(pair) => point(pair, "P-256"),
            Pair::P384(pair) => point(pair, "P-384"),
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "kid": self.kid, "crv": "Ed25519", "x": b64(pair.public_key())})
            }
        }
    }

    /// The public half of a P-256 key as PEM (SubjectPublicKeyInfo, RFC 5480).
    pub fn pem(&self) -> String {
        let Pair::P256(pair) = &self.pair else { panic!("only of P-256") };
        let mut der = hex::decode("3059301306072a8648ce3d020106082a8648ce3d030107034200").unwrap();
        der.extend_from_slice(pair.public_key().as_ref());
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
    }

    /// A signature over any bytes, as `alg` has it.
    pub fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding: &'static dyn aws_lc_rs::signature::RsaEncoding = match alg {
                    "PS256" => &RSA_PSS_SHA256,
                    "RS512" => &RSA_PKCS1_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signature).unwrap();
                signature
            }
            Pair::P256(pair) | Pair::P384(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with any header and any claims, signed with this key.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.raw(&header.to_string(), &claims.to_string())
    }

    /// The same of texts as they are.
    pub fn raw(&self, header: &str, claims: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(claims));
        let alg = serde_json::from_str::<Value>(header).ok().and_then(|h| h["alg"].as_str().map(str::to_owned));
        let signature = self.sign(alg.as_deref().unwrap_or(self.alg), input.as_bytes());
        format!("{input}.{}", b64(signature))
    }

    /// A token as its issuer would make it.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(&json!({"alg": self.alg, "kid": self.kid, "typ": "JWT"}), claims)
    }
}

/// `value` with members set, and those taken away whose new value is `null`.
pub fn with(value: &Value, members: Value) -> Value {
    let mut value = value.clone();
    for (name, member) in members.as_object().unwrap() {
        match member {
            Value::Null => drop(value.as_object_mut().unwrap().remove(name)),
            member => value[name] = member.clone(),
        }
    }
    value
}

/// A token whose HMAC has this secret, which may be what everybody knows: a public key.
pub fn hmac_token(secret: &[u8], kid: &str, claims: &Value) -> String {
    let header = json!({"alg": "HS256", "kid": kid});
    let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
    format!("{input}.{}", b64(tag))
}

struct State {
    iss: String,
    keys: Mutex<Value>,
    status: AtomicU16,
    reads: AtomicUsize,
}

/// An issuer with an HTTP server of its own.
pub struct TestIssuer {
    pub iss: String,
    state: Arc<State>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for TestIssuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestIssuer {
    /// Serves the metadata and the public halves of these keys.
    pub async fn start(keys: &[&Key]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let iss = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State {
            iss: iss.clone(),
            keys: Mutex::default(),
            status: AtomicU16::new(200),
            reads: AtomicUsize::default(),
        });
        let (metadata, set) = (state.clone(), state.clone());
        let router = Router::new()
            .route(
                "/.well-known/openid-configuration",
                get(|| async move {
                    let status = StatusCode::from_u16(metadata.status.load(Ordering::SeqCst)).unwrap();
                    (status, Json(json!({"issuer": metadata.iss, "jwks_uri": format!("{}/keys", metadata.iss)})))
                }),
            )
            .route(
                "/keys",
                get(|| async move {
                    set.reads.fetch_add(1, Ordering::SeqCst);
                    let status = StatusCode::from_u16(set.status.load(Ordering::SeqCst)).unwrap();
                    (status, Json(set.keys.lock().clone()))
                }),
            );
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let issuer = Self { iss, state, task };
        issuer.serve(keys);
        issuer
    }

    /// Serves other keys from now on.
    pub fn serve(&self, keys: &[&Key]) {
        self.serve_set(json!({"keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()}));
    }

    /// Serves this as key set from now on.
    pub fn serve_set(&self, set: Value) {
        *self.state.keys.lock() = set;
    }

    /// Answers with this status from now on.
    pub fn answer(&self, status: u16) {
        self.state.status.store(status, Ordering::SeqCst);
    }

    /// How often the key set was read.
    pub fn reads(&self) -> usize {
        self.state.reads.load(Ordering::SeqCst)
    }

    /// The issuer as configuration, with more settings.
    pub fn config(&self, settings: Value) -> config::Issuer {
        serde_json::from_value(with(&json!({"issuer": self.iss}), settings)).unwrap()
    }

    /// Claims of an access token that is good for five minutes.
    pub fn claims(&self, jti: &str) -> Value {
        let iss = &self.iss;
        json!({"iss": iss, "aud": "hub", "sub": "alice", "jti": jti, "iat": NOW, "exp": NOW + 300, "client_id": "app"})
    }
}

/// A source as configuration.
pub fn source(settings: Value) -> config::Source {
    serde_json::from_value(settings).unwrap()
}

/// A client with a user name and the password `secret`.
pub fn client(name: &str, scopes: &[&str]) -> config::Client {
    let basic = json!({"username": name, "password": "secret"});
    serde_json::from_value(json!({"name": name, "scopes": scopes, "basic": basic})).unwrap()
}
