use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::formats::subject::Named;

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";
const SSF: &str = "https://schemas.openid.net/secevent/ssf/event-type/";

fn read(claims: &Value) -> Result<Set, Malformed> {
    Set::read(claims.as_object().unwrap())
}

fn effects_with(claims: &Value, subject_claim: &[Named], events: &[&str]) -> Effects {
    let events: Vec<String> = events.iter().map(|name| (*name).to_owned()).collect();
    let mapping = Mapping { subject_claim, issuer: None };
    read(claims).unwrap().effects(&Options { mapping, events: &events })
}

fn effects(claims: &Value) -> Effects {
    effects_with(claims, &[], &[])
}

/// A token of SSF 1.0 about a user.
fn about(uri: &str, payload: Value) -> Value {
    let sub_id = json!({"format": "iss_sub", "iss": "https://idp.example.com/", "sub": "7375626A656374"});
    json!({"iss": "https://idp.example.com/", "jti": "a", "iat": 1_508_184_845, "sub_id": sub_id, "events": {uri: payload}})
}

fn revoked(kind: Kind, iss: &str, value: &str, issued_before: Option<i64>, reason: &str) -> Vec<NewRevocation> {
    let target = NewTarget::Named(Target { kind, iss: Some(iss.to_owned()), value: value.to_owned() });
    vec![NewRevocation { target, lifetime: Lifetime::Unsaid, issued_before, reason: Some(reason.to_owned()) }]
}

#[test]
fn the_examples_of_rfc_8417_2_1_ask_for_nothing() {
    // Figure 1: SCIM; figure 3: a logout; figure 4: consent; figure 5: RISC before it was one.
    let scim = json!({
        "iss": "https://scim.example.com", "iat": 1_458_496_404, "jti": "4d3559ec67504aaba65d40b0363faad8",
        "aud": ["https://scim.example.com/Feeds/98d52461fa5bbc879593b7754", "https://scim.example.com/Feeds/5d7604516b1d08641d7676ee7"],
        "events": {
            "urn:ietf:params:scim:event:create": {
                "ref": "https://scim.example.com/Users/44f6142df96bd6ab61e7521d9",
                "attributes": ["id", "name", "userName", "password", "emails"]},
            "https://example.com/scim/event/passwordResetExt": {"resetAttempts": 5}
        }
    });
    let logout = json!({
        "iss": "https://server.example.com", "sub": "248289761001", "aud": "s6BhdRkqt3", "iat": 1_471_566_154,
        "jti": "bWJq", "sid": "08a5019c-17e1-4977-8f42-65a12843ea02",
        "events": {"http://schemas.openid.net/event/backchannel-logout": {}}
    });
    let consent = json!({
        "iss": "https://my.med.example.org", "iat": 1_458_496_025, "jti": "fb4e75b5411e4e19b6c0fe87950f7749",
        "aud": ["https://rp.example.com"],
        "events": {"https://openid.net/heart/specs/consent.html": {
            "iss": "https://connect.example.com", "sub": "248289761001", "consentUri": ["https://terms.med.example.org/labdisclosure.html#Agree"]}}
    });
    let risc = json!({
        "iss": "https://idp.example.com/", "jti": "756E69717565206964656E746966696572", "iat": 1_508_184_845,
        "aud": "636C69656E745F6964",
        "events": {"https://schemas.openid.net/secevent/risc/event-type/account-disabled": {
            "subject": {"subject_type": "iss-sub", "iss": "https://idp.example.com/", "sub": "7375626A656374"},
            "reason": "hijacking"}}
    });
    for example in [&scim, &logout, &consent] {
        assert_eq!(effects(example), Effects { ignored: Some("unknown_event"), ..Effects::default() });
    }
    let subject =
        revoked(Kind::Subject, "https://idp.example.com/", "7375626A656374", Some(1_508_184_846), "account-disabled");
    assert_eq!(effects(&risc).revoke, subject);
}

#[test]
fn the_examples_of_ssf_1_0_5() {
    let set = |iat: i64, sub_id: Value, uri: &str, payload: Value| {
        json!({
            "iss": "https://idp.example.com/", "jti": "756E69717565206964656E746966696572", "iat": iat, "txn": "8675309",
            "aud": "636C69656E745F6964", "sub_id": sub_id, "events": {uri: payload}
        })
    };
    let email = json!({"format": "email", "email": "foo@example.com"});
    let enabled = set(1_520_364_019, email.clone(), &format!("{RISC}account-enabled"), json!({}));
    assert_eq!(effects(&enabled).ignored, Some("unsupported_subject"));
    let lifted =
        Target { kind: Kind::Subject, iss: Some("https://idp.example.com/".into()), value: "foo@example.com".into() };
    assert_eq!(effects_with(&enabled, &[Named::Email], &[]).lift, [(lifted, 1_520_364_019)]);

    let phone = json!({"format": "phone_number", "phone_number": "+1 206 555 0123"});
    let disabled = set(1_520_364_019, phone, &format!("{RISC}account-disabled"), json!({"reason": "hijacking"}));
    assert_eq!(effects(&disabled).ignored, Some("unsupported_subject"));
    let expected =
        revoked(Kind::Subject, "https://idp.example.com/", "+1 206 555 0123", Some(1_520_364_020), "account-disabled");
    assert_eq!(effects_with(&disabled, &[Named::PhoneNumber], &[]).revoke, expected);

    let changed = set(
        1_520_364_019,
        email,
        &format!("{CAEP}token-claims-change"),
        json!({"claims": {"token": "some-token-value"}}),
    );
    assert_eq!(effects_with(&changed, &[Named::Email], &[]).ignored, Some("unknown_event"));
    let expected = revoked(
        Kind::Subject,
        "https://idp.example.com/",
        "foo@example.com",
        Some(1_520_364_020),
        "token-claims-change",
    );
    assert_eq!(effects_with(&changed, &[Named::Email], &["token-claims-change"]).revoke, expected);

    let tenant = "https://idp.example.com/3957ea72-1b66-44d6-a044-d805712b9288/";
    let complex = json!({
        "format": "complex",
        "user": {"format": "iss_sub", "iss": tenant, "sub": "jane.smith@example.com"},
        "device": {"format": "iss_sub", "iss": tenant, "sub": "e9297990-14d2-42ec-a4a9-4036db86509a"}
    });
    let session = json!({
        "initiating_entity": "policy", "reason_admin": {"en": "Policy Violation: C076E82F"}, "event_timestamp": 1_600_975_810,
        "reason_user": {"en": "Land speed violation.", "es": "Violación de velocidad en tierra."}
    });
    let ended = set(1_520_364_019, complex, &format!("{CAEP}session-revoked"), session);
    let expected = revoked(Kind::Subject, tenant, "jane.smith@example.com", Some(1_600_975_811), "session-revoked");
    assert_eq!(effects(&ended).revoke, expected);

    let custom = json!({"format": "catalog_item", "catalog_id": "c0384/winter/2354122"});
    let custom =
        set(15_203_800_012, custom, &format!("{CAEP}token-claims-change"), json!({"claims": {"role": "ro-admin"}}));
    assert_eq!(effects_with(&custom, &Named::ALL, &["token-claims-change"]).ignored, Some("unsupported_subject"));
}

#[test]
fn the_examples_of_caep_1_0_3() {
    let iss = "https://idp.example.com/123456789/";
    let set = |sub_id: Value, event: &str, payload: Value| {
        json!({
            "iss": iss, "jti": "24c63fb56e5a2d77a6b512616ca9fa24", "iat": 1_615_305_159, "txn": "8675309",
            "aud": "https://sp.example.com/caep", "sub_id": sub_id, "events": {format!("{CAEP}{event}"): payload}
        })
    };
    let at = json!({"event_timestamp": 1_615_304_991});
    let opaque = json!({"format": "opaque", "id": "dMTlD|1600802906337.16|16008.16"});
    let session = revoked(Kind::Session, iss, "dMTlD|1600802906337.16|16008.16", None, "session-revoked");
    assert_eq!(effects(&set(opaque.clone(), "session-revoked", at.clone())).revoke, session);
    let user = json!({"format": "iss_sub", "iss": iss, "sub": "99beb27c-c1c2-4955-882a-e0dc4996fcbc"});
    let tenant = json!({"format": "opaque", "id": "123456789"});
    let complex = json!({"format": "complex", "session": opaque, "user": user, "tenant": tenant});
    assert_eq!(effects(&set(complex, "session-revoked", at.clone())).revoke, session);
    let device = json!({"format": "iss_sub", "iss": iss, "sub": "e9297990-14d2-42ec-a4a9-4036db86509a"});
    let complex = json!({"format": "complex", "user": user, "device": device, "tenant": tenant});
    let subject =
        revoked(Kind::Subject, iss, "99beb27c-c1c2-4955-882a-e0dc4996fcbc", Some(1_615_304_992), "session-revoked");
    assert_eq!(effects(&set(complex, "session-revoked", at.clone())).revoke, subject);

    let jwt = json!({"format": "jwt_id", "iss": "https://idp.example.com/987654321/", "jti": "f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7"});
    let changed = set(
        jwt.clone(),
        "token-claims-change",
        json!({"event_timestamp": 1_615_304_991, "claims": {"role": "ro-admin"}}),
    );
    assert_eq!(effects(&changed).ignored, Some("unknown_event"));
    let token = |reason| {
        revoked(Kind::Token, "https://idp.example.com/987654321/", "f61t6e20zdo3px56gepu8rzlsp4c1dpc0fx7", None, reason)
    };
    assert_eq!(effects_with(&changed, &[], &["token-claims-change"]).revoke, token("token-claims-change"));
    assert_eq!(effects(&set(jwt, "session-revoked", at)).revoke, token("session-revoked"));

    for (change, counts) in [("create", false), ("revoke", true), ("delete", true), ("update", true), ("other", false)]
    {
        let payload =
            json!({"credential_type": "fido2-roaming", "change_type": change, "event_timestamp": 1_615_304_991});
        let set = set(user.clone(), "credential-change", payload);
        assert!(effects_with(&set, &[], &["token-claims-change"]).revoke.is_empty());
        assert_eq!(!effects_with(&set, &[], &["credential-change"]).revoke.is_empty(), counts, "{change}");
    }
    let level = set(user, "assurance-level-change", json!({"namespace": "NIST-AAL", "current_level": "nist-aal2"}));
    assert_eq!(effects(&level).ignored, Some("unknown_event"));
}

#[test]
fn the_events_of_risc_1_0_2() {
    for name in [
        "account-disabled",
        "account-purged",
        "sessions-revoked",
        "credential-compromise",
        "account-credential-change-required",
    ] {
        let set = about(&format!("{RISC}{name}"), json!({}));
        let expected = revoked(Kind::Subject, "https://idp.example.com/", "7375626A656374", Some(1_508_184_846), name);
        assert_eq!(effects(&set).revoke, expected);
    }
    let enabled = effects(&about(&format!("{RISC}account-enabled"), json!({})));
    assert_eq!((enabled.lift.len(), enabled.revoke.len(), enabled.ignored), (1, 0, None));
    for name in ["identifier-changed", "identifier-recycled", "opt-in", "opt-out-effective", "recovery-activated"] {
        assert_eq!(effects(&about(&format!("{RISC}{name}"), json!({}))).ignored, Some("unknown_event"));
    }
}

#[test]
fn ssf_8_1_4_verification_and_8_1_5_stream_updated() {
    let mut set = about(&format!("{SSF}verification"), json!({"state": "VGhpcyBpcyBh\nbiBleGFtcGxl"}));
    assert_eq!(effects(&set).verification, Some(Some("VGhpcyBpcyBh\u{fffd}biBleGFtcGxl".into())));
    set.as_object_mut().unwrap().remove("sub_id");
    assert!(read(&set).is_err());
    let updated = about(&format!("{SSF}stream-updated"), json!({"status": "paused", "reason": "Internal error"}));
    assert_eq!(effects(&updated).stream, Some(Some("paused".into())));
    // Google's, and that of drafts, without a subject.
    for base in [RISC, "https://schemas.openid.net/secevent/sse/event-type/"] {
        set["events"] = json!({format!("{base}verification"): {"state": "s"}});
        assert_eq!(effects(&set).verification, Some(Some("s".into())));
    }
}

#[test]
fn rfc_8417_2_2_required_claims_must_be_there() {
    let good = about(&format!("{RISC}account-disabled"), json!({}));
    assert!(read(&good).is_ok());
    let without = |name: &str| {
        let mut set = good.clone();
        set.as_object_mut().unwrap().remove(name);
        set
    };
    let with = |name: &str, value: Value| {
        let mut set = good.clone();
        set[name] = value;
        set
    };
    for bad in [
        without("iss"),
        without("jti"),
        without("iat"),
        without("events"),
        with("jti", json!("")),
        with("jti", json!(7)),
        with("iat", json!("1508184845")),
        with("iat", json!(-1)),
        with("events", json!({})),
        with("events", json!([])),
        with("events", json!({format!("{RISC}account-disabled"): null})),
        with("events", json!({"urn:example:event": "a"})),
        // SSF 1.0 §3.1, §4.1.2, §4.1.7.
        without("sub_id"),
        with("sub_id", json!({"format": "iss_sub", "iss": "i"})),
        with("sub", json!("7375626A656374")),
        with("exp", json!(1_508_184_945)),
    ] {
        assert!(read(&bad).is_err(), "{bad}");
    }
}

#[test]
fn an_event_is_as_old_as_it_says() {
    let uri = format!("{CAEP}session-revoked");
    let before = |toe: Option<Value>, at: Option<Value>| {
        let mut set = about(&uri, at.map_or(json!({}), |at| json!({"event_timestamp": at})));
        if let Some(toe) = toe {
            set["toe"] = toe;
        }
        effects(&set).revoke[0].issued_before
    };
    assert_eq!(before(None, None), Some(1_508_184_846));
    assert_eq!(before(Some(json!(1_508_184_000)), None), Some(1_508_184_001));
    assert_eq!(before(Some(json!(1_508_184_000)), Some(json!(1_508_183_000))), Some(1_508_183_001));
    // A part of a second, and the milliseconds of drafts.
    assert_eq!(before(None, Some(json!(1_508_183_000.9))), Some(1_508_183_001));
    assert_eq!(before(None, Some(json!(1_615_304_991_643_i64))), Some(1_615_304_992));
    assert_eq!(before(None, Some(json!("soon"))), Some(1_508_184_846));
}

#[test]
fn the_top_level_sub_id_wins_and_the_source_may_name_the_issuer() {
    let mut set = about(&format!("{CAEP}session-revoked"), json!({"subject": {"format": "opaque", "id": "old"}}));
    set["sub_id"] = json!({"format": "opaque", "id": "new"});
    let expected = revoked(Kind::Session, "https://idp.example.com/", "new", None, "session-revoked");
    assert_eq!(effects(&set).revoke, expected);
    let mapping = Mapping { subject_claim: &[], issuer: Some("https://op.example.com") };
    let effects = read(&set).unwrap().effects(&Options { mapping, events: &[] });
    assert_eq!(effects.revoke, revoked(Kind::Session, "https://op.example.com", "new", None, "session-revoked"));
}

#[test]
fn several_names_of_one_event_revoke_once_and_never_lift() {
    let mut set = about(&format!("{RISC}sessions-revoked"), json!({}));
    set["events"][format!("{CAEP}session-revoked")] = json!({});
    set["events"][format!("{RISC}account-enabled")] = json!({});
    let effects = effects(&set);
    assert_eq!((effects.revoke.len(), effects.lift.len()), (1, 0));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z]{0,4}|iss_sub|opaque|complex|aliases|jwt_id".prop_map(Value::from),
    ];
    let name = "[a-z]{1,3}|format|id|iss|sub|jti|identifiers|user|session|subject|event_timestamp|state|change_type";
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever the claims are, they are read or refused, and what is read asks for something or says why not.
    #[test]
    fn any_claims_have_a_meaning_or_none(
        sub_id in prop::option::of(any_json()),
        payload in any_json(),
        iat in any::<f64>(),
        toe in any_json(),
        name in "caep/event-type/(session-revoked|credential-change)|risc/event-type/account-(en|dis)abled|ssf/event-type/verification|x",
    ) {
        let mut claims = json!({"iss": "i", "jti": "j", "iat": iat, "toe": toe, "events": {format!("{BASE}{name}"): payload}});
        if let Some(sub_id) = sub_id {
            claims["sub_id"] = sub_id;
        }
        let Ok(set) = read(&claims) else { return Ok(()) };
        let options = Options { mapping: Mapping { subject_claim: &Named::ALL, issuer: None }, events: &[] };
        let effects = set.effects(&options);
        let asks = !effects.revoke.is_empty() || !effects.lift.is_empty() || effects.verification.is_some();
        prop_assert_eq!(asks, effects.ignored.is_none());
        for item in &effects.revoke {
            let NewTarget::Named(target) = &item.target else { panic!("a raw token") };
            prop_assert_eq!(target.kind.has_issued_before(), item.issued_before.is_some());
            prop_assert!(item.issued_before.is_none_or(|at| at > 0));
        }
    }
}
