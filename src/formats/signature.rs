//! Signatures of webhooks: Standard Webhooks 1.0 (`v1` and `v1a`), and the ways of GitHub and Stripe.
//!
//! Pure functions. Comparing is done by the library and takes the same time wherever the difference is.

use aws_lc_rs::{hmac, signature as asymmetric};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The way a sender signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// Standard Webhooks 1.0: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    #[default]
    Standard,
    /// GitHub: `X-Hub-Signature-256` over the body; says neither when nor which, so a copy can be sent again.
    Github,
    /// Stripe: `Stripe-Signature` with a time.
    Stripe,
}

impl Style {
    /// The name in the configuration and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Style::Standard => "standard",
            Style::Github => "github",
            Style::Stripe => "stripe",
        }
    }

    /// The header that carries the signature, in lower case.
    pub const fn header(self) -> &'static str {
        match self {
            Style::Standard => "webhook-signature",
            Style::Github => "x-hub-signature-256",
            Style::Stripe => "stripe-signature",
        }
    }
}

/// A key to check with.
pub enum Key {
    /// HMAC-SHA256.
    Shared(Box<hmac::Key>),
    /// Ed25519, of `v1a`.
    Public(asymmetric::UnparsedPublicKey<Vec<u8>>),
}

/// Why a text is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// A secret of Standard Webhooks.
    #[error("is not whsec_ and the base64 of 24 to 64 bytes (Standard Webhooks 1.0)")]
    Secret,
    /// A public key of Standard Webhooks.
    #[error("is not whpk_ and the base64 of the 32 bytes of an Ed25519 key (Standard Webhooks 1.0)")]
    PublicKey,
    /// A secret that is guessed in no time.
    #[error("has less than 16 bytes")]
    Short,
}

impl Key {
    /// A key as a person writes it: for Standard Webhooks `whsec_…` or `whpk_…`, else the secret's text.
    pub fn read(style: Style, text: &str) -> Result<Self, InvalidKey> {
        match style {
            Style::Standard => match text.strip_prefix("whpk_") {
                Some(base64) => {
                    let bytes = STANDARD.decode(base64).ok().filter(|b| b.len() == 32).ok_or(InvalidKey::PublicKey)?;
                    Ok(Key::Public(asymmetric::UnparsedPublicKey::new(&asymmetric::ED25519, bytes)))
                }
                None => {
                    let base64 = text.strip_prefix("whsec_").ok_or(InvalidKey::Secret)?;
                    let bytes = STANDARD.decode(base64).map_err(|_| InvalidKey::Secret)?;
                    if !(24..=64).contains(&bytes.len()) {
                        return Err(InvalidKey::Secret);
                    }
                    Ok(Key::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes))))
                }
            },
            Style::Github | Style::Stripe if text.len() < 16 => Err(InvalidKey::Short),
            // The whole text is the key, `whsec_` of Stripe included.
            Style::Github | Style::Stripe => {
                Ok(Key::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))))
            }
        }
    }
}

/// The headers that matter, as they came.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// The one of [`Style::header`].
    pub signature: &'a str,
    /// `webhook-id`.
    pub id: Option<&'a str>,
    /// `webhook-timestamp`.
    pub timestamp: Option<&'a str>,
}

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// A header is missing or unreadable.
    #[error("the headers of the signature are not complete or cannot be read")]
    Headers,
    /// It is too old, or from the future.
    #[error("the signature's time is too far from now")]
    Stale,
    /// No signature fits.
    #[error("no signature fits the body and the secret")]
    Wrong,
}

impl Unsigned {
    /// A stable name, for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            Unsigned::Headers => "unreadable_signature",
            Unsigned::Stale => "stale_signature",
            Unsigned::Wrong => "wrong_signature",
        }
    }
}

/// The longest id and the most signatures that are looked at.
const MAX_ID: usize = 256;
const MAX_SIGNATURES: usize = 16;

/// Whether one of the signatures was made with one of the keys, not more than `tolerance` seconds from `now`
/// (NumericDate seconds).
pub fn verify(
    style: Style,
    keys: &[Key],
    headers: Headers<'_>,
    body: &[u8],
    now: i64,
    tolerance: i64,
) -> Result<(), Unsigned> {
    match style {
        Style::Standard => {
            let (id, timestamp) = headers.id.zip(headers.timestamp).ok_or(Unsigned::Headers)?;
            if id.is_empty() || id.len() > MAX_ID || id.contains('.') {
                return Err(Unsigned::Headers);
            }
            in_time(timestamp, now, tolerance)?;
            let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
            any(headers.signature.split(' ').take(MAX_SIGNATURES), |part| {
                let (version, base64) = part.split_once(',')?;
                let signature = STANDARD.decode(base64).ok()?;
                Some(keys.iter().any(|key| match (version, key) {
                    ("v1", Key::Shared(key)) => hmac::verify(key, &signed, &signature).is_ok(),
                    ("v1a", Key::Public(key)) => key.verify(&signed, &signature).is_ok(),
                    _ => false,
                }))
            })
        }
        Style::Github => {
            let hex = headers.signature.strip_prefix("sha256=").ok_or(Unsigned::Headers)?;
            any(std::iter::once(hex), |hex| Some(shared(keys, body, &hex::decode(hex).ok()?)))
        }
        Style::Stripe => {
            let parts =
                || headers.signature.split(',').take(MAX_SIGNATURES).filter_map(|part| part.trim().split_once('='));
            let mut times = parts().filter(|(name, _)| *name == "t");
            let (Some((_, timestamp)), None) = (times.next(), times.next()) else { return Err(Unsigned::Headers) };
            in_time(timestamp, now, tolerance)?;
            let signed = [timestamp.as_bytes(), b".", body].concat();
            let signatures = parts().filter(|(name, _)| *name == "v1").map(|(_, hex)| hex);
            any(signatures, |hex| Some(shared(keys, &signed, &hex::decode(hex).ok()?)))
        }
    }
}

fn in_time(timestamp: &str, now: i64, tolerance: i64) -> Result<(), Unsigned> {
    // One spelling: no sign, no blanks.
    if timestamp.is_empty() || !timestamp.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Unsigned::Headers);
    }
    let at: i64 = timestamp.parse().map_err(|_| Unsigned::Headers)?;
    if now.abs_diff(at) > tolerance.unsigned_abs() { Err(Unsigned::Stale) } else { Ok(()) }
}

fn shared(keys: &[Key], signed: &[u8], signature: &[u8]) -> bool {
    keys.iter().any(|key| matches!(key, Key::Shared(key) if hmac::verify(key, signed, signature).is_ok()))
}

/// Whether one fits; an error of the headers when none can even be read.
fn any<'a>(signatures: impl Iterator<Item = &'a str>, fits: impl Fn(&'a str) -> Option<bool>) -> Result<(), Unsigned> {
    let mut readable = false;
    for signature in signatures {
        match fits(signature) {
            Some(true) => return Ok(()),
            Some(false) => readable = true,
            None => {}
        }
    }
    Err(if readable { Unsigned::Wrong } else { Unsigned::Headers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const AT: i64 = 1_614_265_330;

    /// The example of the Standard Webhooks reference libraries.
    fn example() -> (Vec<Key>, Headers<'static>) {
        let key = Key::read(Style::Standard, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let headers = Headers {
            signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            id: Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
            timestamp: Some("1614265330"),
        };
        (vec![key], headers)
    }

    fn check(style: Style, keys: &[Key], headers: Headers<'_>, body: &[u8], now: i64) -> Result<(), Unsigned> {
        verify(style, keys, headers, body, now, 300)
    }

    #[test]
    fn the_example_of_standard_webhooks_verifies_and_nothing_else_does() {
        let (keys, good) = example();
        assert_eq!(check(Style::Standard, &keys, good, BODY, AT), Ok(()));
        assert_eq!(check(Style::Standard, &keys, good, b"{}", AT), Err(Unsigned::Wrong));
        for now in [AT - 300, AT + 300] {
            assert_eq!(check(Style::Standard, &keys, good, BODY, now), Ok(()));
        }
        for now in [AT - 301, AT + 301, 0, i64::MAX] {
            assert_eq!(check(Style::Standard, &keys, good, BODY, now), Err(Unsigned::Stale));
        }
        let other = Headers { id: Some("msg_other"), ..good };
        assert_eq!(check(Style::Standard, &keys, other, BODY, AT), Err(Unsigned::Wrong));
        // An id with a dot could move the border to the time.
        for id in [None, Some(""), Some("a.1614265330")] {
            assert_eq!(check(Style::Standard, &keys, Headers { id, ..good }, BODY, AT), Err(Unsigned::Headers));
        }
        for timestamp in [None, Some(""), Some("+1614265330"), Some(" 1614265330"), Some("x")] {
            let headers = Headers { timestamp, ..good };
            assert_eq!(check(Style::Standard, &keys, headers, BODY, AT), Err(Unsigned::Headers));
        }
        // One of several is enough, and an unknown version is passed over.
        let many = format!("v1a,AAAA v9,x {} v1,AAAA", good.signature);
        assert_eq!(check(Style::Standard, &keys, Headers { signature: &many, ..good }, BODY, AT), Ok(()));
        for signature in ["", "v1", "v1,", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE"] {
            assert!(check(Style::Standard, &keys, Headers { signature, ..good }, BODY, AT).is_err(), "{signature}");
        }
        // The same bytes as another version prove nothing.
        let v1a = good.signature.replace("v1,", "v1a,");
        assert!(check(Style::Standard, &keys, Headers { signature: &v1a, ..good }, BODY, AT).is_err());
    }

    #[test]
    fn the_example_of_github_verifies() {
        let keys = [Key::read(Style::Github, "It's a Secret to Everybody").unwrap()];
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let headers = Headers { signature, ..Headers::default() };
        assert_eq!(check(Style::Github, &keys, headers, b"Hello, World!", AT), Ok(()));
        assert_eq!(check(Style::Github, &keys, headers, b"Hello, World?", AT), Err(Unsigned::Wrong));
        for signature in ["757107ea", "sha1=757107ea", "sha256=75", "sha256=zz", "sha256="] {
            assert!(check(Style::Github, &keys, Headers { signature, ..headers }, b"Hello, World!", AT).is_err());
        }
    }

    #[test]
    fn the_way_of_stripe_and_of_ed25519() {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let secret = "whsec_0123456789abcdef";
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), b"1614265330.{}");
        let keys = [Key::read(Style::Stripe, secret).unwrap()];
        let good = format!("t=1614265330,v1=00,v1={},v0=aa", hex::encode(tag.as_ref()));
        let headers = Headers { signature: &good, ..Headers::default() };
        assert_eq!(check(Style::Stripe, &keys, headers, b"{}", AT), Ok(()));
        assert_eq!(check(Style::Stripe, &keys, headers, b"{} ", AT), Err(Unsigned::Wrong));
        assert_eq!(check(Style::Stripe, &keys, headers, b"{}", AT + 301), Err(Unsigned::Stale));
        let twice = format!("t=1614265331,{good}");
        assert_eq!(
            check(Style::Stripe, &keys, Headers { signature: &twice, ..headers }, b"{}", AT),
            Err(Unsigned::Headers)
        );

        let pair = Ed25519KeyPair::generate().unwrap();
        let public = format!("whpk_{}", STANDARD.encode(pair.public_key().as_ref()));
        let keys = [Key::read(Style::Standard, &public).unwrap()];
        let signature = format!("v1a,{}", STANDARD.encode(pair.sign(b"m.1614265330.{}").as_ref()));
        let headers = Headers { signature: &signature, id: Some("m"), timestamp: Some("1614265330") };
        assert_eq!(check(Style::Standard, &keys, headers, b"{}", AT), Ok(()));
        assert_eq!(check(Style::Standard, &keys, headers, b"[]", AT), Err(Unsigned::Wrong));
    }

    #[test]
    fn keys_that_are_none_are_refused() {
        let bad = [("whsec_", InvalidKey::Secret), ("MfKQ", InvalidKey::Secret), ("whpk_AAAA", InvalidKey::PublicKey)];
        for (text, why) in bad {
            assert_eq!(Key::read(Style::Standard, text).err(), Some(why), "{text}");
        }
        let long = format!("whsec_{}", STANDARD.encode([0; 65]));
        assert_eq!(Key::read(Style::Standard, &long).err(), Some(InvalidKey::Secret));
        assert_eq!(Key::read(Style::Github, "short").err(), Some(InvalidKey::Short));
    }
}
