//! The conformance vectors through every codec.

use super::value::{MAX_DEPTH, MAX_VALUES, Map, MapError, Unencodable, Value};
use super::vectors::{CONSUMER, E, ENTITY, J, MALFORMED, MAPS, NOTIFY, OBJECT, TEXTS, bytes, text as vector};
use super::*;
use payload::Payload;

const MS: i64 = 4_102_444_800_000;

fn token(event_id: Option<&str>, key: &str, ttl: &str, expiry: i64, kind: Option<&str>, tenant: Option<i32>) -> Event {
    Event::Token(TokenEvent {
        event_id: event_id.map(str::to_owned),
        revoked_token: key.to_owned(),
        ttl: Some(ttl.to_owned()),
        expiry_time: Some(expiry),
        token_type: kind.map(str::to_owned),
        tenant_id: tenant,
    })
}

fn app(event_id: &str, organization: Option<&str>) -> Event {
    Event::App(AppEvent {
        event_id: Some(event_id.to_owned()),
        tenant_id: Some(SUPER_TENANT),
        consumer_key: CONSUMER.to_owned(),
        revocation_time_ms: Some(1_767_225_600_000),
        organization: organization.map(str::to_owned),
    })
}

fn subject(organization: Option<&str>) -> Event {
    Event::Subject(SubjectEvent {
        event_id: Some("e5".to_owned()),
        tenant_id: Some(SUPER_TENANT),
        entity_id: ENTITY.to_owned(),
        entity_type: EntityType::User,
        revocation_time_ms: Some(1_767_225_600_000),
        organization: organization.map(str::to_owned),
    })
}

/// `assert_eq!` for events, whose `Debug` hides the token.
#[track_caller]
pub(super) fn same(got: Result<Event, Malformed>, expected: &Event, name: &str) {
    let shown = |event: &Event| text::encode(event);
    match got {
        Ok(event) => assert!(event == *expected, "{name}: {} is not {}", shown(&event), shown(expected)),
        Err(error) => panic!("{name}: {error}"),
    }
}

fn expected(name: &str) -> Option<Event> {
    let full = SUPER_TENANT;
    Some(match name {
        "M1" | "T1" => token(Some(E), J, "5000", MS, Some("JWT"), Some(full)),
        "M2" => token(None, "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln", "5000", MS / 1000, None, None),
        "M3" => token(None, "a1b2c3d4-opaque", "5000", 0, None, None),
        "M4" => match token(None, J, "3600", 0, None, None) {
            Event::Token(event) => Event::Token(TokenEvent { expiry_time: None, ..event }),
            other => other,
        },
        "M5" => token(Some("e0"), "t0", "5000", i64::MAX, None, Some(0)),
        "M7" | "T2" => token(Some("e1"), "a1b2c3d4-opaque", "5000", MS, Some("Default"), Some(full)),
        "M8" | "T3" => token(Some("e2"), J, "5000", MS / 1000, Some("API_KEY"), Some(full)),
        "T4" => token(Some("e4"), J, "5000", i64::MAX, Some("JWT"), Some(full)),
        "M9" | "T5" => app("e3", None),
        "T6" => subject(None),
        "T7" => Event::Batch(BatchEvent {
            event_id: Some("e6".to_owned()),
            tenant_id: Some(full),
            consumer_key: Some(CONSUMER.to_owned()),
            ..Default::default()
        }),
        _ => return None,
    })
}

#[test]
fn map_messages_are_read_and_written_back_byte_by_byte() {
    for (name, amqp, jms) in MAPS {
        let (amqp, jms) = (bytes(amqp), bytes(jms));
        let (a, b) = (map::decode(&amqp).unwrap(), legacy_map::decode(&jms).unwrap());
        assert_eq!(map::encode(&a).unwrap(), amqp, "{name}");
        assert_eq!(legacy_map::encode(&b).unwrap(), jms, "{name}");
        assert!(a == b, "{name}");
        match expected(name) {
            Some(event) => same(Payload::from_map(&a).into_event(), &event, name),
            None => {
                assert_eq!((*name, Payload::from_map(&a).into_event()), ("M11", Err(Malformed::NoToken)));
                continue;
            }
        }
        // A message of six members is also what the event is written as.
        if a.0.len() == 6 {
            let event = expected(name).unwrap();
            assert_eq!(map::encode(&Payload::of(&event).to_map()).unwrap(), amqp, "{name}");
            assert_eq!(legacy_map::encode(&Payload::of(&event).to_map()).unwrap(), jms, "{name}");
        }
    }
}

#[test]
fn text_messages_are_read_and_written_back_byte_by_byte() {
    for (name, body) in TEXTS {
        let event = expected(name).unwrap();
        same(text::decode(body.as_bytes()), &event, name);
        assert_eq!(text::encode(&event), *body, "{name}");
        assert_eq!(event.wants_snapshot(), *name == "T7", "{name}");
    }
}

#[test]
fn text_is_read_leniently_and_written_properly() {
    let read = |data: &str| text::decode(format!(r#"{{"x":1,"event":{{"payloadData":{data}}}}}"#).as_bytes());
    let event = read(r#"{"revokedToken":"k","ttl":3600,"expiryTime":"7","type":null,"tenantId":"-1234","new":[{}]}"#);
    let mut full = token(None, "k", "3600", 7, None, Some(SUPER_TENANT));
    same(event, &full, "numbers and strings");
    let Event::Token(event) = &mut full else { panic!("a token") };
    (event.ttl, event.expiry_time, event.tenant_id) = (None, None, None);
    same(read(r#"{"revokedToken":"k"}"#), &full, "missing");
    assert_eq!(
        text::encode(&full),
        r#"{"event":{"payloadData":{"eventId":null,"revokedToken":"k","ttl":"5000","expiryTime":0,"type":null,"tenantId":-1234}}}"#
    );
    same(read(r#"{"eventId":null,"revokedToken":"k","ttl":null,"expiryTime":null,"tenantId":null}"#), &full, "null");
    let quoted = token(None, "a\"b\\c\u{1}é", "5000", 0, None, Some(SUPER_TENANT));
    same(text::decode(text::encode(&quoted).as_bytes()), &quoted, "escapes");
    for nothing in [r#"{"revokedToken":null}"#, r#"{"revokedToken":""}"#, "{}", r#"{"revokedToken":{"a":1}}"#] {
        assert_eq!(read(nothing), Err(Malformed::NoToken), "{nothing}");
    }
    for (body, reason) in [
        ("{}", "unknown_format"),
        (r#"{"event":null}"#, "unknown_format"),
        (r#"{"event":{}}"#, "unknown_format"),
        (r#"{"event":[{"revokedToken":"k"}]}"#, "malformed_json"),
        ("[[[\"e\",\"k\",\"t\",0,null,0]]]", "malformed_json"),
        ("", "malformed_json"),
    ] {
        assert_eq!(text::decode(body.as_bytes()).unwrap_err().reason(), reason, "{body}");
    }
}

#[test]
fn a_rule_that_cannot_be_read_is_an_error() {
    let client = "eyJlbnRpdHlUeXBlIjoiQ0xJRU5UX0lEIiwicmV2b2NhdGlvblRpbWUiOiIxNzY3MjI1NjAwMDAwIiwiZW50aXR5SWQiOiJyZmp0RXhhbXBsZUtleTAwMDAwMDAwMDAwMDBhIn0=";
    let read = |kind: &str, token: &str| {
        text::decode(
            format!(r#"{{"event":{{"payloadData":{{"type":"{kind}","revokedToken":"{token}"}}}}}}"#).as_bytes(),
        )
    };
    for token in [client, client.trim_end_matches('=')] {
        let Ok(Event::Subject(event)) = read(event_type::SUBJECT, token) else { panic!("a rule") };
        assert_eq!((event.entity_type, &*event.entity_id), (EntityType::Client, CONSUMER));
        assert_eq!(event.revocation_time_ms, Some(1_767_225_600_000));
    }
    assert_eq!(read(event_type::APP, "").unwrap_err().reason(), "no_token");
    // Not base64; base64 of `x`, of `[]`, of `{}`; a subject's rule under an application's type.
    for token in ["*", "eA==", "W10=", "e30=", client] {
        assert_eq!(read(event_type::APP, token).unwrap_err().reason(), "malformed_rule", "{token}");
    }
    // {"entityType":"ROLE","entityId":"x"}
    let role = "eyJlbnRpdHlUeXBlIjoiUk9MRSIsImVudGl0eUlkIjoieCJ9";
    assert_eq!(read(event_type::SUBJECT, role).unwrap_err().reason(), "malformed_rule");
}

#[test]
fn malformed_messages_are_told_apart() {
    for (name, content_type, body) in MALFORMED {
        let reason = match *content_type {
            "amqp/map" => map::decode(&bytes(body))
                .map_err(Malformed::from)
                .and_then(|map| Payload::from_map(&map).into_event())
                .unwrap_err(),
            _ => text::decode(body.as_bytes()).unwrap_err(),
        };
        let expected = match *name {
            "X1" | "X5" => Malformed::Map(MapError::Truncated),
            "X3" => Malformed::Map(MapError::Type(0xff)),
            "X6" => Malformed::NoToken,
            _ => {
                assert_eq!((*name, reason.reason()), ("X8", "malformed_json"));
                continue;
            }
        };
        assert_eq!(reason, expected, "{name}");
    }
}

#[test]
fn a_map_cannot_claim_what_is_not_there() {
    for (hex, error) in [
        ("", MapError::Truncated),
        ("000000", MapError::Truncated),
        ("00000000", MapError::Null),
        ("ffffffff00000000", MapError::Truncated),
        ("00000004ffffffff", MapError::Count),
        ("000000060000000200f0", MapError::Count),
        ("00000007000000010161ff", MapError::Type(0xff)),
        ("000000070000000101fff0", MapError::Utf8),
        // A list of 2^31 - 1 items, and a byte[] of as many.
        ("0000000f0000000100a9000000047fffffff", MapError::Truncated),
        ("0000000e0000000100a9000000047fffffff", MapError::Count),
        ("0000000a0000000100a07fffffff", MapError::Truncated),
    ] {
        assert_eq!(map::decode(&bytes(hex)), Err(error), "{hex}");
    }
    for (hex, error) in [
        ("", MapError::Truncated),
        ("ffffffff", MapError::Count),
        ("7fffffff", MapError::Count),
        ("00000001000b0c", MapError::Truncated),
        ("0000000100037fffffff", MapError::Truncated),
        ("000000010003fffffffe", MapError::Truncated),
        ("0000000100ff", MapError::Type(0xff)),
        ("00000001ff000b", MapError::Utf8),
    ] {
        let got = legacy_map::decode(&bytes(hex));
        if hex == "00000001000b0c" {
            assert!(got.is_ok(), "bytes after the last entry do not matter");
        } else {
            assert_eq!(got, Err(error), "{hex}");
        }
    }
    assert_eq!(legacy_map::decode(&bytes("000000010003ffffffff")).unwrap().get(""), Some(&Value::Null));

    let nest = |depth| (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]));
    let message = |depth| map::encode(&Map(vec![("a".into(), nest(depth))])).unwrap();
    assert!(map::decode(&message(MAX_DEPTH)).is_ok());
    assert_eq!(map::decode(&message(MAX_DEPTH + 1)), Err(MapError::TooDeep));
    let wide = |width| map::encode(&Map(vec![(String::new(), Value::List(vec![Value::Null; width]))])).unwrap();
    assert!(map::decode(&wide(MAX_VALUES - 1)).is_ok());
    assert_eq!(map::decode(&wide(MAX_VALUES)), Err(MapError::TooMany));
}

#[test]
fn other_encodings_of_text_are_read_and_what_cannot_be_written_is_refused() {
    // Upstream Qpid's u16 form, and the u8 form.
    for hex in ["0000000a00000001016195000178", "000000090000000101618501 78"] {
        let map = map::decode(&bytes(&hex.replace(' ', ""))).unwrap();
        assert_eq!(map.get("a").and_then(Value::text).as_deref(), Some("x"));
    }
    let entry = |key: &str, value| Map(vec![(key.to_owned(), value)]);
    assert_eq!(map::encode(&entry(&"k".repeat(256), Value::Null)), Err(Unencodable::Length));
    assert_eq!(map::encode(&entry("k", Value::Char(7))), Err(Unencodable::Type));
    assert_eq!(legacy_map::encode(&entry("k\0", Value::Null)), Err(Unencodable::Nul));
    assert_eq!(legacy_map::encode(&entry("k", Value::Text("\0".into()))), Err(Unencodable::Nul));
    assert_eq!(legacy_map::encode(&entry("k", Value::Uuid([0; 16]))), Err(Unencodable::Type));
}

#[test]
fn notify_calls_are_read() {
    let Event::Token(first) = expected("T1").unwrap() else { panic!("a token") };
    let first = TokenEvent { ttl: None, ..first };
    let member = |id: &str, key: &str| TokenEvent {
        event_id: Some(id.to_owned()),
        revoked_token: key.to_owned(),
        ..first.clone()
    };
    for (name, body) in NOTIFY {
        let event = match *name {
            "N-1" => Event::Token(first.clone()),
            "N-4" => Event::Token(TokenEvent { token_type: None, ..first.clone() }),
            "N-5" => Event::Token(TokenEvent { tenant_id: None, ..first.clone() }),
            "N-6" => Event::Token(TokenEvent { expiry_time: Some(i64::MAX), ..first.clone() }),
            "N-16" => Event::Token(TokenEvent { expiry_time: Some(1_767_225_600_000), ..first.clone() }),
            "N-9" => app("e3", Some("carbon.super")),
            "N-10" => subject(Some("carbon.super")),
            "N-11" => Event::Batch(BatchEvent {
                event_id: Some("e6".to_owned()),
                tenant_id: Some(SUPER_TENANT),
                consumer_key: Some(CONSUMER.to_owned()),
                events: vec![member("e6a", "b1"), member("e6b", "b2")],
                unnamed: 0,
            }),
            other => panic!("{other}"),
        };
        same(notify::decode(body.as_bytes()), &event, name);
        // What goes out to gateways.
        let told = match *name {
            "N-1" | "N-5" => Some("T1"),
            "N-9" => Some("T5"),
            "N-10" => Some("T6"),
            "N-11" => Some("T7"),
            _ => None,
        };
        if let Some(told) = told {
            assert_eq!(text::encode(&event), vector(told), "{name}");
        }
    }
}

#[test]
fn notify_calls_of_odd_senders_are_read() {
    let read = |body: &str| notify::decode(body.as_bytes());
    let plain = Event::Token(TokenEvent { revoked_token: "k=".into(), ..Default::default() });
    // Without a type; escaped as Gson does; words of other types in the text.
    same(read(r#"{"accessToken":"k\u003d"}"#), &plain, "no type");
    same(
        read(r#"{"user":"token_revocation_batch","accessToken":"k=","type":"token_revocation","properties":{"a":[]}}"#),
        &plain,
        "words",
    );
    let latin1 = b"{\"accessToken\":\"k=\",\"user\":\"Bj\xf6rn\"}";
    same(notify::decode(latin1), &plain, "latin-1");
    let Ok(Event::Token(event)) = notify::decode(b"{\"accessToken\":\"\xe9\"}") else { panic!("a token") };
    assert_eq!(event.revoked_token, "é");
    let Ok(Event::Token(event)) = notify::decode("{\"accessToken\":\"é\"}".as_bytes()) else { panic!("a token") };
    assert_eq!(event.revoked_token, "é");
    for (body, reason) in [
        ("not JSON", "malformed_json"),
        ("", "malformed_json"),
        ("[]", "malformed_json"),
        ("{}", "no_token"),
        (r#"{"type":"token_revocation","accessToken":null}"#, "no_token"),
        (r#"{"type":"something_new","accessToken":"k"}"#, "unknown_type"),
        (r#"{"type":"consumer_app_revocation_event"}"#, "malformed_rule"),
        (r#"{"type":"subject_entity_revocation_event","entityId":"x"}"#, "malformed_rule"),
    ] {
        assert_eq!(read(body).unwrap_err().reason(), reason, "{body}");
    }
    let batch = r#"{"type":"token_revocation_batch","tokenRevocationEventList":[{"accessToken":"a"},null,{}]}"#;
    let Ok(Event::Batch(event)) = read(batch) else { panic!("a batch") };
    assert_eq!((event.events.len(), event.unnamed), (1, 2));
    assert!(Event::Batch(event).wants_snapshot());
}

#[test]
fn snapshots_are_read_in_both_shapes_and_spellings() {
    let mixed =
        br#"[{"jwt_signature":"k","expiry_time":4102444800},{"jwtSignature":"m","expiryTime":4102444800000,"x":{}}]"#;
    let snapshot = snapshot::decode(mixed).unwrap();
    let listed: Vec<_> = snapshot.tokens.iter().map(|token| (&*token.key, token.expiry_time)).collect();
    assert_eq!(listed, [("k", Some(MS / 1000)), ("m", Some(MS))]);
    for revocation in translate::snapshot(snapshot, Default::default()) {
        assert_eq!(revocation.lifetime, crate::intake::Lifetime::Until(MS / 1000));
    }

    let snapshot = snapshot::decode(OBJECT.as_bytes()).unwrap();
    assert_eq!((snapshot.tokens.len(), snapshot.subjects.len(), snapshot.apps.len(), snapshot.unnamed), (1, 1, 1, 0));
    assert_eq!(snapshot.subjects[0].entity_id, ENTITY);
    assert_eq!(snapshot.apps[0].organization.as_deref(), Some("carbon.super"));
    assert_eq!(translate::snapshot(snapshot, Default::default()).len(), 3);

    for empty in ["[]", r#"{"revokedJWTList":[],"revokedJWTSubjectEntityList":null}"#] {
        assert_eq!(snapshot::decode(empty.as_bytes()), Ok(snapshot::Snapshot::default()));
    }
    let odd = r#"{"revokedJWTList":[{"expiry_time":1},{"jwt_signature":null}],"revokedJWTSubjectEntityList":[{"entity_id":"r","entity_type":"ROLE"}],"revokedJWTConsumerKeyList":[{}]}"#;
    assert_eq!(snapshot::decode(odd.as_bytes()).unwrap().unnamed, 4);
}

#[test]
fn what_is_no_snapshot_is_an_error_and_never_an_empty_list() {
    for bad in [
        "",
        "<html><body>503</body></html>",
        "null",
        "{}",
        r#"{"code":401,"message":"Unauthenticated"}"#,
        r#"{"revokedJWTList":null}"#,
        r#"{"revokedJWTList":{}}"#,
        r#"["k"]"#,
        r#"[["k",1]]"#,
        "[null]",
        "[]]",
    ] {
        assert!(snapshot::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    for whole in [OBJECT, r#"[{"jwt_signature":"k","expiry_time":4102444800}]"#] {
        for end in 0..whole.len() {
            assert!(snapshot::decode(&whole.as_bytes()[..end]).is_err(), "{end}");
        }
    }
}
