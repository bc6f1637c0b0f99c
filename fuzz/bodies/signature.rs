//! Headers of signed webhooks, in every style. The first byte picks the style and the kind of key; then come the signature
//! header, `webhook-id`, `webhook-timestamp` and the body, each on a line of its own. An `@` in the signature header stands
//! for the right signature, which no fuzzer finds.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use revocation_hub::formats::signature::{Headers, Key, Style, verify};

const SECRET: &[u8; 32] = b"the secret of the fuzz target...";
const NOW: i64 = 1_700_000_000;
const TOLERANCE: i64 = 300;

/// Panics at what must not be.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let mut lines = rest.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    // Of headers only such text comes this far.
    let mut text = || str::from_utf8(line()).ok();
    let (Some(template), Some(id), Some(timestamp)) = (text(), text(), text()) else { return };
    let body = line();

    let pair = Ed25519KeyPair::from_seed_unchecked(SECRET).expect("a seed has 32 bytes");
    let mac = |signed: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET), signed).as_ref().to_vec();
    let signed = |before: &[&str]| [before.concat().as_bytes(), body].concat();
    let secret = str::from_utf8(SECRET).expect("ASCII");
    let (style, key, right) = match first % 4 {
        0 => {
            let right = mac(&signed(&[id, ".", timestamp, "."]));
            (Style::Standard, format!("whsec_{}", STANDARD.encode(SECRET)), STANDARD.encode(right))
        }
        1 => {
            let right = pair.sign(&signed(&[id, ".", timestamp, "."]));
            (Style::Standard, format!("whpk_{}", STANDARD.encode(pair.public_key())), STANDARD.encode(right))
        }
        2 => (Style::Github, secret.to_owned(), hex::encode(mac(body))),
        // Its time stands in the signature header; the one that is signed here is the line of it.
        _ => (Style::Stripe, secret.to_owned(), hex::encode(mac(&signed(&[timestamp, "."])))),
    };
    let keys = [Key::read(style, &key).expect("a key")];
    let signature = template.replace('@', &right);
    let headers = Headers { signature: &signature, id: Some(id), timestamp: Some(timestamp) };
    if verify(style, &keys, headers, body, NOW, TOLERANCE).is_err() {
        return;
    }
    // Only the right signature is one, in time, and over this body.
    assert!(signature.to_ascii_lowercase().contains(&right.to_ascii_lowercase()), "another signature");
    if style != Style::Github {
        let at: i64 = timestamp.parse().expect("a time");
        assert!((NOW - TOLERANCE..=NOW + TOLERANCE).contains(&at), "not in time");
        for now in [at - TOLERANCE - 1, at + TOLERANCE + 1] {
            assert!(verify(style, &keys, headers, body, now, TOLERANCE).is_err(), "not in time");
        }
    }
    assert!(verify(style, &keys, headers, &[body, b"."].concat(), NOW, TOLERANCE).is_err(), "another body");
    for other in [Style::Standard, Style::Github, Style::Stripe].into_iter().filter(|other| *other != style) {
        let keys = [Key::read(
            other,
            if other == Style::Standard { "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" } else { secret },
        )
        .expect("a key")];
        assert!(verify(other, &keys, headers, body, NOW, TOLERANCE).is_err(), "of another style");
    }
}
