//! Private keys and secrets of samples: what a token service signs with.

use std::path::Path;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::{self, KeyPairComponents, PublicKeyComponents};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
    Ed25519KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::Value;

use crate::config::Secret;
use crate::formats::signature::{self, Style};

const NOT_A_KEY: &str = "is not a private key: PEM (PKCS #8, PKCS #1, SEC 1) or a JWK, of RSA, P-256, P-384 or Ed25519";

/// A private key for tokens.
pub struct SigningKey {
    pair: Pair,
    algorithm: Algorithm,
    kid: Option<String>,
}

enum Pair {
    Jwt(EncodingKey),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The key in a file, and the name that tokens give it (`kid`); without one that of the JWK.
    pub fn read(path: &Path, kid: Option<&str>) -> Result<Self, String> {
        let text = Secret::read(path)?;
        let text = text.expose();
        let read = if text.trim_start().starts_with('{') { from_jwk(text) } else { from_pem(text) };
        let mut key = read.ok_or_else(|| format!("{} {NOT_A_KEY}", path.display()))?;
        key.kid = kid.map(str::to_owned).or(key.kid);
        Ok(key)
    }

    /// The algorithm of its signatures.
    pub fn algorithm(&self) -> String {
        format!("{:?}", self.algorithm)
    }

    /// A token of this type with these claims.
    pub fn sign(&self, typ: &str, claims: &Value) -> anyhow::Result<String> {
        let mut header = Header::new(self.algorithm);
        (header.typ, header.kid) = (Some(typ.to_owned()), self.kid.clone());
        let key = match &self.pair {
            Pair::Jwt(key) => key,
            Pair::Ed25519(pair) => &EncodingKey::from_ed_der(pair.to_pkcs8()?.as_ref()),
        };
        Ok(jsonwebtoken::encode(&header, claims, key)?)
    }

    fn new(pair: Pair, algorithm: Algorithm) -> Self {
        Self { pair, algorithm, kid: None }
    }

    fn ec(pair: &EcdsaKeyPair, algorithm: Algorithm) -> Option<Self> {
        let key = EncodingKey::from_ec_der(pair.to_pkcs8v1().ok()?.as_ref());
        Some(Self::new(Pair::Jwt(key), algorithm))
    }

    fn ed(pair: Ed25519KeyPair) -> Self {
        Self::new(Pair::Ed25519(pair), Algorithm::EdDSA)
    }
}

const CURVES: [(&str, &EcdsaSigningAlgorithm, Algorithm); 2] = [
    ("P-256", &ECDSA_P256_SHA256_FIXED_SIGNING, Algorithm::ES256),
    ("P-384", &ECDSA_P384_SHA384_FIXED_SIGNING, Algorithm::ES384),
];

fn from_pem(text: &str) -> Option<SigningKey> {
    let der = PrivateKeyDer::from_pem_slice(text.as_bytes()).ok()?;
    let bytes = der.secret_der();
    for (_, curve, algorithm) in CURVES {
        if let Ok(pair) = EcdsaKeyPair::from_private_key_der(curve, bytes) {
            return SigningKey::ec(&pair, algorithm);
        }
    }
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8(bytes) {
        return Some(SigningKey::ed(pair));
    }
    // Of RSA keys the library wants the inner structure, which it finds by itself in either form.
    let key = EncodingKey::from_rsa_pem(text.as_bytes()).ok()?;
    Some(SigningKey::new(Pair::Jwt(key), Algorithm::RS256))
}

/// A private key as a JWK (RFC 7518 §6, RFC 8037 §2).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    d: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
    #[serde(default)]
    p: String,
    #[serde(default)]
    q: String,
    #[serde(default)]
    dp: String,
    #[serde(default)]
    dq: String,
    #[serde(default)]
    qi: String,
}

fn from_jwk(text: &str) -> Option<SigningKey> {
    let jwk: Jwk = serde_json::from_str(text).ok()?;
    let bytes = |member: &str| URL_SAFE_NO_PAD.decode(member).ok();
    let mut key = match (&*jwk.kty, jwk.crv.as_deref()) {
        ("EC", Some(crv)) => {
            let (_, curve, algorithm) = CURVES.into_iter().find(|(name, ..)| *name == crv)?;
            let point = [vec![4], bytes(&jwk.x)?, bytes(&jwk.y)?].concat();
            let pair = EcdsaKeyPair::from_private_key_and_public_key(curve, &bytes(&jwk.d)?, &point).ok()?;
            SigningKey::ec(&pair, algorithm)?
        }
        ("OKP", Some("Ed25519")) => {
            SigningKey::ed(Ed25519KeyPair::from_seed_and_public_key(&bytes(&jwk.d)?, &bytes(&jwk.x)?).ok()?)
        }
        ("RSA", _) => {
            let components = KeyPairComponents {
                public_key: PublicKeyComponents { n: bytes(&jwk.n)?, e: bytes(&jwk.e)? },
                d: bytes(&jwk.d)?,
                p: bytes(&jwk.p)?,
                q: bytes(&jwk.q)?,
                dP: bytes(&jwk.dp)?,
                dQ: bytes(&jwk.dq)?,
                qInv: bytes(&jwk.qi)?,
            };
            let der: Pkcs8V1Der<'static> = rsa::KeyPair::from_components(&components).ok()?.as_der().ok()?;
            let pem = STANDARD.encode(der.as_ref());
            from_pem(&format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n"))?
        }
        _ => return None,
    };
    // An RSA key may be for another padding or hash; the other kinds have one algorithm each.
    if let Some(alg) = jwk.alg.as_deref() {
        let own = alg.parse::<Algorithm>().ok().filter(|own| own.family() == key.algorithm.family())?;
        key.algorithm = own;
    }
    key.kid = jwk.kid;
    Some(key)
}

/// What signs a webhook.
pub enum WebhookKey {
    /// HMAC-SHA256 in one of the styles.
    Shared(Style, Box<hmac::Key>),
    /// Ed25519: `v1a` of Standard Webhooks.
    Ed25519(Ed25519KeyPair),
}

impl WebhookKey {
    /// The secret in a file as the hub's configuration has it, the first line of it; or `whsk_…`, which is the private
    /// half of a `whpk_…`.
    pub fn read(style: Style, path: &Path) -> Result<Self, String> {
        let text = Secret::read(path)?;
        let text = text.expose().lines().next().unwrap_or_default();
        let wrong = |why: &str| format!("{} {why}", path.display());
        if style == Style::Standard {
            if text.starts_with("whpk_") {
                return Err(wrong("is a public key, which cannot sign; give whsk_ or --signing-key"));
            }
            if let Some(base64) = text.strip_prefix("whsk_") {
                // The seed, with the public key behind it or without.
                let bytes = STANDARD.decode(base64).unwrap_or_default();
                let seed = bytes.get(..32).filter(|_| matches!(bytes.len(), 32 | 64));
                let pair = seed.and_then(|seed| Ed25519KeyPair::from_seed_unchecked(seed).ok());
                return pair.map(Self::Ed25519).ok_or_else(|| wrong("is not whsk_ and the base64 of an Ed25519 key"));
            }
        }
        signature::Key::read(style, text).map_err(|error| wrong(&error.to_string()))?;
        let bytes = match text.strip_prefix("whsec_") {
            Some(base64) if style == Style::Standard => STANDARD.decode(base64).unwrap_or_default(),
            _ => text.as_bytes().to_vec(),
        };
        Ok(Self::Shared(style, Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
    }

    /// The same key that signs tokens, if it is one of Ed25519.
    pub fn from_signing_key(key: SigningKey) -> Result<Self, String> {
        match key.pair {
            Pair::Ed25519(pair) => Ok(Self::Ed25519(pair)),
            Pair::Jwt(_) => Err("signs no webhook; Standard Webhooks has Ed25519 only (v1a)".into()),
        }
    }

    /// How this is called.
    pub fn name(&self) -> &'static str {
        match self {
            WebhookKey::Shared(Style::Standard, _) => "v1 of Standard Webhooks",
            WebhookKey::Shared(Style::Github, _) => "the way of GitHub",
            WebhookKey::Shared(Style::Stripe, _) => "the way of Stripe",
            WebhookKey::Ed25519(_) => "v1a of Standard Webhooks",
        }
    }

    /// The headers that go with a body. `now` is NumericDate seconds.
    pub fn headers(&self, id: &str, now: i64, body: &str) -> Vec<(&'static str, String)> {
        let standard = |signature: String| {
            let id = ("webhook-id", id.to_owned());
            vec![id, ("webhook-timestamp", now.to_string()), (Style::Standard.header(), signature)]
        };
        let mac = |key, text: &str| hmac::sign(key, text.as_bytes());
        match self {
            WebhookKey::Ed25519(pair) => {
                let signature = pair.sign(format!("{id}.{now}.{body}").as_bytes());
                standard(format!("v1a,{}", STANDARD.encode(signature)))
            }
            WebhookKey::Shared(Style::Standard, key) => {
                standard(format!("v1,{}", STANDARD.encode(mac(key, &format!("{id}.{now}.{body}")))))
            }
            WebhookKey::Shared(style @ Style::Github, key) => {
                vec![(style.header(), format!("sha256={}", hex::encode(mac(key, body))))]
            }
            WebhookKey::Shared(style @ Style::Stripe, key) => {
                let tag = hex::encode(mac(key, &format!("{now}.{body}")));
                vec![(style.header(), format!("t={now},v1={tag}"))]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_sign_is_refused_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let public = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
        // RFC 8037 appendix A.1, without and with another public half.
        let half = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let other = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"AAqYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        for text in [public, half, other, "hunter2", r#"{"kty":"oct","k":"aHVudGVyMg","d":"hunter2"}"#] {
            std::fs::write(&path, text).unwrap();
            let error = SigningKey::read(&path, None).err().unwrap();
            assert!(error.contains(NOT_A_KEY) && !error.contains("hunter2"), "{error}");
        }
        for text in ["hunter2", "whsec_hunter2", "whsk_hunter2", "whpk_hunter2"] {
            std::fs::write(&path, text).unwrap();
            let error = WebhookKey::read(Style::Standard, &path).err().unwrap();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn the_examples_of_rfc_8037_and_of_standard_webhooks_are_signed_as_they_are_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let jwk = r#"{"kty":"OKP","crv":"Ed25519","kid":"k","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        std::fs::write(&path, jwk).unwrap();
        let key = SigningKey::read(&path, None).unwrap();
        assert_eq!((&*key.algorithm(), key.kid.as_deref()), ("EdDSA", Some("k")));
        let Pair::Ed25519(pair) = &key.pair else { panic!("an Ed25519 key") };
        // Appendix A.4.
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"));
        assert!(
            signature.starts_with("hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr")
        );
        assert_eq!(SigningKey::read(&path, Some("other")).unwrap().kid.as_deref(), Some("other"));

        std::fs::write(&path, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
        let key = WebhookKey::read(Style::Standard, &path).unwrap();
        let headers = key.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(headers[2].1, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
