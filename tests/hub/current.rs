//! Current: a client can tell how stale it is. A bookmark carries the head and comes only after a successful read of the
//! store; while the store is away, everything that is said is still true.

use std::time::Duration;

use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use sqlx::{Connection, Executor, SqliteConnection};

use crate::harness::*;

async fn a_bookmark_carries_the_head_and_the_time(place: &Place) {
    let hub = place.hub().await;
    let mut stream = hub.stream(Start::Now).await;
    for seq in 1..=3 {
        hub.revoke(&token(seq)).await;
        stream.until("the event", |seen, _| matches!(seen, Seen::Revoked(_)).then_some(())).await;
        let at = stream.until("a bookmark", |seen, at| match seen {
            Seen::Bookmark { head } => Some((*head, at.seq)),
            _ => None,
        });
        assert_eq!(at.await, (seq, seq));
    }
}

/// Postgres goes away and comes back, twice: once it refuses, once it swallows every byte.
async fn while_postgres_is_away_nothing_claims_to_be_current(place: &Place) {
    let wire = Proxy::new(place).await;
    let mut config = config(&wire.url(place));
    config.feed.max_lag = Duration::from_secs(1);
    config.store.timeout = Duration::from_secs(1);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    // Another replica, which reaches the database all the time.
    let other = TestHub::start(place.config(), hub.clock.clone()).await;
    let mut stream = hub.stream(Start::Now).await;
    let mut map = Map::new();
    let known = hub.revoke(&token("known")).await;
    stream.follow(&mut map, 1).await;

    for how in [Wire::Cut, Wire::Mute] {
        let before = hub.snapshot().await;
        wire.set(how);
        stream.until_bookmarks_stop().await;
        until("the hub says that it is not ready", async || {
            let answer = hub.get("/readyz").await;
            (answer.status == 503 && answer.header("retry-after").is_some()).then_some(())
        })
        .await;
        assert_eq!(hub.get("/livez").await.status, 200, "a restart would not help");
        // Reading goes on from memory.
        assert_eq!(hub.snapshot().await, before);
        assert_eq!(hub.get(&format!("/v1/revocations/{known}")).await.status, 200);
        assert_eq!(hub.get("/v1/check?jti=known&iss=https://sts.example").await.json()["revoked"], true);
        assert!(hub.get("/internal/data/v1/revokedjwt").await.expect(200).text().contains("known"));
        assert!(hub.metric("feed_failures_total", "").await >= 1.0);
        // Writing is refused, and says when to try again.
        let refused = hub.post(&token("refused")).await.expect(503);
        assert_eq!(refused.code(), "store_unavailable");
        assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
        assert_eq!(hub.delete(&format!("/v1/revocations/{known}")).await.status, 503);
        // Meanwhile the log goes on elsewhere.
        let missed = other.revoke(&token(format!("missed by {how:?}"))).await;
        let head = other.snapshot().await.cursor.seq;
        assert_eq!(hub.snapshot().await, before);

        wire.set(Wire::Good);
        // The same stream goes on: what was missed, and only then a bookmark.
        let mut seen_missed = false;
        let bookmark = stream.until("a bookmark", |seen, _| {
            fold(&mut map, seen);
            seen_missed |= matches!(seen, Seen::Revoked(value) if value["id"] == *missed);
            match seen {
                Seen::Bookmark { head } => Some(*head),
                _ => None,
            }
        });
        assert!(bookmark.await >= head);
        assert!(seen_missed, "current without what was missed");
        hub.until_ready().await;
        until("posts are accepted again", async || {
            (hub.post(&token(format!("{how:?}"))).await.status == 201).then_some(())
        })
        .await;
        let snapshot = hub.snapshot().await;
        stream.follow(&mut map, snapshot.cursor.seq).await;
        assert_eq!(map, snapshot.map);
    }
}

/// The database itself throws every session out and lets nobody in.
async fn a_database_that_throws_everybody_out_heals_without_a_restart(place: &Place) {
    let mut config = place.config();
    config.feed.max_lag = Duration::from_secs(1);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let mut stream = hub.stream(Start::Now).await;
    hub.revoke(&token("a")).await;
    let admin = Place { url: postgres_url(), folder: tempfile::tempdir().unwrap() };
    let name = place.database();
    admin.sql(&format!("alter database {name} with allow_connections false")).await;
    admin.sql(&format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'")).await;
    stream.until_bookmarks_stop().await;
    let refused = hub.post(&token("b")).await.expect(503);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(hub.snapshot().await.map.len(), 1);
    until("not ready", async || (!hub.is_ready().await).then_some(())).await;

    admin.sql(&format!("alter database {name} with allow_connections true")).await;
    hub.until_ready().await;
    stream.until("a bookmark", |seen, _| matches!(seen, Seen::Bookmark { .. }).then_some(())).await;
    hub.revoke(&token("b")).await;
    stream.follow(&mut Map::new(), 2).await;
}

/// Another process holds the file's write lock: nothing can be committed, everything can be read.
async fn while_sqlite_cannot_write_posts_are_refused_and_bookmarks_go_on(place: &Place) {
    let mut config = place.config();
    config.store.timeout = Duration::from_millis(500);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    hub.revoke(&token("a")).await;
    let mut stream = hub.stream(Start::Now).await;
    let mut holder = SqliteConnection::connect(&place.url).await.unwrap();
    holder.execute("begin immediate").await.unwrap();
    let refused = hub.post(&token("b")).await.expect(503);
    assert_eq!(refused.code(), "store_unavailable");
    assert!(refused.header("retry-after").is_some());
    for _ in 0..3 {
        stream.until("a bookmark", |seen, _| matches!(seen, Seen::Bookmark { head: 1 }).then_some(())).await;
    }
    assert!(hub.is_ready().await);
    holder.execute("rollback").await.unwrap();
    let answer = until("posts are accepted again", async || {
        let answer = hub.post(&token("b")).await;
        (answer.status != 503).then_some(answer)
    });
    assert_eq!(cursor(&answer.await.expect(201).json()["cursor"]).seq, 2);
    stream.follow(&mut Map::new(), 2).await;
}

both_stores!(a_bookmark_carries_the_head_and_the_time);
on_postgres!(
    while_postgres_is_away_nothing_claims_to_be_current,
    a_database_that_throws_everybody_out_heals_without_a_restart,
);
on_sqlite!(while_sqlite_cannot_write_posts_are_refused_and_bookmarks_go_on);
