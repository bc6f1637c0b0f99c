//! Resumable: any cursor that a hub ever gave can be resumed, however old; any other is told to start over.

use std::time::Duration;

use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::clock::Clock;
use revocation_hub::revocation::Cursor;

use crate::harness::*;

const SKEW: i64 = 60;

async fn a_cursor_from_before_a_prune_still_resumes(place: &Place) {
    let hub = place.hub().await;
    let nothing = hub.snapshot().await;
    let short = hub.revoke(&token_until("short", NOW + 10)).await;
    let long = hub.revoke(&token_until("long", NOW + 1000)).await;
    let lifted = hub.revoke(&token_until("lifted", NOW + 1000)).await;
    let old = hub.snapshot().await;
    // What the clients below miss: something that comes and goes, a lift, a wider rule, something new.
    hub.revoke(&token_until("came and went", NOW + 20)).await;
    let gone = hub.revoke(&token_until("lifted and gone", NOW + 30)).await;
    hub.lift(&gone).await;
    hub.lift(&lifted).await;
    hub.revoke(&token_until("long", NOW + 2000)).await;
    hub.revoke(&token_until("new", NOW + 1000)).await;
    let now = NOW + 30 + SKEW;
    hub.clock.set(now);
    until("what is over is pruned", async || (place.rows().await == 3).then_some(())).await;
    until("and swept", async || (hub.snapshot().await.map.len() == 2).then_some(())).await;
    let truth = hub.snapshot().await;
    assert!(truth.map.contains_key(&long) && !truth.map.contains_key(&short));

    let known = [nothing, old];
    resumes(&hub, &known, &truth, now).await;
    // And after a restart, when the hub has nothing but the rows that are left.
    hub.stop().await;
    let hub = TestHub::start(place.config(), Clock::manual(now)).await;
    resumes(&hub, &known, &truth, now).await;
}

/// Clients that stood at what they `known` come back, by a stream and by the difference, and end with the truth.
async fn resumes(hub: &Api, known: &[Snapshot], truth: &Snapshot, now: i64) {
    let over = |map: &mut Map| map.retain(|_, entry| entry["exp"].as_i64().unwrap() + SKEW > now);
    for Snapshot { cursor, map } in known {
        let mut followed = map.clone();
        let mut stream = hub.stream(Start::After(cursor.clone())).await;
        let hello = stream.event().await;
        assert!(matches!(&hello, (Seen::Hello { cursor: at, .. }, _) if at == cursor), "{hello:?}");
        stream.follow(&mut followed, truth.cursor.seq).await;
        over(&mut followed);
        assert_eq!(followed, truth.map);

        let mut taken = map.clone();
        let difference = hub.since(cursor).await.unwrap();
        taken.extend(difference.revoked);
        for id in difference.lifted {
            taken.remove(&id);
        }
        over(&mut taken);
        assert_eq!((&taken, &difference.cursor), (&truth.map, &truth.cursor));
    }
}

/// A target that is lifted and revoked anew for a shorter time: whoever missed all of it still believes in the longer
/// one, and must not be left with it when the shorter one is pruned.
async fn a_shorter_rule_after_a_lift_leaves_nobody_with_the_longer_one(place: &Place) {
    let hub = place.hub().await;
    let id = hub.revoke(&token_until("a", NOW + 1000)).await;
    let Snapshot { cursor, map } = hub.snapshot().await;
    hub.lift(&id).await;
    hub.revoke(&token_until("a", NOW + 10)).await;
    hub.revoke(&token_until("sign", NOW + 9)).await;
    let head = hub.snapshot().await.cursor.seq;
    let now = NOW + 10 + SKEW;
    hub.clock.set(now);
    until("the sign is swept", async || (hub.metric("ledger_swept_total", "").await >= 1.0).then_some(())).await;
    until("the sign is pruned", async || (place.rows().await <= 1).then_some(())).await;
    // So that nothing in memory still knows.
    hub.stop().await;
    let hub = TestHub::start(place.config(), Clock::manual(now)).await;
    let mut followed = map;
    hub.stream(Start::After(cursor)).await.follow(&mut followed, head).await;
    followed.retain(|_, entry| entry["exp"].as_i64().unwrap() + SKEW > now);
    assert_eq!(followed, hub.snapshot().await.map);
}

async fn a_cursor_of_another_epoch_or_from_the_future_is_reset(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token("a")).await;
    let truth = hub.snapshot().await;
    let other: Cursor = "another1-1".parse().unwrap();
    let ahead = Cursor { seq: 1000, ..truth.cursor.clone() };
    // A cursor ahead of the log shows that it lost rows, and then it gets another epoch.
    for (cursor, asks) in [
        (other, &[(Ask::Header, "epoch"), (Ask::Query, "epoch")]),
        (ahead, &[(Ask::Query, "ahead"), (Ask::Header, "epoch")]),
    ] {
        for (ask, why) in asks.iter().copied() {
            let opened = hub.try_open(Promise::new(Start::After(cursor.clone())), ask).await;
            let mut stream = opened.unwrap_or_else(|(_, answer)| panic!("{answer:?}"));
            assert!(matches!(stream.event().await.0, Seen::Hello { .. }));
            assert_eq!(stream.event().await.0, Seen::Reset { reason: why.into() });
            if why == "ahead" {
                until("the epoch is renewed", async || {
                    (hub.try_snapshot().await?.cursor.epoch != cursor.epoch).then_some(())
                })
                .await;
            }
            // The way on is the snapshot.
            let snapshot = hub.snapshot().await;
            let mut promise = stream.into_promise();
            promise.restart(snapshot.cursor.clone());
            let mut stream = hub.resume(promise, ask).await;
            let id = hub.revoke(&token(rand::random::<u64>())).await;
            let ids = stream.ids(snapshot.cursor.seq + 1).await;
            assert_eq!(ids, [(snapshot.cursor.seq + 1, id)]);
        }
        let refused = hub.since(&cursor).await.unwrap_err();
        assert_eq!((refused.status, &*refused.code()), (410, "cursor_reset"));
    }
    for garbage in ["", "1", "-", "earliest", "aaaaaaaa", "aaaaaaaa-01", "aaaaaaaa-1x", "AAAAAAAA-1"] {
        let answer = hub.get(&format!("/v1/revocations?since={garbage}")).await.expect(400);
        assert_eq!(answer.code(), "invalid_cursor", "{garbage}");
    }
}

/// The log becomes another one while the hub runs: another database stands behind the name. Every stream hears of it, and
/// what the hub still knows is put back.
async fn a_log_that_is_replaced_resets_every_stream(place: &Place) {
    let hub = place.hub().await;
    for i in 0..10 {
        hub.revoke(&token(i)).await;
    }
    let before = hub.snapshot().await;
    let mut stream = hub.stream(Start::After(before.cursor.clone())).await;
    place.sql("delete from revocation where seq > 5; update log set head = 5, epoch = 'restored'").await;
    let reason = stream.until("the reset", |seen, _| match seen {
        Seen::Reset { reason } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason.await, "epoch");
    let after = hub.snapshot().await;
    assert_eq!((after.cursor.to_string().as_str(), after.map.len()), ("restored-10", 10));
    assert_eq!(hub.since(&before.cursor).await.unwrap_err().status, 410);
    let mut promise = stream.into_promise();
    promise.restart(after.cursor.clone());
    let mut stream = hub.resume(promise, Ask::Header).await;
    let mut map = after.map;
    hub.revoke(&token("new")).await;
    stream.follow(&mut map, 11).await;
    assert_eq!(map, hub.snapshot().await.map);
}

/// A client comes from another replica with a cursor that this one has not read yet. It is neither reset nor answered
/// with less than it knows: it waits until the store was read.
async fn a_cursor_of_a_replica_that_is_ahead_is_waited_for(place: &Place) {
    let ahead = place.hub().await;
    let wire = Proxy::new(place).await;
    let mut config = config(&wire.url(place));
    // Nothing makes it look by itself.
    let never = Duration::from_secs(3600);
    (config.store.listen_notify, config.store.poll_interval, config.bookmark_interval) = (false, never, never);
    config.feed.max_lag = 2 * never;
    config.store.timeout = PATIENCE;
    let behind = TestHub::start(config, ahead.clock.clone()).await;
    let id = ahead.revoke(&token("a")).await;
    let at = ahead.snapshot().await.cursor;
    assert_eq!(behind.snapshot().await.cursor.seq, 0);

    wire.set(Wire::Mute);
    let (api, promise) = (Api::clone(&behind), Promise::new(Start::After(at.clone())));
    let opening = tokio::spawn(async move { api.try_open(promise, Ask::Header).await });
    until("the feed is asked to look", async || {
        (behind.metric("feed_wakeups_total", "cursor").await >= 1.0).then_some(())
    })
    .await;
    assert!(!opening.is_finished(), "answered without having looked");
    wire.set(Wire::Good);
    let opened = within("the stream opens", opening).await.unwrap();
    let mut stream = opened.unwrap_or_else(|(_, answer)| panic!("{answer:?}"));
    assert_eq!(stream.event().await.0, Seen::Hello { cursor: at.clone(), head: at.seq });
    assert_eq!(behind.snapshot().await.map.keys().collect::<Vec<_>>(), [&id]);

    // The same for the difference.
    ahead.revoke(&token("b")).await;
    let at = ahead.snapshot().await.cursor;
    assert_eq!(behind.since(&at).await.unwrap().cursor, at);
    stream.follow(&mut Map::new(), at.seq).await;
}

both_stores!(
    a_cursor_from_before_a_prune_still_resumes,
    a_shorter_rule_after_a_lift_leaves_nobody_with_the_longer_one,
    a_cursor_of_another_epoch_or_from_the_future_is_reset,
    a_log_that_is_replaced_resets_every_stream,
);
on_postgres!(a_cursor_of_a_replica_that_is_ahead_is_waited_for);
