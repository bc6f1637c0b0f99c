//! What makes a revocation acceptable. Everything here is a pure function of the item, the sender and the time.

use super::{Bounds, Lifetime, NewRevocation, NewTarget, Sender};
use crate::revocation::token::{self, MalformedToken, Token};
use crate::revocation::{Expiry, Kind, Revocation, Target};

/// The stable name of what is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A text is empty, too long, or has control characters.
    InvalidText,
    /// A time is negative, too far away, or given twice.
    InvalidTime,
    /// A time can only be meant in milliseconds.
    LooksLikeMilliseconds,
    /// The raw token is not one.
    MalformedToken,
    /// A member does not go with this kind of target.
    InvalidTarget,
    /// The sender may not revoke more than one token at a time.
    MissingScope,
    /// The sender is bound to other issuers.
    IssuerNotAllowed,
}

impl Reason {
    /// The `code` of the problem document.
    pub const fn code(self) -> &'static str {
        match self {
            Reason::InvalidText => "invalid_text",
            Reason::InvalidTime => "invalid_time",
            Reason::LooksLikeMilliseconds => "looks_like_milliseconds",
            Reason::MalformedToken => "malformed_token",
            Reason::InvalidTarget => "invalid_target",
            Reason::MissingScope => "missing_scope",
            Reason::IssuerNotAllowed => "issuer_not_allowed",
        }
    }

    /// Whether the item is fine but not this sender's to send.
    pub const fn is_forbidden(self) -> bool {
        matches!(self, Reason::MissingScope | Reason::IssuerNotAllowed)
    }
}

/// What is wrong with an item.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Invalid {
    /// The stable name.
    pub reason: Reason,
    /// For people.
    pub detail: String,
}

impl Invalid {
    /// Something wrong, in words.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

impl From<MalformedToken> for Invalid {
    fn from(malformed: MalformedToken) -> Self {
        Self::new(Reason::MalformedToken, malformed.to_string())
    }
}

const CENTURY: i64 = 100 * 366 * 24 * 3600;

/// Makes an item into a revocation and says whether its expiry is only a span from now; or says why not.
pub(super) fn revocation(
    item: NewRevocation,
    sender: &Sender,
    bounds: &Bounds,
    now: i64,
) -> Result<(Revocation, bool), Invalid> {
    let Derived { mut target, exp: token_exp, wso2_key } = match item.target {
        NewTarget::Named(target) => Derived { target, exp: None, wso2_key: None },
        NewTarget::Raw { token, iss } => derive(&token, iss, sender)?,
    };
    bind(&mut target, sender)?;
    may_touch(&target, sender)?;
    text(target.kind.field(), &target.value, bounds.max_text)?;
    if let Some(iss) = &target.iss {
        text("iss", iss, bounds.max_text)?;
    }
    if target.kind == Kind::TokenHash && !is_sha256(&target.value) {
        return Err(Invalid::new(Reason::InvalidText, "sha256 must be 64 lower-case hexadecimal digits"));
    }
    if let Some(reason) = &item.reason {
        text("reason", reason, bounds.max_reason)?;
    }
    let issued_before = match (item.issued_before, target.kind.has_issued_before()) {
        (Some(at), true) => Some(time("issued_before", at, now)?),
        // A token issued in the very second of the revocation is hit as well.
        (None, true) => Some(now + 1),
        (Some(_), false) => {
            let detail = format!("issued_before does not go with {}", target.kind.field());
            return Err(Invalid::new(Reason::InvalidTarget, detail));
        }
        (None, false) => None,
    };
    let exp = expiry(item.lifetime, token_exp, issued_before, sender, now)?;
    let span = token_exp.is_none() && matches!(item.lifetime, Lifetime::For(_) | Lifetime::Unsaid);
    let (reason, source) = (item.reason, sender.name.to_string());
    Ok((Revocation { target, issued_before, exp, revoked_at: now, reason, source, wso2_key }, span))
}

/// Checks a revocation that some hub has already taken in, as it comes back in a file that anybody may have edited.
pub fn taken_before(revocation: &Revocation, bounds: &Bounds) -> Result<(), Invalid> {
    let Revocation { target, issued_before, reason, source, wso2_key, .. } = revocation;
    text(target.kind.field(), &target.value, bounds.max_text)?;
    text("source", source, bounds.max_text)?;
    let texts = [("iss", &target.iss, bounds.max_text), ("reason", reason, bounds.max_reason)];
    for (name, value, max) in texts {
        value.as_deref().map_or(Ok(()), |value| text(name, value, max))?;
    }
    // The text of an opaque token may be as long as any token.
    wso2_key.as_deref().map_or(Ok(()), |key| text("wso2_key", key, usize::MAX))?;
    if issued_before.is_some() != target.kind.has_issued_before() {
        let detail = format!("{} and issued_before do not fit", target.kind.field());
        return Err(Invalid::new(Reason::InvalidTarget, detail));
    }
    Ok(())
}

struct Derived {
    target: Target,
    exp: Option<i64>,
    wso2_key: Option<String>,
}

fn derive(text: &str, iss: Option<String>, sender: &Sender) -> Result<Derived, Invalid> {
    match token::read(text)? {
        Token::Opaque { sha256 } => Ok(Derived {
            // An opaque token's digest is unique by itself; an issuer would only make a second name for it.
            target: Target { kind: Kind::TokenHash, iss: None, value: sha256 },
            exp: None,
            wso2_key: sender.keep_opaque.then(|| text.to_owned()),
        }),
        Token::Jwt(jwt) => {
            let claims = jwt.claims;
            let own = claims.iss.flatten();
            if let (Some(own), Some(named)) = (&own, &iss)
                && own != named
            {
                let detail = "iss is not the issuer that the token itself names";
                return Err(Invalid::new(Reason::InvalidTarget, detail));
            }
            own_issuer(own.as_deref(), claims.jti.is_some(), sender)?;
            // A JWT has an iss or has none; one that the sender only names would make the rule miss the token.
            match claims.jti {
                Some(jti) => Ok(Derived {
                    target: Target { kind: Kind::Token, iss: own, value: jti },
                    exp: jwt.exp,
                    wso2_key: claims.sig.filter(|_| sender.keep_signature),
                }),
                // Without a jti the signature segment is the only thing by which a WSO2 gateway knows the token.
                None => Ok(Derived {
                    target: Target { kind: Kind::TokenHash, iss: None, value: claims.sha256.unwrap_or_default() },
                    exp: jwt.exp,
                    wso2_key: claims.sig,
                }),
            }
        }
    }
}

/// Whether a sender that is bound to issuers may send a JWT that names this issuer, or none. The digest of a token without
/// `jti` names no issuer afterwards, so it is asked here.
fn own_issuer(own: Option<&str>, has_jti: bool, sender: &Sender) -> Result<(), Invalid> {
    let Some(issuers) = &sender.issuers else { return Ok(()) };
    let bound = issuers.join(", ");
    match own {
        Some(own) if issuers.iter().any(|allowed| allowed == own) => Ok(()),
        // The digest hits this token and no other. A `jti` with the sender's issuer would miss it.
        None if !has_jti => Ok(()),
        Some(_) => Err(Invalid::new(Reason::IssuerNotAllowed, format!("this client is bound to {bound}"))),
        None => {
            let detail = format!("the token names no issuer, and this client is bound to {bound}");
            Err(Invalid::new(Reason::IssuerNotAllowed, detail))
        }
    }
}

/// Gives an item without issuer the only issuer its sender can mean.
fn bind(target: &mut Target, sender: &Sender) -> Result<(), Invalid> {
    let Some(issuers) = &sender.issuers else { return Ok(()) };
    if target.issuer().is_some() || matches!(target.kind, Kind::TokenHash | Kind::Signature) {
        return Ok(());
    }
    if let [only] = &issuers[..] {
        target.iss = Some(only.clone());
        return Ok(());
    }
    let detail = format!("an iss is needed: this client is bound to {}", issuers.join(", "));
    Err(Invalid::new(Reason::IssuerNotAllowed, detail))
}

/// Whether the sender may revoke or lift this target.
pub(super) fn may_touch(target: &Target, sender: &Sender) -> Result<(), Invalid> {
    if target.kind.is_rule() && !sender.may_rules {
        let detail = format!("a {} can hit more than one token, which takes the scope rules", target.kind);
        return Err(Invalid::new(Reason::MissingScope, detail));
    }
    match (&sender.issuers, target.issuer()) {
        (Some(issuers), Some(iss)) if !issuers.iter().any(|allowed| allowed == iss) => {
            let detail = format!("this client is bound to {}", issuers.join(", "));
            Err(Invalid::new(Reason::IssuerNotAllowed, detail))
        }
        (Some(issuers), None) if !matches!(target.kind, Kind::TokenHash | Kind::Signature) => {
            let detail = format!("this client is bound to {}", issuers.join(", "));
            Err(Invalid::new(Reason::IssuerNotAllowed, detail))
        }
        _ => Ok(()),
    }
}

fn is_sha256(value: &str) -> bool {
    value.len() == 64 && value.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

fn text(name: &str, value: &str, max: usize) -> Result<(), Invalid> {
    let wrong = if value.is_empty() {
        "must not be empty".to_owned()
    } else if value.len() > max {
        format!("has {} bytes, at most {max} are accepted", value.len())
    // No identifier has one, and what has one breaks logs, lists and brokers further on.
    } else if value.chars().any(char::is_control) {
        "must not contain control characters".to_owned()
    } else {
        return Ok(());
    };
    Err(Invalid::new(Reason::InvalidText, format!("{name} {wrong}")))
}

fn time(name: &str, at: i64, now: i64) -> Result<i64, Invalid> {
    if at < 0 {
        return Err(Invalid::new(Reason::InvalidTime, format!("{name} must not be negative")));
    }
    if at > now.saturating_add(CENTURY) {
        let detail = format!("{name} {at} is more than 100 years ahead; it looks like milliseconds, seconds are meant");
        return Err(Invalid::new(Reason::LooksLikeMilliseconds, detail));
    }
    Ok(at)
}

fn expiry(
    lifetime: Lifetime,
    token_exp: Option<i64>,
    issued_before: Option<i64>,
    sender: &Sender,
    now: i64,
) -> Result<Expiry, Invalid> {
    let said = match lifetime {
        Lifetime::Unlimited => return Ok(Expiry::NEVER),
        Lifetime::Until(at) => Some(time("exp", at, now)?),
        Lifetime::For(seconds) if seconds < 1 => {
            return Err(Invalid::new(Reason::InvalidTime, "ttl must be at least 1 second"));
        }
        Lifetime::For(seconds) if seconds > CENTURY => {
            let detail = format!("ttl {seconds} is more than 100 years; it looks like milliseconds, seconds are meant");
            return Err(Invalid::new(Reason::LooksLikeMilliseconds, detail));
        }
        Lifetime::For(seconds) => Some(now + seconds),
        Lifetime::Unsaid => None,
    };
    let token_exp = token_exp.map(|at| time("the token's exp", at, now)).transpose()?;
    // A sender that names an earlier end than the token itself would let the token come back to life.
    let exp = said.max(token_exp);
    Ok(Expiry(exp.unwrap_or_else(|| issued_before.unwrap_or(now).max(now) + sender.max_token_lifetime)))
}
