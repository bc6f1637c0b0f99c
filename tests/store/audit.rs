//! The audit: whatever was committed has its record, and nothing else has one.

use std::collections::HashMap;
use std::sync::Arc;

use revocation_hub::actor::Actor;
use revocation_hub::revocation::{Id, Kind};
use revocation_hub::store::audit::{self, Action, Cause, Note, Query, Record, Wanted, key};
use revocation_hub::store::{Change, Outcome, Store};

use crate::place::{NOW, Place, id, revoke};

fn note(request: &str, changes: usize) -> Note {
    let actor = Actor { client: Some("sts".into()), request_id: Some(request.into()), ..Actor::default() };
    Note { actor: Arc::new(actor), source: "source".into(), cause: Cause::Request, at: NOW * 1000, changes }
}

fn everything() -> Query {
    Query {
        since: 0,
        until: i64::MAX,
        action: None,
        client: None,
        source: None,
        target: None,
        after: None,
        ascending: true,
        limit: 100_000,
        ids: true,
    }
}

async fn all(store: &dyn Store) -> Vec<Record> {
    let found = audit::find(store, &everything()).await.unwrap();
    assert_eq!(found.next, None);
    found.records
}

/// What was acknowledged: the changes, and what became of them.
type Done = (String, Vec<Change>, Vec<Outcome>);

/// Appends of every size at once, new targets and repeats, some given up midway.
pub async fn what_is_committed_has_its_record_and_nothing_else(place: &Place) {
    let one = place.open().await;
    // A SQLite file is for one.
    let two = if place.url.starts_with("sqlite") { one.clone() } else { place.open().await };
    let mut running = Vec::new();
    for round in 0..48_usize {
        let store = if round % 2 == 0 { one.clone() } else { two.clone() };
        // One statement; that, many; foretold; repeats of others' targets, which go the careful way.
        let (from, n) = match round % 4 {
            0 => (round * 10_000, 1),
            1 => (round * 10_000, 40),
            2 => (round * 10_000, 700),
            _ => ((round - 1) * 10_000, 30),
        };
        let changes: Vec<Change> = (from..from + n).map(|n| revoke(&n.to_string(), 5000)).collect();
        let request = round.to_string();
        let notes = [note(&format!("{request}a"), n / 2), note(&format!("{request}b"), n - n / 2)];
        let task = tokio::spawn(async move {
            let commit = store.append_as(&changes, &notes, NOW, 60).await;
            commit.ok().map(|commit| (request, changes, commit.outcomes))
        });
        if round % 11 == 10 {
            task.abort();
        }
        running.push(task);
    }
    let mut done: Vec<Done> = Vec::new();
    for task in running {
        done.extend(task.await.ok().flatten());
    }
    let records = all(&*one).await;
    let mut by_request: HashMap<&str, &Record> = HashMap::new();
    for record in &records {
        let request = record.detail.request_id.as_deref().unwrap();
        assert!(by_request.insert(request, record).is_none(), "{request} has two");
    }
    for (request, changes, outcomes) in &done {
        let half = changes.len() / 2;
        for (part, range) in [("a", 0..half), ("b", half..changes.len())] {
            let revoked =
                changes[range.clone()].iter().zip(&outcomes[range]).filter_map(|(change, outcome)| match outcome {
                    Outcome::Revoked(seq) => Some((change.id(), *seq)),
                    _ => None,
                });
            let revoked: Vec<(Id, u64)> = revoked.collect();
            let record = by_request.get(&*format!("{request}{part}"));
            if revoked.is_empty() {
                assert!(record.is_none(), "{request}{part}");
                continue;
            }
            let record = record.unwrap_or_else(|| panic!("{request}{part} was acknowledged and has no record"));
            let seqs = revoked.iter().map(|(_, seq)| *seq);
            assert_eq!(record.seqs, seqs.clone().min().zip(seqs.max()));
            assert_eq!(record.ids, revoked.iter().map(|(id, _)| *id).collect::<Vec<_>>());
        }
    }
    // The other way round: each row is in one record, also those of appends that nobody waited for.
    let mut recorded: Vec<Id> = records.iter().flat_map(|record| record.ids.clone()).collect();
    recorded.sort_unstable();
    let mut rows: Vec<Id> = one.read_after(0, 1_000_000).await.unwrap().rows.iter().map(|row| row.id).collect();
    rows.sort_unstable();
    assert!(recorded == rows, "{} in records, {} in the log", recorded.len(), rows.len());
    assert!(rows.len() > 700 * 8);
}

pub async fn a_target_is_found_in_a_large_audit_from_either_end(place: &Place) {
    let store = place.open().await;
    // More than a search looks at in one go.
    let many = if place.url.starts_with("sqlite") {
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 45000)
        insert into audit (at, action, epoch, source, detail, ids, keys)
        select n, 1, 'abcdefgh', 'noise', '{}', randomblob(16), randomblob(8) from n"
    } else {
        "insert into audit (at, action, epoch, source, detail, ids, keys)
        select n, 1, 'abcdefgh', 'noise', '{}', uuid_send(gen_random_uuid()), substring(uuid_send(gen_random_uuid()) from 9)
        from generate_series(1, 45000) n"
    };
    place.sql(many).await;
    let late = Note { at: 100_000, ..note("late", 2) };
    store.append_as(&[revoke("x", 5000), revoke("y", 5000)], &[late], NOW, 60).await.unwrap();
    let lift = Note { at: 100_001, ..note("lift", 1) };
    store.append_as(&[Change::Lift(id("y"))], &[lift], NOW, 60).await.unwrap();
    for ascending in [true, false] {
        for target in [Wanted::Id(id("y")), Wanted::Key(key(Kind::Token, "y"))] {
            let query = Query { target: Some(target), ascending, limit: 1, ..everything() };
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = audit::find(&*store, &Query { after, ..query.clone() }).await.unwrap();
                found.extend(page.records.into_iter().map(|record| record.action));
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut expected = vec![Action::Revoke, Action::Lift];
            if !ascending {
                expected.reverse();
            }
            assert_eq!(found, expected, "{target:?}");
        }
    }
    // Old ones go, the oldest first and no more than asked for.
    assert_eq!(store.forget_audit(30_001, 20_000).await.unwrap(), 20_000);
    assert_eq!(store.forget_audit(30_001, 20_000).await.unwrap(), 10_000);
    assert_eq!(store.forget_audit(30_001, 20_000).await.unwrap(), 0);
    let oldest = audit::find(&*store, &Query { limit: 1, ..everything() }).await.unwrap().records.remove(0);
    assert_eq!(oldest.place.at, 30_001);
}
