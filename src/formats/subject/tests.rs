use proptest::prelude::*;
use serde_json::json;

use super::*;

const USERS: &[Named] = &Named::ALL;

fn read(value: Value) -> Result<Subject, Malformed> {
    Subject::read(&value)
}

fn subject(iss: Option<&str>, value: &str) -> Target {
    target(Kind::Subject, iss, value)
}

#[test]
fn the_examples_of_rfc_9493_3_2() {
    let mapping = Mapping { subject_claim: USERS, issuer: Some("us") };
    for (example, expected) in [
        (
            json!({"format": "account", "uri": "acct:example.user@service.example.com"}),
            "acct:example.user@service.example.com",
        ),
        (json!({"format": "email", "email": "user@example.com"}), "user@example.com"),
        (json!({"format": "opaque", "id": "11112222333344445555"}), "11112222333344445555"),
        (json!({"format": "phone_number", "phone_number": "+12065550100"}), "+12065550100"),
        (json!({"format": "did", "url": "did:example:123456"}), "did:example:123456"),
        (
            json!({"format": "did", "url": "did:example:123456/did/url/path?versionId=1"}),
            "did:example:123456/did/url/path?versionId=1",
        ),
        (json!({"format": "uri", "uri": "https://user.example.com/"}), "https://user.example.com/"),
        (
            json!({"format": "uri", "uri": "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f"}),
            "urn:uuid:4e851e98-83c4-4743-a5da-150ecb53042f",
        ),
    ] {
        let read = read(example).unwrap();
        assert_eq!(read.targets(&mapping), [subject(Some("us"), expected)]);
        // Never by guess.
        assert_eq!(read.targets(&Mapping { subject_claim: &[], issuer: Some("us") }), []);
    }
    let iss_sub = read(json!({"format": "iss_sub", "iss": "https://issuer.example.com/", "sub": "145234573"})).unwrap();
    assert_eq!(iss_sub.targets(&mapping), [subject(Some("https://issuer.example.com/"), "145234573")]);
    let aliases = json!({"format": "aliases", "identifiers": [
        {"format": "email", "email": "user@example.com"},
        {"format": "phone_number", "phone_number": "+12065550100"},
        {"format": "email", "email": "user+qualifier@example.com"},
        {"format": "iss_sub", "iss": "i", "sub": "s"},
    ]});
    let aliases = read(aliases).unwrap();
    let emails = Mapping { subject_claim: &[Named::Email], issuer: None };
    let all = [subject(None, "user@example.com"), subject(None, "user+qualifier@example.com"), subject(Some("i"), "s")];
    assert_eq!(aliases.targets(&emails), all);
}

#[test]
fn rfc_9493_3_members_that_a_format_requires_must_be_there() {
    for bad in [
        json!("user@example.com"),
        json!({}),
        json!({"id": "a"}),
        json!({"format": 7}),
        json!({"format": ""}),
        json!({"format": "account"}),
        json!({"format": "email", "id": "a"}),
        json!({"format": "email", "email": null}),
        json!({"format": "opaque", "id": ""}),
        json!({"format": "opaque", "id": 7}),
        json!({"format": "phone_number"}),
        json!({"format": "did", "uri": "did:example:123456"}),
        json!({"format": "uri"}),
        json!({"format": "iss_sub", "iss": "i"}),
        json!({"format": "iss_sub", "sub": "s"}),
        json!({"format": "jwt_id", "iss": "i"}),
        json!({"format": "saml_assertion_id", "issuer": "i"}),
        json!({"format": "complex"}),
        json!({"format": "complex", "user": "a"}),
        json!({"format": "complex", "user": {"format": "complex", "user": {"format": "email", "email": "a"}}}),
        json!({"format": "aliases"}),
        json!({"format": "aliases", "identifiers": []}),
        json!({"format": "aliases", "identifiers": {"format": "email", "email": "a"}}),
        json!({"format": "aliases", "identifiers": ["a"]}),
        // RFC 9493 §3.2.8: no aliases of aliases.
        json!({"format": "aliases", "identifiers": [{"format": "aliases", "identifiers": [{"format": "email", "email": "a"}]}]}),
        json!({"format": "aliases", "identifiers": vec![json!({"format": "email", "email": "a"}); 101]}),
    ] {
        assert!(read(bad.clone()).is_err(), "{bad}");
    }
}

#[test]
fn ssf_4_2_3_what_is_not_understood_is_passed_over() {
    let known = json!({"format": "iss_sub", "iss": "i", "sub": "s", "more": {"a": 1}});
    assert_eq!(read(known).unwrap(), Subject::IssSub { iss: "i".into(), sub: "s".into() });
    for other in [
        json!({"format": "catalog_item", "catalog_id": "c0384/winter/2354122"}),
        json!({"format": "ip-addresses", "ip-addresses": ["10.29.37.75", "2001:0db8:0000:0000:0000:8a2e:0370:7334"]}),
        json!({"format": "saml_assertion_id", "issuer": "i", "assertion_id": "_8e8dc5f69a98cc4c1ff3427e5ce34606fd672f91e6"}),
    ] {
        assert_eq!(read(other).unwrap(), Subject::Other);
    }
    let complex = json!({"format": "complex", "user": {"format": "email", "email": "a"}, "own": 7, "x": {"y": 1}});
    let user = ("user".to_owned(), Subject::Named(Named::Email, "a".into()));
    assert_eq!(read(complex).unwrap(), Subject::Complex(vec![user]));
}

#[test]
fn spellings_of_drafts_and_of_google() {
    let iss_sub = Subject::IssSub { iss: "https://accounts.google.com/".into(), sub: "7375626A656374".into() };
    for name in ["iss-sub", "iss_sub"] {
        let old = json!({"subject_type": name, "iss": "https://accounts.google.com/", "sub": "7375626A656374"});
        assert_eq!(read(old).unwrap(), iss_sub);
    }
    // The name of today wins.
    let both = json!({"format": "opaque", "subject_type": "iss-sub", "id": "a"});
    assert_eq!(read(both).unwrap(), Subject::Named(Named::Opaque, "a".into()));
    let phone = json!({"subject_type": "phone", "phone": "+1 206 555 0123"});
    assert_eq!(read(phone).unwrap(), Subject::Named(Named::PhoneNumber, "+1 206 555 0123".into()));
    let complex =
        json!({"user": {"subject_type": "iss-sub", "iss": "i", "sub": "s"}, "tenant": {"format": "opaque", "id": "t"}});
    assert_eq!(read(complex).unwrap().targets(&Mapping::default()), [subject(Some("i"), "s")]);
}

#[test]
fn a_session_is_told_by_its_member_and_else_by_its_user() {
    let mapping = Mapping { subject_claim: &[], issuer: Some("us") };
    let ended = |value: Value| read(value).unwrap().ended(&mapping);
    let user = json!({"format": "iss_sub", "iss": "i", "sub": "u"});
    let session = target(Kind::Session, Some("us"), "s");
    assert_eq!(ended(json!({"format": "opaque", "id": "s"})), std::slice::from_ref(&session));
    assert_eq!(
        ended(json!({"format": "complex", "session": {"format": "opaque", "id": "s"}, "user": user})),
        [session]
    );
    let of_issuer =
        json!({"format": "complex", "session": {"format": "iss_sub", "iss": "i", "sub": "s"}, "user": user});
    assert_eq!(ended(of_issuer), [target(Kind::Session, Some("i"), "s")]);
    let token = json!({"format": "complex", "session": {"format": "jwt_id", "iss": "i", "jti": "j"}, "user": user});
    assert_eq!(ended(token), [target(Kind::Token, Some("i"), "j")]);
    assert_eq!(ended(json!({"format": "jwt_id", "iss": "i", "jti": "j"})), [target(Kind::Token, Some("i"), "j")]);
    assert_eq!(ended(user.clone()), [subject(Some("i"), "u")]);
    // Narrower than the hub can be.
    let device = json!({"format": "opaque", "id": "d"});
    assert_eq!(ended(json!({"format": "complex", "user": user, "device": device})), [subject(Some("i"), "u")]);
    let unknown = json!({"format": "complex", "user": user, "session": {"format": "did", "url": "did:example:1"}});
    assert_eq!(ended(unknown), [subject(Some("i"), "u")]);
    // Nothing that a token has.
    assert_eq!(ended(json!({"format": "complex", "device": device, "tenant": {"format": "opaque", "id": "t"}})), []);
    assert_eq!(ended(json!({"format": "email", "email": "a"})), []);
    // Where opaque identifiers are users, a simple one is no session.
    let users = Mapping { subject_claim: &[Named::Opaque], issuer: Some("us") };
    assert_eq!(read(json!({"format": "opaque", "id": "u"})).unwrap().ended(&users), [subject(Some("us"), "u")]);
}

fn simple_json() -> impl Strategy<Value = Value> {
    prop_oneof![
        (".*", ".*").prop_map(|(iss, sub)| json!({"format": "iss_sub", "iss": iss, "sub": sub})),
        (".*", ".*").prop_map(|(iss, jti)| json!({"format": "jwt_id", "iss": iss, "jti": jti})),
        ".*".prop_map(|id| json!({"format": "opaque", "id": id})),
        ".*".prop_map(|email| json!({"subject_type": "email", "email": email})),
        Just(json!({"format": "catalog_item"})),
        Just(json!({"format": "email"})),
        Just(json!(null)),
    ]
}

proptest! {
    /// Every target comes from a text that stands in the identifier, and there are no more than identifiers.
    #[test]
    fn nothing_is_made_up(
        members in prop::collection::btree_map("user|session|device|x", simple_json(), 0..4),
        identifiers in prop::collection::vec(simple_json(), 0..5),
        kind in 0..3,
    ) {
        let value = match kind {
            0 => identifiers.first().cloned().unwrap_or_default(),
            1 => json!({"format": "aliases", "identifiers": identifiers}),
            _ => {
                let mut all: Map<String, Value> = members.into_iter().collect();
                all.insert("format".into(), "complex".into());
                all.into()
            }
        };
        let text = value.to_string();
        let Ok(subject) = Subject::read(&value) else { return Ok(()) };
        let mapping = Mapping { subject_claim: USERS, issuer: None };
        for targets in [subject.targets(&mapping), subject.ended(&mapping)] {
            prop_assert!(targets.len() <= identifiers.len().max(3));
            for target in targets {
                prop_assert!(!target.value.is_empty());
                prop_assert!(text.contains(&json!(target.value).to_string()));
                prop_assert!(target.iss.is_none_or(|iss| text.contains(&json!(iss).to_string())));
            }
        }
    }
}
