//! What must hold for any bytes, and for anything that can be written.

use proptest::prelude::*;

use super::tests::same;
use super::value::{Map, Value};
use super::vectors::{MAPS, NOTIFY, OBJECT, TEXTS, bytes};
use super::*;
use payload::Payload;

/// Every decoder; none may panic.
fn decode_all(body: &[u8]) {
    if let Ok(map) = map::decode(body) {
        let _ = Payload::from_map(&map).into_event();
    }
    if let Ok(map) = legacy_map::decode(body) {
        let _ = Payload::from_map(&map).into_event();
    }
    for event in [text::decode(body), notify::decode(body)].into_iter().flatten() {
        let _ = translate::event(event, Default::default());
    }
    if let Ok(list) = snapshot::decode(body) {
        let _ = translate::snapshot(list, Default::default());
    }
}

fn seeds() -> Vec<Vec<u8>> {
    let maps = MAPS.iter().flat_map(|(_, a, b)| [bytes(a), bytes(b)]);
    let texts = TEXTS.iter().chain(NOTIFY).map(|(_, body)| body.as_bytes().to_vec());
    maps.chain(texts).chain([OBJECT.as_bytes().to_vec()]).collect()
}

fn scalar_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i8>().prop_map(Value::I8),
        any::<i16>().prop_map(Value::I16),
        any::<i32>().prop_map(Value::I32),
        any::<i64>().prop_map(Value::I64),
        proptest::num::f32::NORMAL.prop_map(Value::F32),
        proptest::num::f64::NORMAL.prop_map(Value::F64),
        "[^\0]{0,12}".prop_map(Value::Text),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::Bytes),
    ]
}

fn a_map(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map> {
    proptest::collection::vec(("[^\0]{0,8}", value), 0..6).prop_map(Map)
}

fn amqp_value() -> impl Strategy<Value = Value> {
    prop_oneof![8 => scalar_value(), 1 => any::<[u8; 16]>().prop_map(Value::Uuid)].prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
            a_map(inner).prop_map(Value::Map)
        ]
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let id = || proptest::option::of("[a-z0-9-]{1,8}");
    let head = || (id(), any::<i32>().prop_map(Some));
    prop_oneof![
        (head(), ".{1,12}", ".{0,4}", any::<i64>(), proptest::option::of("JWT|Default|API_KEY|x")).prop_map(
            |((event_id, tenant_id), revoked_token, ttl, expiry, token_type)| {
                let (ttl, expiry_time) = (Some(ttl), Some(expiry));
                Event::Token(TokenEvent { event_id, revoked_token, ttl, expiry_time, token_type, tenant_id })
            }
        ),
        (head(), ".{1,12}", proptest::option::of(any::<i64>())).prop_map(
            |((event_id, tenant_id), consumer_key, revocation_time_ms)| Event::App(AppEvent {
                event_id,
                tenant_id,
                consumer_key,
                revocation_time_ms,
                organization: None
            })
        ),
        (head(), ".{1,12}", any::<bool>(), proptest::option::of(any::<i64>())).prop_map(
            |((event_id, tenant_id), entity_id, user, revocation_time_ms)| Event::Subject(SubjectEvent {
                event_id,
                tenant_id,
                entity_id,
                entity_type: if user { EntityType::User } else { EntityType::Client },
                revocation_time_ms,
                organization: None
            })
        ),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..400)) {
        decode_all(&body);
    }

    #[test]
    fn no_damage_makes_a_decoder_panic(
        seed in proptest::sample::select(seeds()),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        end in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let mut body = seed;
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(end) = end {
            body.truncate(end.index(body.len()));
        }
        decode_all(&body);
    }

    #[test]
    fn maps_survive_their_encodings(any in a_map(amqp_value()), flat in a_map(prop_oneof![
        8 => scalar_value(), 1 => any::<u16>().prop_map(Value::Char)
    ])) {
        prop_assert!(map::decode(&map::encode(&any).unwrap()).unwrap() == any);
        prop_assert!(legacy_map::decode(&legacy_map::encode(&flat).unwrap()).unwrap() == flat);
    }

    #[test]
    fn events_survive_every_form(event in any_event()) {
        same(text::decode(text::encode(&event).as_bytes()), &event, "text");
        let map = Payload::of(&event).to_map();
        same(Payload::from_map(&map::decode(&map::encode(&map).unwrap()).unwrap()).into_event(), &event, "map");
        if let Ok(body) = legacy_map::encode(&map) {
            same(Payload::from_map(&legacy_map::decode(&body).unwrap()).into_event(), &event, "legacy map");
        }
    }
}
