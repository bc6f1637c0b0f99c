//! From revocations to WSO2's events: what a gateway on the topic `tokenRevocation` is told.
//!
//! Every event that is made here has all six members, because gateways fail on missing ones.

use sha2::{Digest, Sha256};

use super::naming::{Generation, Name, looks_like_signature, name};
use super::{AppEvent, EntityType, Event, SUPER_TENANT, SubjectEvent, TTL, TokenEvent};
use crate::revocation::{Expiry, Id, Kind, Row};

/// What of a revocation goes into an event. Borrowed, because the ledger does not hold whole revocations.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    /// The position in the log.
    pub seq: u64,
    /// The digest of the target.
    pub id: Id,
    /// What is compared.
    pub kind: Kind,
    /// The target's value.
    pub value: &'a str,
    /// For rules: tokens issued before this second.
    pub issued_before: Option<i64>,
    /// When it is over.
    pub exp: Expiry,
    /// See [`Revocation::wso2_key`](crate::revocation::Revocation::wso2_key).
    pub wso2_key: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// The facts of a row; `None` of a tombstone, because WSO2 has no event that takes a revocation back.
    pub fn of(row: &'a Row) -> Option<Self> {
        let revocation = &row.revocation;
        (!row.lifted).then_some(Self {
            seq: row.seq,
            id: row.id,
            kind: revocation.target.kind,
            value: &revocation.target.value,
            issued_before: revocation.issued_before,
            exp: revocation.exp,
            wso2_key: revocation.wso2_key.as_deref(),
        })
    }
}

/// The event that says this, or `None` when WSO2 has no name for it: a digest whose text is not kept, a session, a key, an
/// issuer. Issuers are left out: WSO2 compares without them.
pub fn event(facts: &Facts<'_>) -> Option<Event> {
    let event_id = Some(event_id(facts.id, facts.seq));
    let tenant_id = Some(SUPER_TENANT);
    let revocation_time_ms = facts.issued_before.map(|at| at.saturating_mul(1000));
    match facts.kind {
        Kind::Client => Some(Event::App(AppEvent {
            event_id,
            tenant_id,
            consumer_key: facts.value.to_owned(),
            revocation_time_ms,
            organization: None,
        })),
        Kind::Subject => Some(Event::Subject(SubjectEvent {
            event_id,
            tenant_id,
            entity_id: facts.value.to_owned(),
            entity_type: EntityType::User,
            revocation_time_ms,
            organization: None,
        })),
        kind => {
            let (text, token_type) = match name(Generation::Jti, kind, facts.wso2_key)? {
                Name::Value => (facts.value, "JWT"),
                // A JWT without jti is known by its signature.
                Name::Kept(text) if looks_like_signature(text) => (text, "JWT"),
                Name::Kept(text) => (text, "Default"),
            };
            Some(Event::Token(TokenEvent {
                event_id,
                revoked_token: text.to_owned(),
                ttl: Some(TTL.to_owned()),
                expiry_time: Some(milliseconds(facts.exp)),
                token_type: Some(token_type.to_owned()),
                tenant_id,
            }))
        }
    }
}

/// Milliseconds for everything, also for API keys: gateways since 4.3 take seconds for long past and forget the key.
pub fn milliseconds(exp: Expiry) -> i64 {
    exp.seconds().map_or(i64::MAX, |seconds| seconds.saturating_mul(1000))
}

/// A UUID that is the same whenever the same revocation is sent again, and another one when it has changed: a name-based
/// UUID by SHA-256 (RFC 9562 §5.8).
pub fn event_id(id: Id, seq: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(b"revocation-hub event");
    hash.update(id.0);
    hash.update(seq.to_be_bytes());
    let digest = hash.finalize();
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest[..16]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let hex = hex::encode(uuid);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::super::text;
    use super::super::vectors::{CONSUMER, ENTITY, J, text as vector};
    use super::*;

    fn facts(kind: Kind, value: &str) -> Facts<'_> {
        let id = Id::of(kind, None, value);
        let issued_before = kind.has_issued_before().then_some(1_767_225_600);
        Facts { seq: 7, id, kind, value, issued_before, exp: Expiry(4_102_444_800), wso2_key: None }
    }

    /// What is sent, with the event id of a vector.
    fn sent(facts: &Facts<'_>, event_id: &str) -> String {
        let mut event = event(facts).unwrap();
        match &mut event {
            Event::Token(e) => e.event_id = Some(event_id.to_owned()),
            Event::App(e) => e.event_id = Some(event_id.to_owned()),
            Event::Subject(e) => e.event_id = Some(event_id.to_owned()),
            Event::Batch(_) => {}
        }
        text::encode(&event)
    }

    #[test]
    fn gateways_are_told_what_wso2_would_tell_them() {
        assert_eq!(sent(&facts(Kind::Token, J), super::super::vectors::E), vector("T1"));
        let opaque = Facts { wso2_key: Some("a1b2c3d4-opaque"), ..facts(Kind::TokenHash, "00") };
        assert_eq!(sent(&opaque, "e1"), vector("T2"));
        assert_eq!(sent(&Facts { exp: Expiry::NEVER, ..facts(Kind::Token, J) }, "e4"), vector("T4"));
        assert_eq!(sent(&facts(Kind::Client, CONSUMER), "e3"), vector("T5"));
        assert_eq!(sent(&facts(Kind::Subject, ENTITY), "e5"), vector("T6"));
        // A jti is what 3.2 and later look up, even if the signature is known as well.
        let both = Facts { wso2_key: Some("c2ln"), ..facts(Kind::Token, J) };
        assert_eq!(sent(&both, super::super::vectors::E), vector("T1"));
    }

    #[test]
    fn a_jwt_without_jti_is_announced_by_its_signature() {
        let signature = "A".repeat(342);
        for facts in
            [Facts { wso2_key: Some(&signature), ..facts(Kind::TokenHash, "00") }, facts(Kind::Signature, &signature)]
        {
            let Some(Event::Token(event)) = event(&facts) else { panic!("a token") };
            assert_eq!((event.revoked_token.as_str(), event.token_type.as_deref()), (&*signature, Some("JWT")));
        }
    }

    #[test]
    fn what_wso2_has_no_name_for_is_not_announced() {
        for kind in [Kind::TokenHash, Kind::Session, Kind::Key, Kind::Issuer] {
            assert_eq!(event(&facts(kind, "x")), None);
        }
    }

    #[test]
    fn an_event_id_is_a_uuid_and_stays_the_same() {
        let id = Id::of(Kind::Token, None, J);
        assert!(super::super::naming::looks_like_uuid(&event_id(id, 1)));
        assert_eq!(event_id(id, 1), event_id(id, 1));
        assert_ne!(event_id(id, 1), event_id(id, 2));
        assert_eq!(&event_id(id, 1)[14..15], "8");
    }
}
