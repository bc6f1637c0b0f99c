//! Metrics that alerts stand on.

use std::time::Duration;

use revocation_hub::cli::promise::Start;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Config, Source};
use serde_json::json;

use crate::harness::*;

/// The way of a revocation is measured in its two halves: to the commit, and from there to a stream's socket.
async fn the_way_of_a_revocation_is_measured(place: &Place) {
    let hub = place.hub().await;
    let count = async |name: &str| hub.metric(&format!("{name}_count"), "").await;
    hub.revoke(&json!({"jti": "before"})).await;
    let mut stream = hub.stream(Start::Earliest).await;
    let mut map = Map::new();
    let cursor = hub.snapshot().await.cursor;
    stream.follow(&mut map, cursor.seq).await;
    assert_eq!(count("received_to_committed_seconds").await, 1.0);
    assert_eq!(count("committed_to_written_seconds").await, 0.0, "a replay is not live");
    until("bookmarks go out", async || (hub.metric("bookmarks_total", "").await >= 2.0).then_some(())).await;
    for n in 0..3 {
        hub.revoke(&json!({"jti": format!("live{n}")})).await;
        let cursor = hub.snapshot().await.cursor;
        stream.follow(&mut map, cursor.seq).await;
    }
    assert_eq!(count("received_to_committed_seconds").await, 4.0);
    until("three were written", async || (count("committed_to_written_seconds").await == 3.0).then_some(())).await;
    hub.stop().await;
}

/// Without a stream there is nobody to get a bookmark, and while the store is away nobody gets one.
async fn bookmarks_count_only_when_they_go_out(place: &Place) {
    let hub = place.hub().await;
    let ticks = async || hub.metric("feed_wakeups_total", "reason=\"bookmark\"").await;
    until("the feed ticks", async || (ticks().await >= 3.0).then_some(())).await;
    assert_eq!(hub.metric("bookmarks_total", "").await, 0.0);
    let _stream = hub.stream(Start::Earliest).await;
    until("one goes out", async || (hub.metric("bookmarks_total", "").await >= 1.0).then_some(())).await;
    place.sql("alter table log rename to gone").await;
    until("the store is away", async || (hub.metric("feed_failures_total", "").await >= 2.0).then_some(())).await;
    let (before, at) = (hub.metric("bookmarks_total", "").await, ticks().await);
    until("the feed ticks on", async || (ticks().await >= at + 5.0).then_some(())).await;
    assert_eq!(hub.metric("bookmarks_total", "").await, before);
    place.sql("alter table gone rename to log").await;
    until("they go out again", async || (hub.metric("bookmarks_total", "").await > before).then_some(())).await;
    hub.stop().await;
}

/// What never succeeds has a time to be measured from, and limits stand beside what they limit.
async fn silence_counts_from_the_start(place: &Place) {
    let source: Source = serde_json::from_value(json!({"name": "notify", "kind": "wso2_notify"})).unwrap();
    let mut config = Config { sources: vec![source], ..place.config() };
    config.store.prune_interval = Duration::from_secs(3600);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    for name in ["link_last_success_timestamp_seconds", "prune_last_success_timestamp_seconds"] {
        assert_eq!(hub.metric(name, "").await, NOW as f64, "{name}");
    }
    assert_eq!(
        hub.get("/v1/sources").await.json()["sources"][0].get("last_success"),
        None,
        "people are told the truth"
    );
    assert_eq!(hub.metric("feed_max_lag_seconds", "").await, 10.0);
    assert_eq!(hub.metric("clock_offset_limit_seconds", "").await, 2.0);
    let age = hub.metric("feed_age_seconds", "").await;
    assert!((0.0..10.0).contains(&age), "{age}");
    hub.stop().await;
}

on_sqlite!(the_way_of_a_revocation_is_measured, bookmarks_count_only_when_they_go_out, silence_counts_from_the_start);
