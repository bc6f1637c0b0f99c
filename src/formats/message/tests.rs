use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::super::wso2::vectors::{E, J, MALFORMED, MAPS, NOTIFY, TEXTS, bytes, text as vector};
use super::*;
use crate::formats::native::Fault;
use crate::intake::{Lifetime, NewTarget};
use crate::revocation::{Expiry, Kind, Target};

const OPTIONS: Options = Options { max_items: 3, untyped: Untyped::Both };

fn read(content_type: &str, body: &[u8]) -> Result<Decoded, Unreadable> {
    decode((!content_type.is_empty()).then_some(content_type), body, &OPTIONS)
}

fn the_token() -> NewRevocation {
    NewRevocation {
        target: NewTarget::Named(Target { kind: Kind::Token, iss: None, value: J.to_owned() }),
        lifetime: Lifetime::Until(4_102_444_800),
        issued_before: None,
        reason: None,
    }
}

#[test]
fn one_revocation_reads_the_same_in_every_format() {
    let native = format!(r#"{{"jti":"{J}","exp":4102444800}}"#);
    let array = format!("[{native}]");
    let (_, amqp, jms) = MAPS[0];
    for (content_type, body, format) in [
        ("amqp/map", bytes(amqp), Format::Wso2Map),
        ("jms/map-message", bytes(jms), Format::Wso2LegacyMap),
        ("text/plain", vector("T1").into(), Format::Wso2Text),
        ("Application/JSON; charset=utf-8", vector("T1").into(), Format::Wso2Text),
        ("", vector("T1").into(), Format::Wso2Text),
        ("", vector("N-1").into(), Format::Wso2Notify),
        ("", native.clone().into(), Format::Native),
        ("text/plain", array.into(), Format::Native),
        ("application/x-ndjson", native.into(), Format::Native),
    ] {
        let decoded = read(content_type, &body).unwrap();
        assert_eq!((decoded.format, decoded.wants_snapshot), (format, false));
        assert_eq!(decoded.event_id.as_deref(), (format != Format::Native).then_some(E));
        assert_eq!(decoded.revocations, [the_token()], "{content_type} {format:?}");
    }
}

#[test]
fn what_another_hub_tells_is_read_back_and_its_lifts_are_not_taken_for_revocations() {
    use crate::revocation::{Lifted, Revocation, Wire};
    for kind in Kind::ALL {
        let iss = (!matches!(kind, Kind::TokenHash | Kind::Issuer)).then(|| "https://sts".to_owned());
        let value = if kind == Kind::TokenHash { "ab".repeat(32) } else { "v".to_owned() };
        let revocation = Revocation {
            target: Target { kind, iss, value },
            issued_before: kind.has_issued_before().then_some(7),
            exp: Expiry(if kind == Kind::Key { i64::MAX } else { 4_102_444_800 }),
            revoked_at: 6,
            reason: Some("lost".into()),
            source: "there".into(),
            wso2_key: None,
        };
        let id = revocation.target.id();
        let told = serde_json::to_vec(&Wire { id, revocation: &revocation }).unwrap();
        let [read] = &read("application/json", &told).unwrap().revocations[..] else { panic!("one") };
        assert_eq!(read.target, NewTarget::Named(revocation.target.clone()));
        assert_eq!((read.issued_before, read.reason.as_deref()), (revocation.issued_before, Some("lost")));
        let expected = if kind == Kind::Key { Lifetime::Unlimited } else { Lifetime::Until(4_102_444_800) };
        assert_eq!(read.lifetime, expected);
        let lift = serde_json::to_vec(&Lifted { id, target: &revocation.target }).unwrap();
        assert_eq!(decode(Some("application/json"), &lift, &OPTIONS).unwrap_err().reason(), "invalid_target");
    }
}

#[test]
fn a_cloud_event_is_opened_once() {
    let native = json!({"jti": J, "exp": 4_102_444_800_i64});
    let text: serde_json::Value = serde_json::from_str(vector("T1")).unwrap();
    let notify: serde_json::Value = serde_json::from_str(vector("N-1")).unwrap();
    let envelope = |key: &str, data: serde_json::Value| json!({"specversion": "1.0", "id": "c1", "source": "/sts", "type": "revoked", "time": "now", key: data});
    let opened =
        |event: &serde_json::Value| read("application/cloudevents+json; charset=utf-8", event.to_string().as_bytes());
    for (data, event_id) in [(native.clone(), "c1"), (json!([native]), "c1"), (text, E), (notify, E)] {
        let decoded = opened(&envelope("data", data)).unwrap();
        assert_eq!((decoded.event_id.as_deref(), decoded.revocations), (Some(event_id), vec![the_token()]));
    }
    let mut binary = envelope("data_base64", STANDARD.encode(bytes(MAPS[0].1)).into());
    binary["datacontenttype"] = "amqp/map".into();
    assert_eq!(opened(&binary).unwrap().revocations, [the_token()]);
    binary["datacontenttype"] = "application/cloudevents+json".into();
    assert_eq!(opened(&binary).unwrap_err(), Unreadable::UnknownFormat);

    let inside = envelope("data", envelope("data", native.clone()));
    // Its member `type` makes it look like a notify call; a second envelope it is not.
    assert_eq!(opened(&inside).unwrap_err().reason(), "unknown_type");

    for missing in ["specversion", "id", "source", "type", "data"] {
        let mut event = envelope("data", native.clone());
        event[missing] = serde_json::Value::Null;
        assert_eq!(opened(&event).unwrap_err().reason(), "malformed_cloudevent", "{missing}");
    }
    for (member, value) in [("specversion", "0.3"), ("id", ""), ("data_base64", "e30=")] {
        let mut event = envelope("data", native.clone());
        event[member] = value.into();
        assert_eq!(opened(&event).unwrap_err().reason(), "malformed_cloudevent", "{member}");
    }
    assert_eq!(opened(&envelope("data_base64", "*".into())).unwrap_err().reason(), "malformed_cloudevent");
    assert_eq!(opened(&json!([])).unwrap_err().reason(), "malformed_json");
}

#[test]
fn every_unreadable_message_has_its_reason() {
    for (name, content_type, body) in MALFORMED {
        let body = if *content_type == "amqp/map" { bytes(body) } else { body.as_bytes().to_vec() };
        let reason = match *name {
            "X6" => "no_token",
            "X8" => "malformed_json",
            _ => "malformed_map",
        };
        assert_eq!(read(content_type, &body).unwrap_err().reason(), reason, "{name}");
    }
    for (content_type, body, reason) in [
        ("amqp/map", "\0\0\0\x04\0\0\0\0", "no_token"),
        ("jms/map-message", "\0\0\0\0", "no_token"),
        ("image/png", "{}", "unknown_format"),
        ("", "", "unknown_format"),
        ("", "hello", "unknown_format"),
        ("", "{}", "invalid_target"),
        ("", r#"{"jti":7}"#, "invalid_item"),
        ("", r#"{"jti":"a","exp":1,"ttl":1}"#, "invalid_time"),
        ("", r#"{"jti":"a""#, "malformed_json"),
        ("", "[{},{},{},{}]", "too_many_items"),
        (
            "",
            r#"{"type":"token_revocation_batch","tokenRevocationEventList":[{"accessToken":"a"},{"accessToken":"a"},{"accessToken":"a"},{"accessToken":"a"}]}"#,
            "too_many_items",
        ),
        ("", r#"{"type":"consumer_app_revocation_event"}"#, "malformed_rule"),
        ("", r#"{"event":{"other":1}}"#, "unknown_format"),
        ("", r#"{"event":{},"event":{}}"#, "malformed_json"),
    ] {
        let error = read(content_type, body.as_bytes()).unwrap_err();
        assert_eq!(error.reason(), reason, "{body}");
    }
    // Only notify calls may be in Latin-1.
    let latin1 = [&b"{\"accessToken\":\"k\",\"user\":\"Bj\xf6rn\"}"[..], b"{\"jti\":\"\xf6\"}"];
    assert!(read("", latin1[0]).is_ok());
    assert_eq!(read("", latin1[1]).unwrap_err().reason(), "malformed_json");
}

#[test]
fn every_reason_is_on_the_list_once() {
    let refusal = |fault| Unreadable::Native(Refusal { fault, detail: String::new(), index: None });
    let all = [
        Malformed::Map(super::super::wso2::value::MapError::Null).into(),
        Malformed::Json(Broken { line: 1, column: 1 }).into(),
        Malformed::Shape("").into(),
        Malformed::NoToken.into(),
        Malformed::UnknownType.into(),
        Malformed::Rule("").into(),
        refusal(Fault::Json),
        refusal(Fault::Item),
        refusal(Fault::Target),
        refusal(Fault::Time),
        refusal(Fault::TooMany),
        Unreadable::Json(Broken { line: 1, column: 1 }),
        Unreadable::CloudEvent(""),
        Unreadable::UnknownFormat,
        Unreadable::TooMany(1),
    ];
    let mut seen: Vec<&str> = all.iter().map(Unreadable::reason).collect();
    let mut listed = Unreadable::REASONS.to_vec();
    seen.sort_unstable();
    seen.dedup();
    listed.sort_unstable();
    assert_eq!(seen, listed);
}

#[test]
fn no_error_and_no_debug_text_shows_a_token() {
    let token = "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln";
    for body in [
        format!(r#"{{"event":"{token}"}}"#),
        format!(r#"{{"event":{{"payloadData":"{token}"}}}}"#),
        format!(r#"{{"type":"{token}"}}"#),
        format!(r#"{{"type":"token_revocation_batch","tokenRevocationEventList":"{token}"}}"#),
        format!(r#"{{"exp":"{token}"}}"#),
        format!(r#"{{"accessToken":"{token}"#),
        format!(r#"{{"accessToken":"{token}"}}"#),
        format!(r#"{{"event":{{"payloadData":{{"revokedToken":"{token}"}}}}}}"#),
    ] {
        let shown = match read("", body.as_bytes()) {
            Ok(decoded) => format!("{decoded:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        assert!(!shown.contains("eyJ"), "{shown}");
    }
}

proptest! {
    #[test]
    fn no_message_makes_the_dispatcher_panic(
        content_type in proptest::sample::select(vec![
            "", "amqp/map", "jms/map-message", "text/plain", "application/json", "application/x-ndjson",
            "application/cloudevents+json", ";", "x",
        ]),
        seed in proptest::option::of(proptest::sample::select(
            TEXTS.iter().chain(NOTIFY).map(|(_, body)| body.as_bytes().to_vec()).collect::<Vec<_>>()
        )),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        at in any::<proptest::sample::Index>(),
    ) {
        let mut body = seed.unwrap_or_default();
        let at = at.index(body.len() + 1);
        body.splice(at..at, noise);
        let _ = read(content_type, &body);
    }
}
