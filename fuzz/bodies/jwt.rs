//! Tokens before their signature is checked. After an even first byte comes the token as it is; after an odd one its
//! header, payload and signature on lines of their own, so that nobody has to find base64 by trying.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use revocation_hub::issuers::Unverified;
use revocation_hub::revocation::token;
use serde_json::Value;

/// Panics at what must not be.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let text = if first % 2 == 0 {
        let Ok(text) = str::from_utf8(rest) else { return };
        text.to_owned()
    } else {
        rest.splitn(3, |byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part)).collect::<Vec<_>>().join(".")
    };
    let _ = token::read(&text);
    let Ok(read) = Unverified::read(&text) else { return };

    // It has one spelling.
    for segment in text.split('.') {
        let bytes = URL_SAFE_NO_PAD.decode(segment).expect("strict base64url");
        assert_eq!(URL_SAFE_NO_PAD.encode(bytes), segment);
    }
    let (unsigned, _) = text.rsplit_once('.').expect("three parts");
    for other in [
        format!("{text}="),
        format!("{text}."),
        format!("{text}.a"),
        format!("{text}.a.b"),
        unsigned.to_owned(),
        text.replacen('.', "=.", 1),
        format!(" {text}"),
        format!("Bearer {text}"),
    ] {
        // Not even as an opaque token, which would be another one.
        assert!(token::read(&other).is_err(), "another spelling");
    }
    // Two readers of the payload see one token.
    let claims = &read.jwt.claims;
    let said = |name: &str| read.claims.get(name).and_then(Value::as_str);
    let number = |name: &str| read.claims.get(name).and_then(Value::as_f64);
    assert_eq!(claims.iss.as_ref().and_then(Option::as_deref), said("iss"));
    assert_eq!(
        (claims.jti.as_deref(), claims.sub.as_deref(), claims.sid.as_deref()),
        (said("jti"), said("sub"), said("sid"))
    );
    assert_eq!(claims.client_id.as_deref(), said("client_id").or(said("azp")).or(said("appid")));
    assert_eq!(claims.iat, number("iat").map(|at| at.floor() as i64));
    assert_eq!(read.jwt.exp, number("exp").map(|at| at.ceil() as i64));
    // So does the library that checks the signature.
    if let Ok(header) = jsonwebtoken::decode_header(&text) {
        assert_eq!((header.kid.as_deref(), format!("{:?}", header.alg)), (claims.kid.as_deref(), read.alg));
    }
}
