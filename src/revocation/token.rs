//! What is known of a token, and how to read it from the token itself.
//!
//! A raw token is read as strictly as the gateways must: what two readers could take for two different tokens is refused.
//!
//! No signature is checked here: whoever may publish is believed, and whoever checks learns only about that text.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// What is known of a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// `iss`. `None`: the asker did not say, and a revocation confined to any issuer counts. `Some(None)`: the token has
    /// none, and only revocations without issuer count.
    pub iss: Option<Option<String>>,
    /// `jti`.
    pub jti: Option<String>,
    /// The SHA-256 of the signing input of a JWT, or of an opaque token; lower-case hexadecimal.
    pub sha256: Option<String>,
    /// The third segment of a JWT.
    pub sig: Option<String>,
    /// `sid`.
    pub sid: Option<String>,
    /// `sub`.
    pub sub: Option<String>,
    /// `client_id`, else `azp`, else `appid`.
    pub client_id: Option<String>,
    /// The `kid` of the header.
    pub kid: Option<String>,
    /// `iat` in seconds. Without one every `issued_before` rule counts.
    pub iat: Option<i64>,
}

/// What a token says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A JWT in compact serialization (RFC 7515 §7.1).
    Jwt(Jwt),
    /// Anything else: known only by its digest.
    Opaque {
        /// SHA-256 of the whole text, lower-case hexadecimal.
        sha256: String,
    },
}

/// The parts of a JWT that can be a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// All that a check compares. `iss` is known, even if it is known to be absent.
    pub claims: Claims,
    /// `exp`, rounded up to a whole second.
    pub exp: Option<i64>,
}

/// A text that looks like a JWT but is not one in the only spelling that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MalformedToken {
    /// It is empty.
    #[error("the token is empty")]
    Empty,
    /// It has white space or other characters that no token has.
    #[error("the token contains a character that no token has (RFC 6750 §2.1)")]
    Characters,
    /// It begins like a JWT, but a segment is not strict base64url (RFC 7515 §2: no padding, no other alphabet, no stray
    /// bits), or an encrypted one has a key where its algorithm has none.
    #[error("the token looks like a JWT but a segment is not strict base64url without padding")]
    Base64,
    /// It begins like a JWT, and has another number of segments than a JWS (RFC 7515 §7.1) or a JWE (RFC 7516 §7.1).
    #[error("the token looks like a JWT but has neither three segments nor the five of an encrypted one")]
    Segments,
    /// A segment is not the JSON object it should be, or a member that matters appears twice or has the wrong type.
    #[error("the token looks like a JWT but its header or payload is not a JSON object as RFC 7519 asks for")]
    Json,
}

#[derive(Deserialize)]
struct Header {
    #[serde(rename = "alg")]
    _alg: String,
    kid: Option<String>,
}

#[derive(Deserialize)]
struct Payload {
    iss: Option<String>,
    jti: Option<String>,
    sub: Option<String>,
    sid: Option<String>,
    client_id: Option<String>,
    azp: Option<String>,
    appid: Option<String>,
    exp: Option<f64>,
    iat: Option<f64>,
}

/// Reads a token.
pub fn read(token: &str) -> Result<Token, MalformedToken> {
    if token.is_empty() {
        return Err(MalformedToken::Empty);
    }
    // Every credential that can stand in an Authorization header is made of visible ASCII.
    if !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(MalformedToken::Characters);
    }
    let segments: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = segments[..] else { return not_three(token, &segments) };
    if !is_header(header) {
        return Ok(opaque(token));
    }
    let decode = |segment: &str| URL_SAFE_NO_PAD.decode(segment).map_err(|_| MalformedToken::Base64);
    let (header_json, payload_json) = (decode(header)?, decode(payload)?);
    decode(signature)?;
    let header_claims: Header = object(&header_json)?;
    let p: Payload = object(&payload_json)?;
    let signing_input = &token[..header.len() + 1 + payload.len()];
    Ok(Token::Jwt(Jwt {
        exp: p.exp.map(|exp| exp.ceil() as i64),
        claims: Claims {
            iss: Some(p.iss),
            jti: p.jti,
            sha256: Some(sha256(signing_input)),
            // An unsecured JWT has an empty third segment, which names nothing.
            sig: (!signature.is_empty()).then(|| signature.to_owned()),
            sid: p.sid,
            sub: p.sub,
            client_id: p.client_id.or(p.azp).or(p.appid),
            kid: header_claims.kid,
            iat: p.iat.map(|iat| iat.floor() as i64),
        },
    }))
}

/// Reads what has another number of parts than a JWT.
///
/// Readers that split at the dots and forget empty parts at the end, or take the first three, or do without the third,
/// see a JWT in what is none. An encrypted token is known by its digest, so it must have one spelling too.
fn not_three(token: &str, segments: &[&str]) -> Result<Token, MalformedToken> {
    let first = segments[0];
    match segments {
        // One part alone is no JWT to anybody, however it begins.
        [_] => Ok(opaque(token)),
        [_, key, _, text, tag]
            if !text.is_empty() && !tag.is_empty() && jose(first).is_some_and(|header| header.contains_key("enc")) =>
        {
            if !segments.iter().all(|segment| URL_SAFE_NO_PAD.decode(segment).is_ok()) {
                return Err(MalformedToken::Base64);
            }
            // What stands there with these algorithms is not covered by anything (RFC 7516 §5.2).
            let header = jose(first).unwrap_or_default();
            let keyless =
                header.get("alg").and_then(Value::as_str).is_some_and(|alg| ["dir", "ECDH-ES"].contains(&alg));
            if keyless && !key.is_empty() { Err(MalformedToken::Base64) } else { Ok(opaque(token)) }
        }
        [.., ""] if is_header(first) => Err(MalformedToken::Segments),
        _ if jose(first).is_some() => Err(MalformedToken::Segments),
        _ => Ok(opaque(token)),
    }
}

/// Reads a JSON object; serde would also take an array for its members in their order.
fn object<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, MalformedToken> {
    if json.trim_ascii_start().first() != Some(&b'{') {
        return Err(MalformedToken::Json);
    }
    serde_json::from_slice(json).map_err(|_| MalformedToken::Json)
}

fn opaque(token: &str) -> Token {
    Token::Opaque { sha256: sha256(token) }
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// Whether the segment begins a JWT: `eyJ` is base64 for `{"`. Without such a one three parts are an opaque token that happens
/// to have two dots.
fn is_header(segment: &str) -> bool {
    segment.starts_with("eyJ") || jose(segment).is_some()
}

/// The JOSE header that a lenient reader could see in the segment: white space may stand before the brace, and the base64 may
/// be of any alphabet.
fn jose(segment: &str) -> Option<serde_json::Map<String, Value>> {
    let plain: String = segment
        .chars()
        .filter(|c| *c != '=')
        .map(|c| match c {
            '+' => '-',
            '/' => '_',
            c => c,
        })
        .collect();
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    let members: serde_json::Map<String, Value> = serde_json::from_slice(&lenient.decode(plain).ok()?).ok()?;
    members.contains_key("alg").then_some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_jwt_is_read_by_its_claims_and_by_its_signing_input() {
        let text = jwt(r#"{"alg":"RS256","kid":"k"}"#, r#"{"jti":"j","iss":"i","azp":"c","exp":10.5,"iat":1.5}"#);
        let Token::Jwt(jwt) = read(&text).unwrap() else { panic!("a JWT") };
        assert_eq!((jwt.exp, jwt.claims.iat), (Some(11), Some(1)));
        assert_eq!(jwt.claims.iss, Some(Some("i".into())));
        assert_eq!((jwt.claims.jti.as_deref(), jwt.claims.client_id.as_deref()), (Some("j"), Some("c")));
        assert_eq!((jwt.claims.kid.as_deref(), jwt.claims.sig.as_deref()), (Some("k"), Some("c2ln")));
        assert_eq!(jwt.claims.sha256, Some(sha256(text.rsplit_once('.').unwrap().0)));
    }

    #[test]
    fn other_spellings_of_a_jwt_are_refused_and_never_taken_for_opaque_tokens() {
        let good = jwt(r#"{"alg":"RS256"}"#, r#"{"jti":"j1"}"#);
        for bad in [
            good.replacen('.', "=.", 1),
            format!("{good}="),
            format!("{good}+"),
            jwt(" {\"alg\":\"RS256\"}", "[]"),
            jwt(r#"{"alg":"RS256"}"#, r#"["iss","jti","sub","sid","client_id","azp","appid",9,1]"#),
            jwt(r#"{"alg":"RS256"}"#, r#"{"jti":"a","jti":"b"}"#),
            jwt(r#"{"alg":"RS256"}"#, r#"{"jti":7}"#),
            jwt(r#"{"alg":"RS256"}"#, "\u{fffd}"),
        ] {
            assert!(matches!(read(&bad), Err(MalformedToken::Base64 | MalformedToken::Json)), "{bad}");
        }
        for bad in [format!("{good}."), format!("{good}.."), format!("{good}....")] {
            assert_eq!(read(&bad), Err(MalformedToken::Segments), "{bad}");
        }
        // Whoever takes the first three parts, or does without the third, sees a JWT in these.
        let unsigned = good.rsplit_once('.').unwrap().0;
        for bad in [unsigned.to_owned(), format!("{good}.c2ln"), format!("{good}.a.b"), format!("{good}.a.b.c")] {
            assert_eq!(read(&bad), Err(MalformedToken::Segments), "{bad}");
        }
        for bad in ["", " ", "a b", "a\n", "ä", &format!("Bearer {good}"), &format!("{good}\u{200b}")] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_encrypted_token_has_one_spelling() {
        let jwe = |header: &str, key: &str| format!("{}.{key}.aXY.Y2lwaGVy.dGFn", URL_SAFE_NO_PAD.encode(header));
        let wrapped = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM"}"#;
        let good = jwe(wrapped, "a2V5");
        assert_eq!(read(&good), Ok(opaque(&good)));
        let direct = jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "");
        assert_eq!(read(&direct), Ok(opaque(&direct)));
        for bad in [
            format!("{good}="),
            good.replace("dGFn", "dGFo+"),
            // Bits of the last character that count nothing.
            good.replace("aXY.", "aXZ."),
            jwe(wrapped, "a2V5="),
            jwe(r#"{"alg":"dir","enc":"A256GCM"}"#, "a2V5"),
            jwe(r#"{"alg":"ECDH-ES","enc":"A256GCM"}"#, "a2V5"),
        ] {
            assert_eq!(read(&bad), Err(MalformedToken::Base64), "{bad}");
        }
        for bad in [format!("{good}."), format!("{good}.YQ"), good.rsplit_once('.').unwrap().0.to_owned()] {
            assert_eq!(read(&bad), Err(MalformedToken::Segments), "{bad}");
        }
    }

    #[test]
    fn anything_else_is_opaque() {
        for text in
            ["a1b2c3d4-opaque", "ya29.a0.x", "a.b", "a.b.c.", "eyJ.a.b.c.d", "eyJ1IjoxfQ.c2ln", "eyJhbGciOiJub25lIn0"]
        {
            assert_eq!(read(text), Ok(opaque(text)));
        }
    }
}
