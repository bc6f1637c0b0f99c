//! The contract of parking and of positions.

use std::collections::BTreeSet;
use std::time::Duration;

use revocation_hub::revocation::{Cursor, Epoch};
use revocation_hub::store::Store;
use revocation_hub::store::parking::Parked;

use crate::place::Place;

const MINUTE: Duration = Duration::from_secs(60);

fn message(source: &str, body: &[u8]) -> Parked {
    Parked {
        source: source.into(),
        reason: "unreadable".into(),
        detail: "byte 3: nothing known".into(),
        content_type: Some("text/plain".into()),
        body: body.to_vec(),
        received_at: 1_800_000_000,
    }
}

async fn numbers(store: &dyn Store) -> Vec<u64> {
    store.parked(0, 1000).await.unwrap().into_iter().map(|m| m.number).collect()
}

/// The bodies that are kept, in the order of their numbers.
async fn bodies(store: &dyn Store) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for number in numbers(store).await {
        bodies.push(store.parked_one(number).await.unwrap().unwrap().message.body);
    }
    bodies
}

pub async fn the_same_message_is_parked_once(place: &Place) {
    let store = place.open().await;
    let (a, b) = (message("s", b"a"), message("s", b"b"));
    assert_eq!(store.park(&[a.clone(), b.clone(), a.clone()], 10).await.unwrap(), 0);
    let before = store.parked(0, 10).await.unwrap();
    assert_eq!(before.len(), 2);
    // A redelivery: another time, and perhaps another complaint of a newer version.
    let again = Parked { reason: "other".into(), detail: "other".into(), content_type: None, received_at: 7, ..a };
    let new = message("s", b"c");
    assert_eq!(store.park(&[again, new, b], 10).await.unwrap(), 0);
    let after = store.parked(0, 10).await.unwrap();
    assert_eq!(after[..2], before);
    assert_eq!(bodies(&*store).await, [b"a", b"b", b"c"]);
    // The source is part of it, and not just glued to the body.
    store.park(&[message("sa", b""), message("t", b"a"), message("", b"sa"), message("s", b"a")], 10).await.unwrap();
    assert_eq!(store.parked_count().await.unwrap(), 6);
    assert_eq!(store.park(&[], 10).await.unwrap(), 0);
}

pub async fn the_oldest_go_beyond_the_limit(place: &Place) {
    let store = place.open().await;
    let some: Vec<Parked> = (0..5u8).map(|i| message("s", &[i])).collect();
    assert_eq!(store.park(&some, 3).await.unwrap(), 2);
    assert_eq!(bodies(&*store).await, [[2], [3], [4]]);
    let kept = numbers(&*store).await;
    // One that was there changes nothing; one that had to go comes back at the end, under a number of its own.
    assert_eq!(store.park(&some[2..3], 3).await.unwrap(), 0);
    assert_eq!(store.park(&some[..1], 3).await.unwrap(), 1);
    assert_eq!(bodies(&*store).await, [[3], [4], [0]]);
    let now = numbers(&*store).await;
    assert_eq!(now[..2], kept[1..]);
    assert!(now[2] > kept[2]);
    // A number is never used twice.
    assert!(store.unpark(now[2]).await.unwrap());
    store.park(&[message("s", b"new")], 3).await.unwrap();
    assert!(*numbers(&*store).await.last().unwrap() > now[2]);
    assert_eq!(store.park(&[], 1).await.unwrap(), 2);
    assert_eq!(bodies(&*store).await, [b"new"]);
}

pub async fn parked_messages_come_in_pages_in_the_order_of_their_numbers(place: &Place) {
    let store = place.open().await;
    assert_eq!(store.parked(0, 10).await.unwrap(), []);
    let some: Vec<Parked> = (0..7u8).map(|i| message("s", &vec![i; usize::from(i)])).collect();
    store.park(&some, 100).await.unwrap();
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = store.parked(after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = last.number;
        seen.extend(page);
    }
    assert!(seen.windows(2).all(|pair| pair[0].number < pair[1].number));
    for (head, sent) in seen.iter().zip(&some) {
        assert_eq!((&head.source, &head.reason, &head.detail), (&sent.source, &sent.reason, &sent.detail));
        assert_eq!((&head.content_type, head.received_at), (&sent.content_type, sent.received_at));
        assert_eq!(head.bytes, sent.body.len() as u64);
        let one = store.parked_one(head.number).await.unwrap().unwrap();
        assert_eq!((one.number, &one.message), (head.number, sent));
    }
    assert_eq!(seen.len(), 7);
    for nobody in [0, seen[6].number + 1, u64::MAX] {
        assert_eq!(store.parked_one(nobody).await.unwrap(), None);
        assert!(!store.unpark(nobody).await.unwrap());
    }
    assert_eq!(store.parked(u64::MAX, usize::MAX).await.unwrap(), []);
    assert!(store.unpark(seen[3].number).await.unwrap());
    assert!(!store.unpark(seen[3].number).await.unwrap());
    assert_eq!(store.parked_one(seen[3].number).await.unwrap(), None);
    assert_eq!(store.parked_count().await.unwrap(), 6);
}

pub async fn bodies_come_back_byte_for_byte(place: &Place) {
    let store = place.open().await;
    let every: Vec<u8> = (0..=255).collect();
    let long: Vec<u8> = (0..3_000_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent: [&[u8]; 6] = [b"", b"\0", b"a\0b", b"\xff\xfe\xc3\x28", &every, &long];
    let messages: Vec<Parked> = sent.iter().map(|body| message("s", body)).collect();
    store.park(&messages, 100).await.unwrap();
    assert!(bodies(&*store).await == sent);
    assert_eq!(store.park(&messages, 100).await.unwrap(), 0);
    assert_eq!(store.parked_count().await.unwrap(), 6);
}

pub async fn no_text_of_a_foreign_message_can_prevent_its_parking(place: &Place) {
    let store = place.open().await;
    let long = "ä".repeat(100_000);
    let hostile = ["a\0b", "\u{1b}[2J\r\n\u{85}\u{7f}", "'; drop table parked; --", "\u{feff}🔑", "", &long];
    for (i, text) in (0u8..).zip(hostile) {
        let text = text.to_owned();
        let content_type = Some(text.clone());
        let parked = Parked { reason: text.clone(), detail: text, content_type, ..message("s", &[i]) };
        store.park(&[parked], 100).await.unwrap();
    }
    let kept = store.parked(0, 100).await.unwrap();
    assert_eq!(kept.len(), hostile.len());
    let shown: Vec<&str> = kept.iter().map(|m| m.content_type.as_deref().unwrap()).collect();
    let short = "ä".repeat(500);
    let expected = ["a\u{fffd}b", "\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}", hostile[2], hostile[3], "", &short];
    assert_eq!(shown, expected);
    assert!(kept.iter().all(|m| Some(&m.detail) == m.content_type.as_ref() && m.reason == m.detail));
    let none = Parked { content_type: None, ..message("s", b"none") };
    store.park(std::slice::from_ref(&none), 100).await.unwrap();
    let last = *numbers(&*store).await.last().unwrap();
    assert_eq!(store.parked_one(last).await.unwrap().unwrap().message, none);
}

/// Ends every lease now, as if its time had passed.
async fn end_leases(place: &Place) {
    let hour = if place.url.starts_with("sqlite") { "3600" } else { "interval '1 hour'" };
    place.sql(&format!("update outlet set until = until - {hour}")).await;
}

fn cursor(epoch: &Epoch, seq: u64) -> Cursor {
    Cursor { epoch: epoch.clone(), seq }
}

pub async fn one_holder_at_a_time(place: &Place) {
    let store = place.open().await;
    let all: Vec<_> = (0..12)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("holder-{i}");
                (store.hold("out", &name, MINUTE).await.unwrap(), name)
            })
        })
        .collect();
    let mut winners = Vec::new();
    for task in all {
        let (held, name) = task.await.unwrap();
        if let Some(held) = held {
            assert_eq!(held.cursor, None);
            winners.push(name);
        }
    }
    let [winner] = &winners[..] else { panic!("{winners:?}") };
    // It keeps what it has, and others do not get it by asking to give it up.
    assert!(store.hold("out", winner, MINUTE).await.unwrap().is_some());
    store.release("out", "somebody").await.unwrap();
    assert_eq!(store.hold("out", "somebody", MINUTE).await.unwrap(), None);
    store.release("out", winner).await.unwrap();
    store.release("out", winner).await.unwrap();
    assert!(store.hold("out", "somebody", MINUTE).await.unwrap().is_some());
    assert_eq!(store.hold("out", winner, MINUTE).await.unwrap(), None);
}

pub async fn a_former_holder_moves_nothing(place: &Place) {
    let store = place.open().await;
    let epoch = Epoch::random();
    assert!(!store.advance("out", "a", &cursor(&epoch, 1)).await.unwrap(), "nobody has it");
    store.hold("out", "a", MINUTE).await.unwrap().unwrap();
    assert!(store.advance("out", "a", &cursor(&epoch, 5)).await.unwrap());
    assert!(!store.advance("out", "b", &cursor(&epoch, 9)).await.unwrap());
    assert_eq!(store.hold("out", "a", MINUTE).await.unwrap().unwrap().cursor, Some(cursor(&epoch, 5)));
    store.release("out", "a").await.unwrap();
    assert!(!store.advance("out", "a", &cursor(&epoch, 9)).await.unwrap());
    assert_eq!(store.hold("out", "b", MINUTE).await.unwrap().unwrap().cursor, Some(cursor(&epoch, 5)));
    assert!(!store.advance("out", "a", &cursor(&epoch, 9)).await.unwrap());
    // Another log begins again from below.
    let other = Epoch::random();
    assert!(store.advance("out", "b", &cursor(&other, 2)).await.unwrap());
    assert_eq!(store.hold("out", "b", MINUTE).await.unwrap().unwrap().cursor, Some(cursor(&other, 2)));
}

pub async fn a_lease_ends_by_the_clock_of_the_database(place: &Place) {
    let store = place.open().await;
    let epoch = Epoch::random();
    store.hold("out", "a", MINUTE).await.unwrap().unwrap();
    end_leases(place).await;
    // As long as nobody else came it can go on.
    assert!(store.advance("out", "a", &cursor(&epoch, 3)).await.unwrap());
    assert!(store.hold("out", "a", MINUTE).await.unwrap().is_some());
    assert_eq!(store.hold("out", "b", MINUTE).await.unwrap(), None, "renewed");
    end_leases(place).await;
    assert_eq!(store.hold("out", "b", MINUTE).await.unwrap().unwrap().cursor, Some(cursor(&epoch, 3)));
    assert!(!store.advance("out", "a", &cursor(&epoch, 4)).await.unwrap());
    assert_eq!(store.hold("out", "a", MINUTE).await.unwrap(), None);
    // One that ends at once is over at once.
    assert!(store.hold("out", "b", Duration::ZERO).await.unwrap().is_some());
    crate::place::until("the lease is over", async || store.hold("out", "a", MINUTE).await.unwrap()).await;
}

pub async fn positions_survive_reopening_and_are_kept_by_name(place: &Place) {
    let store = place.open().await;
    let epoch = Epoch::random();
    let names = ["out", "Out", "o'ut; --", "日本"];
    for (seq, name) in (1u64..).zip(names) {
        assert_eq!(store.hold(name, "a", MINUTE).await.unwrap().unwrap().cursor, None);
        assert!(store.advance(name, "a", &cursor(&epoch, seq)).await.unwrap());
    }
    assert!(store.advance("out", "a", &cursor(&epoch, i64::MAX as u64)).await.unwrap());
    store.close().await;
    let store = place.open().await;
    let mut seen = BTreeSet::new();
    for name in names {
        assert_eq!(store.hold(name, "b", MINUTE).await.unwrap(), None, "the lease outlives the process");
        seen.insert(store.hold(name, "a", MINUTE).await.unwrap().unwrap().cursor.unwrap().seq);
    }
    assert_eq!(seen, BTreeSet::from([2, 3, 4, i64::MAX as u64]));
}
