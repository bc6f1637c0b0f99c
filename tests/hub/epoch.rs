//! When the log is no longer the one it was: the epoch changes, and nothing acknowledged is lost that a hub still holds.

use std::collections::BTreeSet;

use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::revocation::Cursor;
use serde_json::json;

use crate::harness::{Map, NOW, Place, Snapshot, Stream, TestHub, until};

async fn revoke(hub: &TestHub, name: &str) -> String {
    hub.revoke(&json!({"jti": name, "exp": NOW + 5000})).await
}

/// Reads on until the stream is told that its log is over, and says why.
async fn reset(stream: &mut Stream) -> String {
    let reason = stream.until("the reset", |seen, _| match seen {
        Seen::Reset { reason } => Some(reason.clone()),
        _ => None,
    });
    reason.await
}

/// Goes on as the client rules say: the list, then the stream from there.
async fn reload(hub: &TestHub, stream: Stream) -> (Map, Stream) {
    let Snapshot { cursor, map } = hub.snapshot().await;
    let mut promise = stream.into_promise();
    promise.restart(cursor);
    (map, hub.resume(promise, crate::harness::Ask::Header).await)
}

async fn renewed(hub: &TestHub, old: &Cursor) -> Cursor {
    until("the epoch is another one", async || {
        let now = hub.try_snapshot().await?.cursor;
        (now.epoch != old.epoch).then_some(now)
    })
    .await
}

fn ids(map: &Map) -> BTreeSet<&String> {
    map.keys().collect()
}

/// A promoted standby that lacks the last rows: the log is on another server, and numbers would be handed out again.
async fn a_log_that_moved_gets_a_new_epoch_before_anything_is_written(place: &Place) {
    let (a, b) = (place.hub().await, place.hub().await);
    for i in 0..10 {
        revoke(&a, &i.to_string()).await;
    }
    let kept = revoke(&b, "kept").await;
    let lifted = revoke(&b, "lifted").await;
    a.lift(&lifted).await;
    let before = a.snapshot().await;
    assert_eq!(before.cursor.seq, 13);
    until("b has it too", async || (b.snapshot().await == before).then_some(())).await;
    let mut streams = Vec::new();
    for hub in [&a, &b] {
        streams.push(hub.stream(Start::After(before.cursor.clone())).await);
    }

    place
        .sql("begin; delete from revocation where seq > 5; update log set head = 5, home = 'another server'; commit")
        .await;
    // Whoever writes first: no number of the old epoch is handed out again.
    let new = until("a write is taken", async || {
        let answer = b.post(&json!({"jti": "new", "exp": NOW + 5000})).await;
        if answer.status == 503 {
            assert!(answer.header("retry-after").is_some());
            return None;
        }
        Some(answer.expect(201).json())
    })
    .await;
    assert!(!new["cursor"].as_str().unwrap().starts_with(before.cursor.epoch.as_str()));

    let mut expected = ids(&before.map);
    let new = new["id"].as_str().unwrap().to_owned();
    expected.insert(&new);
    for (hub, mut stream) in [&a, &b].into_iter().zip(streams) {
        assert_eq!(reset(&mut stream).await, "epoch");
        let (mut map, mut stream) = reload(hub, stream).await;
        let head = renewed(hub, &before.cursor).await;
        stream.follow(&mut map, head.seq).await;
        until("everything is there", async || {
            let now = hub.snapshot().await;
            (ids(&now.map) == expected).then_some(())
        })
        .await;
        stream.follow(&mut map, hub.snapshot().await.cursor.seq).await;
        assert_eq!(ids(&map), expected, "and the client has it");
    }
    assert!(expected.contains(&kept) && !expected.contains(&lifted));
    let count = async |name| a.metric(name, "").await + b.metric(name, "").await;
    // The lifted one was among the lost ones, too, and is not put back. (0 to 4 were not lost.)
    assert_eq!(count("revocations_put_back_total").await, 6.0);
    assert!(a.metric("epoch_renewals_total", "moved").await + b.metric("epoch_renewals_total", "moved").await >= 1.0);
    // A cursor of then means nothing now.
    assert_eq!(a.since(&before.cursor).await.unwrap_err().status, 410);
    assert_eq!(a.snapshot().await, b.snapshot().await);
}

/// A restored backup, put in place while the hub runs: same place, fewer rows.
async fn a_head_that_goes_back_renews_the_epoch_and_puts_back_what_was_lost(place: &Place) {
    let hub = place.hub().await;
    for i in 0..10 {
        revoke(&hub, &i.to_string()).await;
    }
    hub.lift(&revoke(&hub, "lifted").await).await;
    let never = hub.revoke(&json!({"sub": "someone", "iss": "https://sts", "ttl": 5000, "reason": "stolen"})).await;
    let before = hub.snapshot().await;
    let mut stream = hub.stream(Start::After(before.cursor.clone())).await;
    place.sql("delete from revocation where seq > 4; update log set head = 4").await;
    assert_eq!(reset(&mut stream).await, "epoch");
    let now = renewed(&hub, &before.cursor).await;
    let after = hub.snapshot().await;
    // As they were: the same ids, times, reasons.
    assert_eq!((&after.map, after.map[&never]["reason"].as_str()), (&before.map, Some("stolen")));
    assert_eq!(hub.metric("revocations_put_back_total", "").await, 7.0);
    assert_eq!(hub.metric("epoch_renewals_total", "shrunk").await, 1.0);
    let (map, _) = reload(&hub, stream).await;
    assert_eq!((map, now.epoch), (after.map, after.cursor.epoch));
    // And the store has it.
    hub.stop().await;
    assert_eq!(place.hub().await.snapshot().await.map, before.map);
}

/// Another database behind the same name.
async fn another_database_gets_what_the_hub_still_holds(place: &Place) {
    let hub = place.hub().await;
    let mine = revoke(&hub, "mine").await;
    let before = hub.snapshot().await;
    place.sql("begin; delete from revocation; update log set head = 0, epoch = 'anotherr'; commit").await;
    let now = renewed(&hub, &before.cursor).await;
    assert_eq!(now.to_string(), "anotherr-1");
    assert_eq!(hub.snapshot().await.map.keys().collect::<Vec<_>>(), [&mine]);
}

/// An empty database behind the same name. The hub makes its tables and puts back what it holds.
async fn an_empty_database_gets_what_the_hub_still_holds(place: &Place) {
    let hub = place.hub().await;
    let lifted = revoke(&hub, "lifted").await;
    hub.lift(&lifted).await;
    let before = {
        revoke(&hub, "mine").await;
        hub.revoke(&json!({"sub": "someone", "ttl": 5000, "reason": "stolen"})).await;
        hub.snapshot().await
    };
    let mut stream = hub.stream(Start::After(before.cursor.clone())).await;
    place.sql("drop schema public cascade; create schema public").await;
    assert_eq!(reset(&mut stream).await, "epoch");
    let now = renewed(&hub, &before.cursor).await;
    let after = hub.snapshot().await;
    assert_eq!((after.map, after.cursor.seq), (before.map, 2));
    let id = until("writes are taken", async || {
        let answer = hub.post(&json!({"jti": "new", "exp": NOW + 5000})).await;
        (answer.status == 201).then(|| answer.json()["id"].as_str().unwrap().to_owned())
    })
    .await;
    let (map, _) = reload(&hub, stream).await;
    assert!(map.contains_key(&id) && map.len() == 3 && now.epoch != before.cursor.epoch);
}

/// A table that was put back under the sessions of the hub, as `pg_restore --clean` does it: the epoch is the same, and the
/// head may even be.
async fn a_table_that_was_replaced_under_a_running_hub_is_another_log(place: &Place) {
    let hub = place.hub().await;
    for i in 0..4 {
        revoke(&hub, &i.to_string()).await;
    }
    let before = hub.snapshot().await;
    place
        .sql(
            "begin; create table copy (like log including all); insert into copy select * from log;
             drop table log; alter table copy rename to log; delete from revocation where seq > 2; commit",
        )
        .await;
    let now = renewed(&hub, &before.cursor).await;
    assert_eq!(hub.snapshot().await.map, before.map);
    assert_eq!(hub.metric("epoch_renewals_total", "moved").await, 1.0);
    assert_eq!(hub.metric("revocations_put_back_total", "").await, 2.0);
    assert_ne!(now.epoch, before.cursor.epoch);
}

/// A file that was put back while the hub was down: it is behind the mark.
async fn a_restored_file_is_known_by_the_mark_beside_it(place: &Place) {
    let hub = place.hub().await;
    let kept = revoke(&hub, "kept").await;
    let behind = hub.snapshot().await.cursor;
    hub.stop().await;
    let backup = place.folder.path().join("backup.db");
    std::fs::copy(place.file(), &backup).unwrap();
    let hub = place.hub().await;
    revoke(&hub, "lost").await;
    let ahead = hub.snapshot().await.cursor;
    hub.stop().await;
    std::fs::copy(&backup, place.file()).unwrap();
    let hub = place.hub().await;
    let now = hub.snapshot().await;
    assert_ne!(now.cursor.epoch, behind.epoch);
    assert_eq!(ids(&now.map), BTreeSet::from([&kept]));
    for cursor in [&behind, &ahead] {
        assert_eq!(hub.since(cursor).await.unwrap_err().code(), "cursor_reset");
    }
    // Once: a start that finds the file as it was left changes nothing.
    hub.stop().await;
    assert_eq!(place.hub().await.snapshot().await.cursor, now.cursor);
}

/// A file that was put back together with the mark. Nobody remembers but the clients.
async fn a_restored_file_is_known_by_a_client_that_is_ahead(place: &Place) {
    let hub = place.hub().await;
    let kept = revoke(&hub, "kept").await;
    let behind = hub.snapshot().await.cursor;
    hub.stop().await;
    let backup = place.folder.path().join("backup.db");
    std::fs::copy(place.file(), &backup).unwrap();
    let hub = place.hub().await;
    revoke(&hub, "lost").await;
    let ahead = hub.snapshot().await.cursor;
    hub.stop().await;
    std::fs::copy(&backup, place.file()).unwrap();
    let mut mark = place.file().into_os_string();
    mark.push(".lock");
    std::fs::remove_file(mark).unwrap();

    let hub = place.hub().await;
    assert_eq!(hub.snapshot().await.cursor, behind);
    assert_eq!(hub.since(&ahead).await.unwrap_err().code(), "cursor_reset");
    let now = renewed(&hub, &behind).await;
    assert_eq!(hub.metric("epoch_renewals_total", "ahead").await, 1.0);
    // Now the number that was lost is handed out again, and nobody can take one for the other.
    let again = revoke(&hub, "new").await;
    assert_eq!(hub.since(&ahead).await.unwrap_err().status, 410);
    let snapshot = hub.snapshot().await;
    assert_eq!((snapshot.cursor.seq, ids(&snapshot.map)), (2, BTreeSet::from([&kept, &again])));
    // One who makes cursors up does not keep everybody reloading.
    let invented = Cursor { seq: 1000, ..now.clone() };
    assert_eq!(hub.since(&invented).await.unwrap_err().status, 410);
    assert_eq!(hub.since(&invented).await.unwrap_err().status, 410);
    assert_eq!(hub.snapshot().await.cursor.epoch, now.epoch);
}

both_stores!(
    a_head_that_goes_back_renews_the_epoch_and_puts_back_what_was_lost,
    another_database_gets_what_the_hub_still_holds,
);
on_postgres!(
    a_log_that_moved_gets_a_new_epoch_before_anything_is_written,
    a_table_that_was_replaced_under_a_running_hub_is_another_log,
    an_empty_database_gets_what_the_hub_still_holds,
);
on_sqlite!(a_restored_file_is_known_by_a_client_that_is_ahead, a_restored_file_is_known_by_the_mark_beside_it);
