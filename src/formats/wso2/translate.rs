//! From WSO2's events and lists to revocations.
//!
//! WSO2 names a token by `jti`, by the third segment of the JWT, by the JWT, or by the text of an opaque token, and says
//! which only by `type`, if at all. What is guessed here is guessed so that the token is hit in any case.
//!
//! Nothing is left out because of its age, and nothing is a repeat: intake knows both. No issuer is named, because WSO2
//! names none.

use serde::Deserialize;

use super::naming::{looks_like_signature, looks_like_uuid};
use super::snapshot::{self, Snapshot};
use super::{AppEvent, EntityType, Event, SubjectEvent, TokenEvent};
use crate::intake::{Lifetime, NewRevocation, NewTarget};
use crate::revocation::token::{self, Token};
use crate::revocation::{Kind, Target};

/// What a text is taken for that could be a `jti` as well as an opaque token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Untyped {
    /// Both, so that the token is dead whichever it is. An opaque token then stands in the list as a `jti`, readable to
    /// those who may read the list.
    #[default]
    Both,
    /// A `jti`.
    Jti,
    /// An opaque token.
    Opaque,
}

/// The revocations of an event. Empty for a batch without tokens, see [`Event::wants_snapshot`].
pub fn event(event: Event, untyped: Untyped) -> Vec<NewRevocation> {
    let mut out = Vec::new();
    match event {
        Event::Token(event) => token_event(event, untyped, &mut out),
        Event::App(event) => out.push(app(event)),
        Event::Subject(event) => out.push(subject(event)),
        Event::Batch(batch) => batch.events.into_iter().for_each(|event| token_event(event, untyped, &mut out)),
    }
    out
}

/// The revocations of a list.
pub fn snapshot(snapshot: Snapshot, untyped: Untyped) -> Vec<NewRevocation> {
    let mut out = Vec::with_capacity(snapshot.tokens.len() + snapshot.subjects.len() + snapshot.apps.len());
    for snapshot::Token { key, expiry_time } in snapshot.tokens {
        token(key, None, expiry_time, untyped, &mut out);
    }
    out.extend(snapshot.subjects.into_iter().map(subject));
    out.extend(snapshot.apps.into_iter().map(app));
    out
}

fn token_event(event: TokenEvent, untyped: Untyped, out: &mut Vec<NewRevocation>) {
    token(event.revoked_token, event.token_type.as_deref(), event.expiry_time, untyped, out);
}

fn token(key: String, kind: Option<&str>, expiry: Option<i64>, untyped: Untyped, out: &mut Vec<NewRevocation>) {
    let lifetime = lifetime(expiry);
    let mut push = |target| out.push(NewRevocation { target, lifetime, issued_before: None, reason: None });
    let raw = |token| NewTarget::Raw { token, iss: None };
    let named = |kind, value| NewTarget::Named(Target { kind, iss: None, value });
    let read = token::read(&key);
    match (kind, &read) {
        (_, Ok(Token::Jwt(_))) | (Some("Default"), _) => push(raw(key)),
        (Some("JWT" | "API_KEY"), _) if looks_like_signature(&key) => push(named(Kind::Signature, key)),
        (Some("JWT" | "API_KEY"), _) => push(named(Kind::Token, key)),
        _ if looks_like_uuid(&key) => push(named(Kind::Token, key)),
        _ if looks_like_signature(&key) => push(named(Kind::Signature, key)),
        _ => match (untyped, read) {
            (Untyped::Both, Ok(Token::Opaque { sha256 })) => {
                push(named(Kind::Token, key));
                // Not the raw token: its text, should the source keep it, is in the lists as a `jti` already.
                push(named(Kind::TokenHash, sha256));
            }
            // What the token reader refuses cannot be presented as a token; as a `jti` it can.
            (Untyped::Jti | Untyped::Both, _) => push(named(Kind::Token, key)),
            (Untyped::Opaque, _) => push(raw(key)),
        },
    }
}

fn app(event: AppEvent) -> NewRevocation {
    rule(Kind::Client, event.consumer_key, event.revocation_time_ms)
}

fn subject(event: SubjectEvent) -> NewRevocation {
    let kind = match event.entity_type {
        EntityType::User => Kind::Subject,
        EntityType::Client => Kind::Client,
    };
    rule(kind, event.entity_id, event.revocation_time_ms)
}

/// WSO2 rejects a token when `revocationTime > iat × 1000`; the hub when `iat < issued_before`.
fn rule(kind: Kind, value: String, revocation_time: Option<i64>) -> NewRevocation {
    NewRevocation {
        target: NewTarget::Named(Target { kind, iss: None, value }),
        lifetime: Lifetime::Unsaid,
        issued_before: revocation_time.map(seconds),
        reason: None,
    }
}

/// The members `ttl` of messages are settings of the sender and say nothing of the token.
fn lifetime(expiry: Option<i64>) -> Lifetime {
    match expiry {
        None | Some(..=0) => Lifetime::Unsaid,
        Some(i64::MAX) => Lifetime::Unlimited,
        Some(time) => Lifetime::Until(seconds(time)),
    }
}

/// API keys, and everything of API Manager 3.0 and 3.1, come in seconds; the rest in milliseconds. What is below 10^11 is
/// in seconds, which is right until the year 5138. Rounded up, so that nothing ends or escapes by a fraction.
fn seconds(time: i64) -> i64 {
    if time < 100_000_000_000 { time } else { time / 1000 + i64::from(time % 1000 != 0) }
}

#[cfg(test)]
mod tests {
    use super::super::vectors::{CONSUMER, ENTITY, J};
    use super::*;

    const JWT: &str = "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln";

    fn targets(key: &str, kind: Option<&str>, untyped: Untyped) -> Vec<NewTarget> {
        let mut out = Vec::new();
        token(key.to_owned(), kind, None, untyped, &mut out);
        out.into_iter().map(|revocation| revocation.target).collect()
    }

    fn named(kind: Kind, value: &str) -> NewTarget {
        NewTarget::Named(Target { kind, iss: None, value: value.to_owned() })
    }

    fn raw(token: &str) -> NewTarget {
        NewTarget::Raw { token: token.to_owned(), iss: None }
    }

    #[test]
    fn the_type_says_what_a_text_is() {
        let signature = "A".repeat(342);
        for kind in ["JWT", "API_KEY"] {
            for (key, expected) in [
                (J, named(Kind::Token, J)),
                ("b1", named(Kind::Token, "b1")),
                (&*signature, named(Kind::Signature, &signature)),
                (JWT, raw(JWT)),
                // Three parts, but none that a gateway would read.
                ("a.b.c", named(Kind::Token, "a.b.c")),
            ] {
                assert_eq!(targets(key, Some(kind), Untyped::Both), [expected], "{key}");
            }
        }
        for key in [J, "b1", &*signature, JWT] {
            assert_eq!(targets(key, Some("Default"), Untyped::Jti), [raw(key)], "{key}");
        }
    }

    #[test]
    fn without_a_type_looks_decide_and_then_the_setting() {
        let signature = "A".repeat(86);
        for kind in [None, Some("Opaque"), Some("")] {
            assert_eq!(targets(J, kind, Untyped::Opaque), [named(Kind::Token, J)]);
            assert_eq!(targets(&signature, kind, Untyped::Jti), [named(Kind::Signature, &signature)]);
            assert_eq!(targets(JWT, kind, Untyped::Jti), [raw(JWT)]);
            assert_eq!(targets("t0", kind, Untyped::Jti), [named(Kind::Token, "t0")]);
            assert_eq!(targets("t0", kind, Untyped::Opaque), [raw("t0")]);
            let Ok(Token::Opaque { sha256 }) = token::read("t0") else { panic!("opaque") };
            let both = [named(Kind::Token, "t0"), named(Kind::TokenHash, &sha256)];
            assert_eq!(targets("t0", kind, Untyped::Both), both);
            // No token can have a blank.
            assert_eq!(targets("t 0", kind, Untyped::Both), [named(Kind::Token, "t 0")]);
        }
    }

    #[test]
    fn times_are_told_apart_by_size_and_rounded_up() {
        for (expiry, expected) in [
            (None, Lifetime::Unsaid),
            (Some(0), Lifetime::Unsaid),
            (Some(-1), Lifetime::Unsaid),
            (Some(i64::MIN), Lifetime::Unsaid),
            (Some(1), Lifetime::Until(1)),
            (Some(99_999_999_999), Lifetime::Until(99_999_999_999)),
            (Some(100_000_000_000), Lifetime::Until(100_000_000)),
            (Some(4_102_444_800), Lifetime::Until(4_102_444_800)),
            (Some(4_102_444_800_000), Lifetime::Until(4_102_444_800)),
            (Some(4_102_444_800_001), Lifetime::Until(4_102_444_801)),
            (Some(i64::MAX - 1), Lifetime::Until(9_223_372_036_854_776)),
            (Some(i64::MAX), Lifetime::Unlimited),
        ] {
            assert_eq!(lifetime(expiry), expected, "{expiry:?}");
        }
    }

    #[test]
    fn a_rule_hits_what_wso2_would_hit() {
        let event =
            |ms| app(AppEvent { consumer_key: CONSUMER.to_owned(), revocation_time_ms: ms, ..Default::default() });
        for (ms, before) in [(1_767_225_600_000, 1_767_225_600), (1_767_225_600_001, 1_767_225_601)] {
            let rule = event(Some(ms));
            assert_eq!((rule.target, rule.issued_before), (named(Kind::Client, CONSUMER), Some(before)));
            for iat in [before - 1, before] {
                assert_eq!(ms > iat * 1000, iat < before);
            }
        }
        assert_eq!(event(None).issued_before, None);
        for (entity_type, kind) in [(EntityType::User, Kind::Subject), (EntityType::Client, Kind::Client)] {
            let rule = subject(SubjectEvent {
                event_id: None,
                tenant_id: None,
                entity_id: ENTITY.to_owned(),
                entity_type,
                revocation_time_ms: Some(1_767_225_600_000),
                organization: None,
            });
            assert_eq!(rule.target, named(kind, ENTITY));
        }
    }
}
