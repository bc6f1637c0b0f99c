//! Logout tokens: the claims of OpenID Connect Back-Channel Logout 1.0 §2.4, checked as §2.6 asks for. Signature, issuer,
//! audience and times are checked before, where the keys are.

use serde_json::{Map, Value};

/// The member of `events` that makes a token a logout token.
pub const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

/// Accepted types (header `typ`). §2.4 recommends `logout+jwt`; tokens from before it say `JWT` or nothing. A token of any
/// other type was made for something else, however well it is signed (RFC 8725 §3.11).
pub const TYPES: &[&str] = &["logout+jwt", "jwt", ""];

/// What a logout token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logout {
    /// `jti`.
    pub id: String,
    /// `iat`, rounded down to a whole second.
    pub issued_at: i64,
    /// `exp`, rounded up to a whole second.
    pub expires_at: i64,
    /// Who is logged out.
    pub whom: Whom,
    /// `sub`, also when it is only one session of the subject's that ends.
    pub subject: Option<String>,
}

/// Who is logged out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// One session (`sid`), whether or not the subject is named too.
    Session(String),
    /// All sessions of a subject (`sub` without `sid`).
    Subject(String),
}

/// Why a token is no logout token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotALogout {
    /// A required claim is missing or of the wrong type.
    #[error("a logout token has iat, exp and jti")]
    Claims,
    /// `events` does not say that it is one.
    #[error("events has to have the member {EVENT} with an object")]
    Events,
    /// It names nobody.
    #[error("a logout token has sid or sub or both, as text")]
    Nobody,
    /// It could be an ID token.
    #[error("a logout token must not have a nonce")]
    Nonce,
}

impl NotALogout {
    /// A stable name, for metrics.
    pub const fn reason(self) -> &'static str {
        match self {
            NotALogout::Claims => "missing_claims",
            NotALogout::Events => "no_logout_event",
            NotALogout::Nobody => "names_nobody",
            NotALogout::Nonce => "has_nonce",
        }
    }
}

/// Reads the claims of a token.
pub fn read(claims: &Map<String, Value>) -> Result<Logout, NotALogout> {
    let event = claims.get("events").and_then(|events| events.get(EVENT));
    if !event.is_some_and(Value::is_object) {
        return Err(NotALogout::Events);
    }
    // Also `null`: whoever writes the claim at all may mean an ID token.
    if claims.contains_key("nonce") {
        return Err(NotALogout::Nonce);
    }
    let number = |name: &str| claims.get(name).and_then(Value::as_f64).ok_or(NotALogout::Claims);
    let id = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()).ok_or(NotALogout::Claims)?;
    let text = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text.clone())),
        // A session that cannot be read must not become "all sessions".
        Some(_) => Err(NotALogout::Nobody),
    };
    let subject = text("sub")?;
    let whom = match (text("sid")?, &subject) {
        (Some(sid), _) => Whom::Session(sid),
        (None, Some(sub)) => Whom::Subject(sub.clone()),
        (None, None) => return Err(NotALogout::Nobody),
    };
    Ok(Logout {
        id: id.to_owned(),
        issued_at: number("iat")?.floor() as i64,
        expires_at: number("exp")?.ceil() as i64,
        whom,
        subject,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn good() -> Value {
        json!({"iss": "i", "aud": "a", "iat": 10.9, "exp": 20.1, "jti": "j", "sid": "s", "sub": "u", "events": {EVENT: {}}})
    }

    fn with(name: &str, value: Option<Value>) -> Result<Logout, NotALogout> {
        let mut token = good();
        match value {
            Some(value) => token[name] = value,
            None => drop(token.as_object_mut().unwrap().remove(name)),
        }
        read(token.as_object().unwrap())
    }

    #[test]
    fn the_session_counts_when_both_are_named() {
        let logout = |whom, sub: Option<&str>| {
            Ok(Logout { id: "j".into(), issued_at: 10, expires_at: 21, whom, subject: sub.map(Into::into) })
        };
        assert_eq!(with("sub", None), logout(Whom::Session("s".into()), None));
        assert_eq!(with("x", None), logout(Whom::Session("s".into()), Some("u")));
        assert_eq!(with("sid", None), logout(Whom::Subject("u".into()), Some("u")));
        let more = Some(json!({EVENT: {"more": 1}, "other": {}}));
        assert_eq!(with("events", more), logout(Whom::Session("s".into()), Some("u")));
    }

    #[test]
    fn what_section_2_6_refuses_is_refused() {
        for (name, value, error) in [
            ("jti", None, NotALogout::Claims),
            ("jti", Some(json!(1)), NotALogout::Claims),
            ("jti", Some(json!("")), NotALogout::Claims),
            ("iat", None, NotALogout::Claims),
            ("exp", None, NotALogout::Claims),
            ("exp", Some(json!("20")), NotALogout::Claims),
            ("events", None, NotALogout::Events),
            ("events", Some(json!({EVENT: null})), NotALogout::Events),
            ("events", Some(json!([EVENT])), NotALogout::Events),
            ("events", Some(json!({"https://schemas.openid.net/event/backchannel-logout": {}})), NotALogout::Events),
            ("nonce", Some(json!("n")), NotALogout::Nonce),
            ("nonce", Some(json!(null)), NotALogout::Nonce),
            ("sid", Some(json!(7)), NotALogout::Nobody),
            ("sid", Some(json!("")), NotALogout::Nobody),
            ("sid", Some(json!(null)), NotALogout::Nobody),
        ] {
            assert_eq!(with(name, value.clone()), Err(error), "{name} {value:?}");
        }
        let mut nobody = good();
        nobody.as_object_mut().unwrap().retain(|name, _| !["sid", "sub"].contains(&&**name));
        assert_eq!(read(nobody.as_object().unwrap()), Err(NotALogout::Nobody));
    }
}
