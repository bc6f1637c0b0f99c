//! The wire form: how a revocation reads in JSON, everywhere in the native interface.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Id, Kind, Revocation, Target};

/// A live revocation: `{"id","kind",<the target's fields>,"issued_before"?,"exp"?,"revoked_at","reason"?,"source"}`.
/// `exp` is left out when the revocation is kept until it is lifted.
pub struct Wire<'a> {
    /// The digest of the target.
    pub id: Id,
    /// The rule itself.
    pub revocation: &'a Revocation,
}

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let r = self.revocation;
        let mut map = serializer.serialize_map(None)?;
        target_entries(&mut map, self.id, &r.target)?;
        if let Some(at) = r.issued_before {
            map.serialize_entry("issued_before", &at)?;
        }
        if let Some(exp) = r.exp.seconds() {
            map.serialize_entry("exp", &exp)?;
        }
        map.serialize_entry("revoked_at", &r.revoked_at)?;
        if let Some(reason) = &r.reason {
            map.serialize_entry("reason", reason)?;
        }
        map.serialize_entry("source", &r.source)?;
        map.end()
    }
}

/// A revocation that was taken back: `{"id","kind",<the target's fields>}`.
pub struct Lifted<'a> {
    /// The digest of the target.
    pub id: Id,
    /// What is no longer revoked.
    pub target: &'a Target,
}

impl Serialize for Lifted<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        target_entries(&mut map, self.id, self.target)?;
        map.end()
    }
}

/// `id` always comes first: the ledger finds it at a fixed place of the encoded form.
fn target_entries<M: SerializeMap>(map: &mut M, id: Id, target: &Target) -> Result<(), M::Error> {
    map.serialize_entry("id", id.digits(&mut [0; 32]))?;
    map.serialize_entry("kind", target.kind.name())?;
    if let (Some(iss), false) = (&target.iss, target.kind == Kind::Issuer) {
        map.serialize_entry("iss", iss)?;
    }
    map.serialize_entry(target.kind.field(), &target.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::revocation::Expiry;

    #[test]
    fn the_wire_form_is_the_one_of_the_design() {
        let mut r = Revocation {
            target: Target { kind: Kind::Subject, iss: Some("https://sts".into()), value: "u\n1".into() },
            issued_before: Some(7),
            exp: Expiry(9),
            revoked_at: 6,
            reason: Some("lost".into()),
            source: "sts".into(),
            wso2_key: Some("hidden".into()),
        };
        let id = r.target.id();
        let text = serde_json::to_string(&Wire { id, revocation: &r }).unwrap();
        assert_eq!(
            text,
            format!(
                r#"{{"id":"{id}","kind":"subject","iss":"https://sts","sub":"u\n1","issued_before":7,"exp":9,"revoked_at":6,"reason":"lost","source":"sts"}}"#
            )
        );
        r.target = Target { kind: Kind::Issuer, iss: None, value: "i".into() };
        (r.issued_before, r.exp, r.reason) = (None, Expiry::NEVER, None);
        let text = serde_json::to_string(&Wire { id, revocation: &r }).unwrap();
        assert_eq!(text, format!(r#"{{"id":"{id}","kind":"issuer","iss":"i","revoked_at":6,"source":"sts"}}"#));
        let text = serde_json::to_string(&Lifted { id, target: &r.target }).unwrap();
        assert_eq!(text, format!(r#"{{"id":"{id}","kind":"issuer","iss":"i"}}"#));
    }
}
