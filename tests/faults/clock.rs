//! Clocks that are wrong. The database's clock decides what is over and when something was revoked, so that all hubs agree.

use revocation_hub::clock::Clock;
use serde_json::json;

use crate::harness::*;
use crate::tally::{Trial, trials};

/// One is two hours ahead and one is two hours behind.
async fn hubs_whose_clocks_are_wrong_follow_the_database(place: &Place) {
    for number in 0..trials() {
        let trial = Trial::of("clocks of two hubs are two hours off");
        trial.passed(wrong_clocks(place, number).await);
    }
}

async fn wrong_clocks(place: &Place, number: usize) -> usize {
    let right = async || place.number("select extract(epoch from clock_timestamp())::bigint").await;
    // Enough to be read page by page. By the clock of one hub they are all over.
    let early = TestHub::start(place.config(), Clock::system()).await;
    let exp = right().await + 3600;
    let lines: Vec<_> = (0..5000).map(|i| json!({"jti": format!("early-{number}-{i}"), "exp": exp})).collect();
    early.post_lines(&lines).await.expect(200);
    early.stop().await;
    let mut hubs = Vec::new();
    for hours in [2, -2] {
        hubs.push(TestHub::start(place.config(), Clock::wrong_by(hours * 3_600_000)).await);
    }
    for (i, hub) in hubs.iter().enumerate() {
        assert!(hub.snapshot().await.map.len() >= 5000);
        let exp = right().await + 3600;
        let began = right().await;
        // By the first one's clock it would be over already; by the second one's it would live for three hours.
        let id = hub.revoke(&json!({"jti": format!("t{number}-{i}"), "exp": exp})).await;
        let sub = hub.revoke(&json!({"sub": format!("s{number}-{i}"), "ttl": 3600})).await;
        let ended = right().await;
        let map = hub.snapshot().await.map;
        assert_eq!(map[&id]["exp"], exp);
        let at = map[&sub]["revoked_at"].as_i64().unwrap();
        // Seconds are rounded, on both sides.
        assert!((began - 1..=ended + 1).contains(&at), "{began} {at} {ended}");
        let rule = map[&sub]["issued_before"].as_i64().unwrap();
        assert!((began..=ended + 2).contains(&rule));
        let offset = hub.metric("clock_offset_seconds", "").await;
        assert!((offset.abs() - 7_200.0).abs() < 60.0 && (offset < 0.0) == (i == 0), "{offset}");
    }
    let both = until("both hold the same", async || {
        let one = hubs[0].snapshot().await;
        (one == hubs[1].snapshot().await).then_some(one)
    })
    .await;
    assert_eq!(both.map.len(), (number + 1) * 5004, "everything acknowledged");
    for hub in hubs {
        hub.stop().await;
    }
    5004
}

on_postgres!(hubs_whose_clocks_are_wrong_follow_the_database);
