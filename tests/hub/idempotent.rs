//! Idempotent: the same revocation again changes nothing on the wire, wherever it comes from.

use revocation_hub::cli::promise::{Seen, Start};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::*;

async fn the_same_again_is_no_event_and_no_position(place: &Place) {
    let hub = place.hub().await;
    let exp = NOW + 3600;
    let originals = [
        token_until("a", exp),
        json!({"sid": "s", "iss": "https://sts.example", "exp": exp}),
        json!({"sub": "u", "issued_before": NOW, "exp": exp}),
        json!({"client_id": "c", "issued_before": NOW, "exp": exp}),
        json!({"kid": "k", "exp": exp}),
        json!({"iss": "https://other.example", "issued_before": NOW, "exp": exp}),
        json!({"sha256": "ab".repeat(32), "exp": exp}),
        json!({"token": "an-opaque-token", "exp": exp}),
    ];
    let mut ids = Vec::new();
    for original in &originals {
        ids.push(hub.revoke(original).await);
    }
    let before = hub.snapshot().await;
    assert_eq!(before.cursor.seq, originals.len() as u64);
    let mut stream = hub.stream(Start::Now).await;
    let other = if place.is_postgres() { Some(place.hub().await) } else { None };
    let hubs: Vec<&Api> = std::iter::once(&*hub).chain(other.as_deref()).collect();

    for api in &hubs {
        // One by one: the same id, the same cursor, and it says that nothing has changed.
        for (original, id) in originals.iter().zip(&ids) {
            let answer = api.post(original).await.expect(200).json();
            assert_eq!(answer, json!({"id": id, "cursor": before.cursor.to_string(), "status": "unchanged"}));
        }
        // Twice in one array, and as lines.
        let twice: Vec<Value> = originals.iter().chain(&originals).cloned().collect();
        for answer in [api.post(&Value::Array(twice.clone())).await, api.post_lines(&twice).await] {
            let (n, cursor) = (twice.len(), before.cursor.to_string());
            assert_eq!(
                answer.expect(200).json(),
                json!({"revoked": 0, "unchanged": n, "expired": 0, "cursor": cursor})
            );
        }
        // Narrower than what is there says nothing new either.
        let narrower = json!([
            token_until("a", exp - 100),
            {"sub": "u", "issued_before": NOW - 100, "exp": exp},
            {"client_id": "c", "issued_before": NOW, "exp": exp - 1},
        ]);
        assert_eq!(api.post(&narrower).await.expect(200).json()["unchanged"], 3);
    }
    // All at once, from everywhere.
    let mut posting = JoinSet::new();
    for i in 0..60 {
        let (api, original) = (hubs[i % hubs.len()].clone(), originals[i % originals.len()].clone());
        posting.spawn(async move { api.post(&original).await.expect(200).json()["status"].clone() });
    }
    assert!(posting.join_all().await.iter().all(|status| status == "unchanged"));

    // The very next position and the very next event are those of something new.
    let marker = hub.revoke(&token("marker")).await;
    let (seen, at) = next_change(&mut stream).await;
    assert!(matches!(&seen, Seen::Revoked(value) if value["id"] == *marker), "{seen:?}");
    assert_eq!(at.seq, before.cursor.seq + 1);
    for api in hubs {
        let mut now = api.since(&at).await.unwrap();
        assert_eq!((now.cursor.seq, now.revoked.len(), now.lifted.len()), (at.seq, 0, 0));
        now.revoked = api.snapshot().await.map;
        now.revoked.remove(&marker);
        assert_eq!(now.revoked, before.map);
    }
}

/// A webhook that is retried, a message that is delivered again, a list that is pulled again: a `ttl`, or nothing, is said of
/// the token, and its end does not move because it is said later.
async fn the_same_later_without_an_expiry_of_its_own_is_no_event(place: &Place) {
    let hub = place.hub().await;
    let originals = [json!({"jti": "a"}), json!({"jti": "b", "ttl": 600}), json!({"token": "an-opaque-token"})];
    for original in &originals {
        hub.revoke(original).await;
    }
    let before = hub.snapshot().await;
    hub.clock.advance(30);
    for original in &originals {
        assert_eq!(hub.post(original).await.expect(200).json()["status"], "unchanged", "{original}");
    }
    assert_eq!(hub.snapshot().await.cursor, before.cursor);
    // A longer span says that the token lives longer.
    assert_eq!(hub.post(&json!({"jti": "b", "ttl": 601})).await.expect(201).json()["status"], "revoked");
}

/// The next event that is a change.
async fn next_change(stream: &mut Stream) -> (Seen, revocation_hub::revocation::Cursor) {
    let change = |seen: &Seen, at: &revocation_hub::revocation::Cursor| {
        matches!(seen, Seen::Revoked(_) | Seen::Lifted(_)).then(|| (seen.clone(), at.clone()))
    };
    stream.until("a change", change).await
}

async fn the_same_for_the_first_time_from_everywhere_at_once_is_one_event(place: &Place) {
    let hub = place.hub().await;
    let other = if place.is_postgres() { Some(place.hub().await) } else { None };
    let hubs: Vec<&Api> = std::iter::once(&*hub).chain(other.as_deref()).collect();
    let mut stream = hub.stream(Start::Now).await;
    for round in 1..=10 {
        let jti = format!("round {round}");
        let mut posting = JoinSet::new();
        for i in 0..16 {
            let api = hubs[i % hubs.len()].clone();
            let body = token_until(&jti, NOW + 3600);
            // Half of them wrap it into an array.
            let body = if i % 4 < 2 { body } else { json!([body]) };
            posting.spawn(async move {
                let answer = api.post(&body).await;
                assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
                usize::from(answer.status == 201 || answer.json()["revoked"] == 1)
            });
        }
        assert_eq!(posting.join_all().await.iter().sum::<usize>(), 1, "only one of them made it");
        let (seen, at) = next_change(&mut stream).await;
        assert!(matches!(&seen, Seen::Revoked(value) if value["jti"].as_str() == Some(&jti)), "{seen:?}");
        assert_eq!(at.seq, round);
    }
}

async fn a_lift_again_is_no_event(place: &Place) {
    let hub = place.hub().await;
    let id = hub.revoke(&token("a")).await;
    let mut stream = hub.stream(Start::Now).await;
    assert_eq!(hub.lift(&id).await.seq, 2);
    for _ in 0..3 {
        assert_eq!(hub.delete(&format!("/v1/revocations/{id}")).await.expect(404).code(), "not_found");
    }
    hub.revoke(&token("marker")).await;
    assert!(matches!(next_change(&mut stream).await, (Seen::Lifted(value), _) if value["id"] == *id));
    let (seen, at) = next_change(&mut stream).await;
    assert!(matches!(&seen, Seen::Revoked(value) if value["jti"] == "marker"), "{seen:?}");
    assert_eq!(at.seq, 3);
}

async fn the_same_after_a_restart_is_no_event(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token_until("a", NOW + 3600)).await;
    let before = hub.snapshot().await;
    hub.stop().await;
    let hub = place.hub().await;
    let answer = hub.post(&token_until("a", NOW + 3600)).await.expect(200).json();
    assert_eq!((&answer["status"], cursor(&answer["cursor"])), (&json!("unchanged"), before.cursor.clone()));
    assert_eq!(hub.snapshot().await, before);
}

both_stores!(
    the_same_again_is_no_event_and_no_position,
    the_same_for_the_first_time_from_everywhere_at_once_is_one_event,
    a_lift_again_is_no_event,
    the_same_after_a_restart_is_no_event,
    the_same_later_without_an_expiry_of_its_own_is_no_event,
);
