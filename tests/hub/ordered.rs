//! Ordered: every revocation has one position in one log, the order of positions is the order of commits, and every
//! replica shows the same.

use revocation_hub::cli::promise::{Seen, Start};
use sqlx::{Executor, Row};
use tokio::task::JoinSet;

use crate::harness::*;

async fn streams_of_two_hubs_show_the_same_order(place: &Place) {
    let hubs = [place.hub().await, place.hub().await];
    let mut streams = [hubs[0].stream(Start::Now).await, hubs[1].stream(Start::Now).await];
    let mut writing = JoinSet::new();
    for writer in 0..8 {
        let api = Api::clone(&hubs[writer % 2]);
        writing.spawn(async move {
            for i in 0..25 {
                // Alone and in groups.
                api.revoke(&token(format!("{writer}-{i}"))).await;
                api.post(&serde_json::json!([token(format!("{writer}-{i}-a")), token(format!("{writer}-{i}-b"))]))
                    .await;
            }
        });
    }
    within("the writers", writing.join_all()).await;
    let total = 8 * 25 * 3;
    let first = streams[0].ids(total).await;
    let second = streams[1].ids(total).await;
    // Nothing moved, so every position is there, once, and in order.
    assert!(first.iter().map(|(seq, _)| *seq).eq(1..=total), "{first:?}");
    assert_eq!(first, second);
    // And a client that comes later sees the same.
    assert_eq!(hubs[1].stream(Start::Earliest).await.ids(total).await, first);
}

/// A writer has taken position 2 and does not get on with its commit. With a plain `bigserial` the next writer would
/// draw 3, commit before it and be acknowledged; every reader that stood at 3 would have passed 2 for ever. Here the
/// next writer waits, and no stream leaves position 1 before both are there.
async fn nobody_passes_a_commit_that_stalls(place: &Place) {
    let hub = place.hub().await;
    let other = place.hub().await;
    hub.revoke(&token("a")).await;
    let mut stream = hub.stream(Start::Earliest).await;
    stream.follow(&mut Map::new(), 1).await;
    // After a repetition the store expects changes and looks before it writes: its other way to the log.
    other.post(&token("a")).await.expect(200);

    let (mut slow, mut watch) = (place.postgres().await, place.postgres().await);
    let sql = format!(
        "begin; select head from log for update;
         insert into revocation (seq, id, kind, value, exp, revoked_at, source, lifted)
         values (2, gen_random_uuid(), 1, 'slow', {}, {NOW}, 'raw', false);
         update log set head = 2",
        NOW + 3600
    );
    slow.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    // Something new by one hub, a change of what is there by the other.
    let (one, another) = (Api::clone(&hub), Api::clone(&other));
    let new = tokio::spawn(async move { one.post(&token("b")).await });
    let wider = token_until("a", NOW + 7200);
    let change = tokio::spawn(async move { another.post(&wider).await });
    until("both hubs wait for the log", async || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'revocation-hub' and wait_event_type = 'Lock'";
        let waiting: i64 = watch.fetch_one(sql).await.unwrap().get(0);
        (waiting == 2).then_some(())
    })
    .await;
    // Reading goes on: bookmarks come, and they say that position 1 is all there is.
    for _ in 0..3 {
        match stream.event().await {
            (Seen::Bookmark { head }, at) => assert_eq!((head, at.seq), (1, 1)),
            (Seen::Synced { .. }, _) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(!new.is_finished() && !change.is_finished(), "acknowledged before the commit in front of it");
    assert_eq!(hub.snapshot().await.map.len(), 1);

    slow.execute("commit").await.unwrap();
    let mut positions = Vec::new();
    for posting in [new, change] {
        let answer = within("the answer", posting).await.unwrap().expect(201);
        positions.push(cursor(&answer.json()["cursor"]).seq);
    }
    positions.sort_unstable();
    assert_eq!(positions, [3, 4]);
    let ids = stream.ids(4).await;
    assert_eq!(ids.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(hub.snapshot().await.map.len(), 3);
}

async fn positions_are_in_the_order_of_acknowledgement(place: &Place) {
    let hub = place.hub().await;
    let mut last = 0;
    for i in 0..50 {
        let seq = cursor(&hub.post(&token(i)).await.json()["cursor"]).seq;
        assert!(seq > last, "{seq} after {last}");
        last = seq;
    }
}

on_postgres!(streams_of_two_hubs_show_the_same_order, nobody_passes_a_commit_that_stalls);
both_stores!(positions_are_in_the_order_of_acknowledgement);
