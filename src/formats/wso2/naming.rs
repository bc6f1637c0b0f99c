//! By which text a WSO2 gateway knows a revoked token. One decision for the snapshot and for the messages.
//!
//! Source: what the gateways look up (carbon-apimgt `JWTValidator`, product-microgateway `revoked_token_map.bal`, Choreo
//! Connect `RevokedJWTDataHolder`).

use crate::revocation::Kind;

/// Which gateways are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// API Manager 3.0 and 3.1: they compare the JWT's third segment.
    Signature,
    /// 3.2 and later, Microgateway, Choreo Connect: the `jti`, else the third segment, or the text of an opaque token.
    Jti,
}

/// Where that text is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// In [`wso2_key`](crate::revocation::Revocation::wso2_key), and this is it.
    Kept(&'a str),
    /// It is the value of the target.
    Value,
}

/// The text by which gateways know the token of a revocation with this `wso2_key`; `None` when they cannot know it, or when
/// it is not about one token.
pub fn name(generation: Generation, kind: Kind, wso2_key: Option<&str>) -> Option<Name<'_>> {
    match (generation, kind) {
        // They know nothing of digests.
        (_, Kind::TokenHash) => wso2_key.map(Name::Kept),
        (Generation::Jti, Kind::Token | Kind::Signature) => Some(Name::Value),
        // Where only a jti is known it is all there is to say.
        (Generation::Signature, Kind::Token | Kind::Signature) => Some(wso2_key.map_or(Name::Value, Name::Kept)),
        (_, Kind::Session | Kind::Subject | Kind::Client | Kind::Key | Kind::Issuer) => None,
    }
}

/// Whether a text can be the third segment of a JWT with an asymmetric signature: strict base64url without padding, of
/// the length that ES256 and Ed25519, ES384, ES512, or RSA with 2048, 3072 and 4096 bits give.
pub fn looks_like_signature(text: &str) -> bool {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    matches!(text.len(), 86 | 128 | 176 | 342 | 512 | 683) && URL_SAFE_NO_PAD.decode(text).is_ok()
}

/// Whether a text has the form of a UUID (RFC 9562 §4), as the `jti` of a WSO2 token has.
pub fn looks_like_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_strict_base64url_of_a_known_length_is_a_signature() {
        for bytes in [64, 96, 132, 256, 384, 512] {
            use base64::Engine;
            let text = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(vec![0xfb; bytes]);
            assert!(looks_like_signature(&text), "{bytes}");
            assert!(!looks_like_signature(&text[1..]), "{bytes}");
            assert!(!looks_like_signature(&text.replacen('-', "+", 1)), "{bytes}");
        }
        // The last character of 64 bytes has four bits that count nothing and must be 0.
        assert!(!looks_like_signature(&"_".repeat(86)));
    }

    #[test]
    fn a_uuid_is_known_by_its_form() {
        assert!(looks_like_uuid(super::super::vectors::J));
        for other in ["", "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a3", "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a3g"] {
            assert!(!looks_like_uuid(other));
        }
        assert!(!looks_like_uuid("c0a8f3d2041b6-4e57-8f9a-2d7b6c1e5a30"));
    }
}
