//! Claims of Security Event Tokens, and the subjects in them.

use revocation_hub::formats::set::{OPTIONAL_EVENTS, Options, Set};
use revocation_hub::formats::subject::{Mapping, Named};
use revocation_hub::intake::NewTarget;

/// Panics at what must not be.
pub fn run(claims: &[u8]) {
    let Ok(serde_json::Value::Object(claims)) = serde_json::from_slice(claims) else { return };
    let Ok(set) = Set::read(&claims) else { return };
    let events = OPTIONAL_EVENTS.map(str::to_owned);
    for subject_claim in [&[][..], &Named::ALL] {
        let effects = set.effects(&Options { mapping: Mapping { subject_claim, issuer: None }, events: &events });
        let asks = !effects.revoke.is_empty() || !effects.lift.is_empty();
        let tells = effects.verification.is_some() || effects.stream.is_some();
        assert_eq!(asks || tells, effects.ignored.is_none());
        for item in effects.revoke {
            let NewTarget::Named(target) = item.target else { panic!("a raw token") };
            assert!(!target.value.is_empty() && target.iss.is_some());
            assert_eq!(target.kind.has_issued_before(), item.issued_before.is_some());
        }
    }
}
