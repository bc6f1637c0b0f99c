//! Bounded: what has expired is gone, to the second, from everywhere.

use std::time::Duration;

use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;

/// One revocation per kind, each over at `exp`; the answers of every outlet can tell them by `mark`.
fn one_of_each(mark: &str, exp: i64) -> Vec<Value> {
    vec![
        json!({"jti": format!("{mark}-jti"), "exp": exp}),
        json!({"sid": format!("{mark}-sid"), "exp": exp}),
        json!({"sub": format!("{mark}-sub"), "exp": exp}),
        json!({"client_id": format!("{mark}-client"), "exp": exp}),
        json!({"kid": format!("{mark}-kid"), "exp": exp}),
        json!({"iss": format!("{mark}-iss"), "exp": exp}),
        json!({"token": format!("{mark}-opaque"), "exp": exp}),
    ]
}

/// What can be asked about the revocations of [`one_of_each`].
fn questions(mark: &str) -> Vec<String> {
    ["jti=M-jti", "sid=M-sid", "sub=M-sub&iat=1", "client_id=M-client&iat=1", "kid=M-kid", "iss=M-iss&iat=1"]
        .iter()
        .map(|question| format!("/v1/check?{}", question.replace('M', mark)))
        .collect()
}

const ARRAYS: [&str; 2] = ["/internal/data/v1/revokedjwt", "/throttle/data/v1/revokedjwt"];
const OBJECT: &str = "/apim43/internal/data/v1/revokedjwt";

/// How often `mark` is to be seen in WSO2's lists: one token and one opaque token; one subject, one client.
async fn marks_in_wso2_lists(hub: &Api, mark: &str) -> Vec<usize> {
    let mut counts = Vec::new();
    for path in ARRAYS.into_iter().chain([OBJECT]) {
        counts.push(hub.get(path).await.expect(200).text().matches(&format!("{mark}-")).count());
    }
    counts
}

async fn what_is_over_is_gone_everywhere_to_the_second(place: &Place) {
    for skew in [0, 60] {
        let mut config = place.config();
        config.clock_skew = Duration::from_secs(skew);
        config.keep_opaque = true;
        let skew = skew.cast_signed();
        let exp = NOW + 1000;
        let hub = TestHub::start(config, Clock::manual(NOW)).await;
        let start = hub.snapshot().await;
        // The early ones are over one second before the late ones: when they are gone, the rest was looked at and kept.
        let early = hub.post(&Value::Array(one_of_each("early", exp - 1))).await.expect(200);
        assert_eq!(early.json()["revoked"], 7);
        let early: Vec<String> = hub.since(&start.cursor).await.unwrap().revoked.into_keys().collect();
        hub.post(&Value::Array(one_of_each("late", exp))).await.expect(200);
        let full = hub.snapshot().await;
        let late: Vec<&String> = full.map.keys().filter(|id| !early.contains(id)).collect();
        assert_eq!((early.len(), late.len(), place.rows().await), (7, 7, 14));
        let lists = [marks_in_wso2_lists(&hub, "early").await, marks_in_wso2_lists(&hub, "late").await];
        assert!(lists[0].iter().all(|n| *n > 0) && lists[0] == lists[1], "{lists:?}");
        let etag = hub.get("/v1/revocations").await.header("etag").unwrap().to_owned();

        // The last second of the early ones. Something that is over before them shows that pruning came by.
        hub.revoke(&token_until("sign", exp - 2)).await;
        hub.clock.set(exp - 2 + skew);
        until("the sign is pruned", async || (place.rows().await == 14).then_some(())).await;
        until("and swept", async || (hub.snapshot().await.map.len() == 14).then_some(())).await;
        assert_eq!(hub.snapshot().await.map, full.map);

        // One second later the early ones are gone and the late ones are all there.
        hub.clock.set(exp - 1 + skew);
        until("the early ones are pruned", async || (place.rows().await == 7).then_some(())).await;
        until("and swept", async || (hub.snapshot().await.map.len() == 7).then_some(())).await;
        for id in &early {
            assert_eq!(hub.get(&format!("/v1/revocations/{id}")).await.status, 404);
        }
        for id in &late {
            assert_eq!(hub.get(&format!("/v1/revocations/{id}")).await.status, 200);
        }
        for (early, late) in questions("early").into_iter().zip(questions("late")) {
            assert_eq!(hub.get(&early).await.expect(200).json(), json!({"revoked": false}), "{early}");
            assert_eq!(hub.get(&late).await.expect(200).json()["revoked"], true, "{late}");
        }
        assert_eq!(marks_in_wso2_lists(&hub, "early").await, [0, 0, 0]);
        assert_eq!(marks_in_wso2_lists(&hub, "late").await, lists[1]);
        assert_eq!(hub.metric("live_revocations", "").await, 7.0);
        // A copy from before is not the list any more.
        let again = hub.request(reqwest::Method::GET, "/v1/revocations").header("if-none-match", etag);
        assert_eq!(hub.send(again).await.unwrap().status, 200);

        hub.clock.set(exp + skew);
        until("all are pruned", async || (place.rows().await == 0).then_some(())).await;
        until("and swept", async || hub.snapshot().await.map.is_empty().then_some(())).await;
        for question in questions("late") {
            assert_eq!(hub.get(&question).await.json(), json!({"revoked": false}), "{question}");
        }
        assert_eq!(hub.get(ARRAYS[0]).await.text(), "[]");
        assert_eq!(marks_in_wso2_lists(&hub, "late").await, [0, 0, 0]);
        for metric in ["live_revocations", "tombstones"] {
            assert_eq!(hub.metric(metric, "").await, 0.0, "{metric}");
        }
        assert_eq!(hub.metric("pruned_total", "").await, 15.0);
        assert_eq!(hub.metric("ledger_swept_total", "").await, 15.0);
        // A replay from the very begin has nothing to tell either. (After a restart: the newest 8 MiB of frames are kept
        // for streams that are up to date, and may repeat what is over, which its `exp` says.)
        let (now, head) = (hub.clock.now(), hub.snapshot().await.cursor.seq);
        hub.stop().await;
        let hub = TestHub::start(place.config(), Clock::manual(now)).await;
        nothing_until_synced(hub.stream(Start::After(start.cursor)).await, head).await;
        nothing_until_synced(hub.stream(Start::Earliest).await, head).await;
        hub.stop().await;
    }
}

async fn nothing_until_synced(mut stream: Stream, head: u64) {
    assert!(matches!(stream.event().await.0, Seen::Hello { .. }));
    let (seen, at) = stream.event().await;
    assert_eq!((seen, at.seq), (Seen::Synced { head }, head));
}

async fn tombstones_go_when_what_they_lift_is_over(place: &Place) {
    let hub = place.hub().await;
    for i in 0..10 {
        let id = hub.revoke(&token_until(i, NOW + 100)).await;
        hub.lift(&id).await;
    }
    assert_eq!(hub.metric("tombstones", "").await, 10.0);
    assert_eq!(place.rows().await, 10);
    hub.clock.set(NOW + 160);
    until("they are pruned", async || (place.rows().await == 0).then_some(())).await;
    until("and swept", async || (hub.metric("tombstones", "").await == 0.0).then_some(())).await;
}

async fn what_is_over_when_it_arrives_is_not_kept(place: &Place) {
    let hub = place.hub().await;
    let before = hub.snapshot().await.cursor;
    // The skew is 60 seconds: this one can hit nothing any more, the next one can for one second.
    let answer = hub.post(&token_until("over", NOW - 60)).await.expect(200).json();
    assert_eq!((&answer["status"], cursor(&answer["cursor"])), (&json!("expired"), before));
    assert_eq!(hub.post(&token_until("not yet", NOW - 59)).await.expect(201).json()["status"], "revoked");
    assert_eq!(hub.snapshot().await.map.len(), 1);
    hub.clock.advance(1);
    until("it is over", async || hub.snapshot().await.map.is_empty().then_some(())).await;
}

async fn what_is_over_while_the_hub_was_down_does_not_come_back(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token_until("a", NOW + 10)).await;
    hub.revoke(&token_until("b", NOW + 1000)).await;
    hub.stop().await;
    let hub = TestHub::start(place.config(), Clock::manual(NOW + 70)).await;
    // From the very first answer on, whether it was pruned yet or not.
    let snapshot = hub.snapshot().await;
    assert_eq!(snapshot.map.values().map(|entry| &entry["jti"]).collect::<Vec<_>>(), ["b"]);
    until("it is pruned", async || (place.rows().await == 1).then_some(())).await;
}

async fn the_sqlite_file_gives_its_space_back(place: &Place) {
    // The records of the audit outlive what they are about, for as long as they are told to.
    let mut config = place.config();
    config.audit.retention = Duration::from_secs(86_400);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    for batch in 0..10 {
        let lines: Vec<Value> = (0..2000).map(|i| token_until(format!("{batch}-{i}"), NOW + 100)).collect();
        hub.post_lines(&lines).await.expect(200);
    }
    let size = || {
        let of = |name: &str| std::fs::metadata(place.folder.path().join(name)).map_or(0, |file| file.len());
        (of("log.db"), of("log.db-wal"))
    };
    until("the rows reach the file", async || (size().0 > 1_000_000).then_some(())).await;
    let full = size().0;
    hub.clock.set(NOW + 86_500);
    until("the rows are gone", async || (place.rows().await == 0).then_some(())).await;
    until("and the file is small", async || (size().0 < full / 10).then_some(())).await;
    assert!(size().1 <= 17 << 20, "{:?}", size());
}

both_stores!(
    what_is_over_is_gone_everywhere_to_the_second,
    tombstones_go_when_what_they_lift_is_over,
    what_is_over_when_it_arrives_is_not_kept,
    what_is_over_while_the_hub_was_down_does_not_come_back,
);
on_sqlite!(the_sqlite_file_gives_its_space_back);
