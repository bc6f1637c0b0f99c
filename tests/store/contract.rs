//! The contract of every engine.

use std::collections::BTreeSet;
use std::future::{Future, poll_fn};
use std::task::Poll;

use revocation_hub::revocation::{Expiry, Id, Kind, Revocation, Row, Target};
use revocation_hub::store::{Change, Outcome, Pruned, PutBack, Store, StoreError};

use crate::place::{NOW, Place, id, revocation, revoke};

async fn append(store: &dyn Store, changes: &[Change]) -> Vec<Outcome> {
    store.append(changes, NOW, 60).await.unwrap().outcomes
}

/// Everything after `after`, as (position, value, lifted).
async fn listed(store: &dyn Store, after: u64) -> Vec<(u64, String, bool)> {
    let rows = store.read_after(after, 1_000_000).await.unwrap().rows;
    rows.into_iter().map(|r| (r.seq, r.revocation.target.value, r.lifted)).collect()
}

fn entry(seq: u64, value: &str, lifted: bool) -> (u64, String, bool) {
    (seq, value.to_owned(), lifted)
}

pub async fn positions_have_no_gap_and_outcomes_the_order_of_the_changes(place: &Place) {
    let store = place.open().await;
    let page = store.read_after(0, 10).await.unwrap();
    assert_eq!((page.head, page.rows.len()), (0, 0));

    let changes = [revoke("a", 5000), Change::Lift(id("x")), revoke("b", 5000), revoke("a", 5000), revoke("c", 5000)];
    let commit = store.append(&changes, NOW, 60).await.unwrap();
    use Outcome::{NotFound, Revoked, Unchanged};
    assert_eq!(commit.outcomes, [Revoked(1), NotFound, Revoked(2), Unchanged(1), Revoked(3)]);
    assert_eq!((commit.head, &commit.epoch), (3, &page.epoch));
    assert_eq!(commit.rows.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3]);

    // A target that changes twice in one batch stands once, at its last position, and leaves no hole.
    assert_eq!(
        append(&*store, &[revoke("d", 1), revoke("e", 5000), revoke("d", 6000)]).await,
        [Revoked(5), Revoked(4), Revoked(5)]
    );
    let all = store.read_after(0, 10).await.unwrap();
    assert_eq!((all.head, all.epoch), (5, commit.epoch));
    assert_eq!(all.rows.iter().map(|r| r.seq).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!(all.rows[..3], commit.rows);
}

pub async fn the_same_again_changes_nothing(place: &Place) {
    let store = place.open().await;
    append(&*store, &[revoke("a", 5000), revoke("b", 5000)]).await;
    let before = store.read_after(0, 10).await.unwrap();
    // The same, a shorter one, and one that differs in nothing that matters.
    let other = Revocation { reason: Some("again".into()), source: "another".into(), ..revocation("b", 5000) };
    let again = store.append(&[revoke("a", 5000), revoke("a", 4000), Change::revoke(other)], NOW, 60).await.unwrap();
    assert_eq!(again.outcomes, [Outcome::Unchanged(1), Outcome::Unchanged(1), Outcome::Unchanged(2)]);
    assert_eq!((again.head, again.rows.len()), (2, 0));
    assert_eq!(append(&*store, &[]).await, []);
    assert_eq!(store.read_after(0, 10).await.unwrap().rows, before.rows);
}

pub async fn a_wider_rule_moves_the_row(place: &Place) {
    let store = place.open().await;
    append(&*store, &[revoke("a", 5000), revoke("b", 5000), revoke("c", 5000)]).await;
    assert_eq!(append(&*store, &[revoke("a", 6000)]).await, [Outcome::Revoked(4)]);
    assert_eq!(listed(&*store, 0).await, [entry(2, "b", false), entry(3, "c", false), entry(4, "a", false)]);
    // Several rows of one batch move past each other and past a new one.
    let batch = [revoke("c", 7000), revoke("new", 5000), revoke("b", 7000), revoke("a", 7000)];
    append(&*store, &batch).await;
    assert_eq!(
        listed(&*store, 4).await,
        [entry(5, "c", false), entry(6, "new", false), entry(7, "b", false), entry(8, "a", false)]
    );
    assert_eq!(store.get(id("a")).await.unwrap().unwrap().revocation.exp, Expiry(7000));
    assert_eq!(listed(&*store, 0).await.len(), 4);
}

pub async fn a_lift_leaves_a_tombstone_and_can_be_undone(place: &Place) {
    let store = place.open().await;
    append(&*store, &[revoke("a", 5000), revoke("b", 5000)]).await;
    assert_eq!(append(&*store, &[Change::Lift(id("a"))]).await, [Outcome::Lifted(3)]);
    assert_eq!(listed(&*store, 0).await, [entry(2, "b", false), entry(3, "a", true)]);
    assert!(store.get(id("a")).await.unwrap().unwrap().lifted);
    assert_eq!(append(&*store, &[Change::Lift(id("a"))]).await, [Outcome::NotFound]);
    assert_eq!(append(&*store, &[revoke("a", 100_000)]).await, [Outcome::Revoked(4)]);
    assert!(!store.get(id("a")).await.unwrap().unwrap().lifted);
    assert!(store.get(id("nobody")).await.unwrap().is_none());
}

pub async fn what_is_over_counts_as_absent(place: &Place) {
    let store = place.open().await;
    store.append(&[revoke("a", 2000)], NOW, 60).await.unwrap();
    let late = store.append(&[Change::Lift(id("a"))], 2060, 60).await.unwrap();
    assert_eq!(late.outcomes, [Outcome::NotFound]);
    // Its row still lies there; the new one takes its place.
    assert_eq!(store.append(&[revoke("a", 3000)], 2060, 60).await.unwrap().outcomes, [Outcome::Revoked(2)]);
    assert_eq!(listed(&*store, 0).await, [entry(2, "a", false)]);
}

pub async fn pages_are_in_order_and_bounded(place: &Place) {
    let store = place.open().await;
    let changes: Vec<_> = (0..25).map(|i| revoke(&format!("t{i}"), 5000)).collect();
    append(&*store, &changes).await;
    append(&*store, &[revoke("t3", 6000)]).await;
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = store.read_after(after, 7).await.unwrap();
        assert!(page.rows.len() <= 7);
        assert_eq!(page.head, 26);
        let Some(last) = page.rows.last() else { break };
        after = last.seq;
        seen.extend(page.rows.iter().map(|r| r.seq));
    }
    assert_eq!(seen, (1..=26).filter(|seq| *seq != 4).collect::<Vec<_>>());
    for beyond in [26, 27, u64::MAX] {
        assert!(store.read_after(beyond, 7).await.unwrap().rows.is_empty());
    }
    assert!(store.read_after(0, 0).await.unwrap().rows.is_empty());
    assert_eq!(store.read_after(0, usize::MAX).await.unwrap().rows.len(), 25);
}

pub async fn pruning_deletes_what_is_over_and_nothing_else(place: &Place) {
    let store = place.open().await;
    let never = Change::revoke(revocation("never", Expiry::NEVER.0));
    let changes =
        [revoke("a", 2000), revoke("b", 2001), revoke("c", 2002), never, revoke("d", 1999), revoke("e", 1500)];
    append(&*store, &changes).await;
    append(&*store, &[Change::Lift(id("e")), revoke("a", 9000)]).await;
    let all = ["a", "b", "c", "never", "d", "e", "unknown"].map(id);
    let pruned = |deleted, mut left: Vec<Id>| {
        left.sort_unstable();
        Pruned { deleted, left }
    };
    let prune = async |ids: &[Id], before| {
        let Pruned { deleted, left } = store.prune(ids, before).await.unwrap();
        pruned(deleted, left)
    };
    // What is still there may be over later: whoever asks keeps it. What never ends is not kept in mind.
    assert_eq!(prune(&all, 1499).await, pruned(0, ["a", "b", "c", "d", "e"].map(id).into()));
    assert_eq!(prune(&all[..2], 2001).await, pruned(1, vec![id("a")]));
    assert_eq!(prune(&all, 2001).await, pruned(2, ["a", "c"].map(id).into()));
    assert_eq!(prune(&[], 2001).await, Pruned::default());
    assert_eq!(listed(&*store, 0).await, [entry(3, "c", false), entry(4, "never", false), entry(8, "a", false)]);
    assert_eq!(prune(&all, i64::MAX - 1).await, pruned(2, vec![]));
    assert_eq!(listed(&*store, 0).await, [entry(4, "never", false)]);
    assert_eq!(append(&*store, &[revoke("f", 9000)]).await, [Outcome::Revoked(9)]);
}

pub async fn epoch_and_head_survive_reopening_and_pruning(place: &Place) {
    let store = place.open().await;
    let first = store.append(&[revoke("a", 2000), revoke("b", 2000)], NOW, 60).await.unwrap();
    assert_eq!(store.prune(&[id("a"), id("b")], 5000).await.unwrap().deleted, 2);
    store.close().await;
    let store = place.connect().await.unwrap();
    assert_eq!(store.prepare(false).await.unwrap(), Vec::<String>::new());
    let page = store.read_after(0, 10).await.unwrap();
    assert_eq!((page.epoch, page.head, page.rows.len()), (first.epoch, 2, 0));
    assert_eq!(append(&*store, &[revoke("a", 2000)]).await, [Outcome::Revoked(3)]);
}

const MIGRATIONS: [&str; 6] = ["0001_log", "0002_links", "0003_seen", "0004_epoch", "0005_prune", "0006_audit"];

pub async fn pending_migrations_refuse_until_they_are_applied(place: &Place) {
    let store = place.connect().await.unwrap();
    for _ in 0..2 {
        match store.prepare(false).await {
            Err(StoreError::PendingMigrations(names)) => {
                assert_eq!(names, MIGRATIONS)
            }
            other => panic!("{other:?}"),
        }
    }
    let error = store.append(&[revoke("a", 5000)], NOW, 60).await;
    assert!(matches!(error, Err(StoreError::Absent(_) | StoreError::Refused(_))), "{error:?}");
    assert_eq!(store.prepare(true).await.unwrap(), MIGRATIONS);
    assert_eq!(store.prepare(true).await.unwrap(), Vec::<String>::new());
    assert_eq!(store.prepare(false).await.unwrap(), Vec::<String>::new());
    assert_eq!(append(&*store, &[revoke("a", 5000)]).await, [Outcome::Revoked(1)]);
}

pub async fn a_newer_schema_is_refused(place: &Place) {
    place.open().await.close().await;
    place
        .sql(
            "insert into revocation_hub_migrations (version, description, success, checksum, execution_time)
              select 9999, 'future', success, checksum, 0 from revocation_hub_migrations where version = 1",
        )
        .await;
    let store = place.connect().await.unwrap();
    for migrate in [false, true] {
        let error = store.prepare(migrate).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        assert!(error.to_string().contains("9999") && error.to_string().contains("newer"), "{error}");
    }
}

pub async fn a_lost_log_row_refuses_and_comes_back_with_another_epoch(place: &Place) {
    let store = place.open().await;
    let old = store.append(&[revoke("a", 5000), revoke("b", 5000)], NOW, 60).await.unwrap();
    place.sql("delete from log").await;
    assert!(matches!(store.append(&[revoke("c", 5000)], NOW, 60).await, Err(StoreError::Absent(_))));
    assert!(matches!(store.read_after(0, 9).await, Err(StoreError::Absent(_))));
    store.prepare(false).await.unwrap();
    let new = store.append(&[revoke("c", 5000)], NOW, 60).await.unwrap();
    assert_eq!(new.outcomes, [Outcome::Revoked(3)]);
    assert_ne!(new.epoch, old.epoch);
}

pub async fn hostile_strings_come_back_as_they_went(place: &Place) {
    let store = place.open().await;
    let long = "ä".repeat(200_000);
    let strings = [
        "",
        "null",
        "'; drop table revocation; --",
        "\"quoted\" {a,b} \\N \\ \\u0000 $1 ?1 [1,2]",
        "\u{1}\u{7f}\t\r\n\u{85}\u{2028}\u{feff}",
        "日本語 🔑 \u{202e}rtl e\u{301}",
        "1e999",
        " trailing ",
        &long,
    ];
    let changes: Vec<_> = strings
        .iter()
        .map(|&s| {
            Change::revoke(Revocation {
                target: Target { kind: Kind::Subject, iss: Some(s.into()), value: s.into() },
                issued_before: Some(7),
                exp: Expiry(5000),
                revoked_at: 6,
                reason: Some(s.into()),
                source: s.into(),
                wso2_key: Some(s.into()),
            })
        })
        .collect();
    let commit = store.append(&changes, NOW, 60).await.unwrap();
    assert_eq!(commit.rows.len(), strings.len());
    assert_eq!(store.read_after(0, 100).await.unwrap().rows, commit.rows);
    for row in &commit.rows {
        assert_eq!(store.get(row.id).await.unwrap().as_ref(), Some(row));
    }
    // And they are found again under the lock.
    assert!(append(&*store, &changes).await.iter().all(|o| matches!(o, Outcome::Unchanged(_))));

    // Postgres has no NUL in texts: it may be refused, but never cut off, and it must not harm what comes after.
    match store.append(&[revoke("a\0b", 5000)], NOW, 60).await {
        Ok(_) => assert_eq!(store.get(id("a\0b")).await.unwrap().unwrap().revocation, revocation("a\0b", 5000)),
        Err(error) => assert!(matches!(error, StoreError::Refused(_)), "{error:?}"),
    }
    append(&*store, &[revoke("after", 5000)]).await;
}

pub async fn numbers_come_back_as_they_went(place: &Place) {
    let store = place.open().await;
    let changes: Vec<_> = Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            [(None, i64::MIN, 0), (Some(i64::MAX), i64::MAX, i64::MAX), (Some(-1), i64::MAX - 1, i64::MIN)].map(
                |(issued_before, exp, revoked_at)| {
                    let target = Target { kind, iss: None, value: format!("{exp}") };
                    Change::revoke(Revocation {
                        issued_before,
                        exp: Expiry(exp),
                        revoked_at,
                        target,
                        ..revocation("", 0)
                    })
                },
            )
        })
        .collect();
    let commit = store.append(&changes, NOW, 60).await.unwrap();
    assert_eq!(commit.rows.len(), 24);
    assert_eq!(store.read_after(0, 100).await.unwrap().rows, commit.rows);
}

pub async fn a_large_batch_is_one_commit(place: &Place) {
    let store = place.open().await;
    let changes: Vec<_> = (0..5000).map(|i| revoke(&format!("t{i}"), 5000)).collect();
    let commit = store.append(&changes, NOW, 60).await.unwrap();
    assert_eq!((commit.head, commit.rows.len()), (5000, 5000));
    // Half of them again, wider, and half of them new.
    let changes: Vec<_> = (2500..7500).map(|i| revoke(&format!("t{i}"), 6000)).collect();
    let commit = store.append(&changes, NOW, 60).await.unwrap();
    assert_eq!((commit.head, commit.rows.len()), (10_000, 5000));
    let page = store.read_after(0, 10_000).await.unwrap();
    assert_eq!(page.rows.len(), 7500);
    assert_eq!(page.rows[2500..], commit.rows);
}

pub async fn concurrent_appends_leave_no_gap(place: &Place) {
    let store = place.open().await;
    let tasks: Vec<_> = (0..4)
        .map(|t| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut rows: Vec<Row> = Vec::new();
                for i in 0..10 {
                    let changes = [revoke(&format!("{t}-{i}"), 5000), revoke("shared", 5000 + t * 10 + i)];
                    rows.extend(store.append(&changes, NOW, 60).await.unwrap().rows);
                }
                rows
            })
        })
        .collect();
    let mut positions = Vec::new();
    for task in tasks {
        positions.extend(task.await.unwrap().into_iter().map(|row| row.seq));
    }
    let head = store.read_after(0, 1).await.unwrap().head;
    assert_eq!(positions.len() as u64, head);
    assert_eq!(positions.into_iter().collect::<BTreeSet<_>>(), (1..=head).collect());
    assert_eq!(listed(&*store, 0).await.len(), 41);
}

pub async fn an_append_that_is_dropped_midway_leaves_a_working_store(place: &Place) {
    let store = place.open().await;
    for polls in 1..20 {
        let changes = [revoke(&format!("t{polls}"), 5000)];
        {
            // Dropped after so many steps forward, whether it is done or not.
            let mut future = store.append(&changes, NOW, 60);
            let mut left = polls;
            poll_fn(|cx| {
                let done = Future::poll(future.as_mut(), cx).is_ready();
                left -= 1;
                if done || left == 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
        append(&*store, &[revoke("after", 5000 + polls)]).await;
    }
    let page = store.read_after(0, 100).await.unwrap();
    // "after" moved at each round: every position is a row, or was one of its places.
    assert_eq!(page.rows.last().unwrap().seq, page.head);
    assert_eq!(page.head, page.rows.len() as u64 + 18);
}

pub async fn a_closed_store_says_so(place: &Place) {
    let store = place.open().await;
    append(&*store, &[revoke("a", 5000)]).await;
    store.close().await;
    store.close().await;
    assert!(store.append(&[revoke("b", 5000)], NOW, 60).await.unwrap_err().is_transient());
    assert!(store.read_after(0, 1).await.unwrap_err().is_transient());
    assert!(store.prune(&[], 0).await.unwrap_err().is_transient());
    assert!(store.prepare(false).await.unwrap_err().is_transient());
}

pub async fn an_epoch_is_renewed_once_and_remembered(place: &Place) {
    let store = place.open().await;
    append(&*store, &[revoke("a", 5000), revoke("b", 5000)]).await;
    let first = store.read_after(0, 10).await.unwrap().epoch;
    assert_eq!(store.base(&first).await.unwrap(), None, "it is not over");
    let second = store.renew(&first).await.unwrap();
    assert_ne!(first, second);
    // Another replica saw the same, a moment later.
    assert_eq!(store.renew(&first).await.unwrap(), second);
    assert_eq!(append(&*store, &[revoke("c", 5000)]).await, [Outcome::Revoked(3)]);
    let page = store.read_after(0, 10).await.unwrap();
    assert_eq!((page.epoch, page.head, page.moved), (second.clone(), 3, false));
    assert_eq!(store.base(&first).await.unwrap(), Some(2));
    // A log that has lost rows once more has less in common with every earlier one.
    place.sql("delete from revocation where seq > 1; update log set head = 1").await;
    let third = store.renew(&second).await.unwrap();
    assert_eq!(store.base(&first).await.unwrap(), Some(1));
    assert_eq!(store.base(&second).await.unwrap(), Some(1));
    assert_eq!(store.base(&third).await.unwrap(), None);
    // However often that happens: a thousand are remembered, those that reach farthest, and the one that is just over.
    let old: Vec<String> = (0..1010).map(|n| format!("old{n:05}")).collect();
    let values: Vec<String> = old.iter().map(|epoch| format!("('{epoch}', 1)")).collect();
    place.sql(&format!("insert into former_epoch (epoch, base) values {}", values.join(", "))).await;
    place.sql("update log set head = 0").await;
    store.renew(&third).await.unwrap();
    let mut known = 0;
    for epoch in old.iter().map(|epoch| epoch.parse().unwrap()).chain([first, second]) {
        known += usize::from(store.base(&epoch).await.unwrap().is_some());
    }
    assert_eq!(known, 1000);
    assert_eq!(store.base(&third).await.unwrap(), Some(0));
}

pub async fn what_was_lost_is_put_back_and_what_was_not_stays(place: &Place) {
    let store = place.open().await;
    let names = ["a", "b", "c", "d", "e"];
    append(&*store, &names.map(|name| revoke(name, 5000))).await;
    append(&*store, &[Change::Lift(id("b"))]).await;
    let held = store.read_after(0, 10).await.unwrap();
    place.sql("delete from revocation where seq > 3; update log set head = 3").await;
    store.renew(&held.epoch).await.unwrap();
    append(&*store, &[Change::Lift(id("c"))]).await;
    let base = store.base(&held.epoch).await.unwrap();
    let back: Vec<_> = held.rows.into_iter().map(|row| Change::PutBack(Box::new(PutBack { row, base }))).collect();
    // a was not lost, c was lifted since, d and e were lost; of b nothing is left that the lift could take back.
    let outcomes = append(&*store, &back).await;
    assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Revoked(_))).count(), 2, "{outcomes:?}");
    let after = [entry(1, "a", false), entry(4, "c", true), entry(5, "d", false), entry(6, "e", false)];
    assert_eq!(listed(&*store, 0).await, after);
    append(&*store, &back).await;
    assert_eq!(listed(&*store, 0).await, after, "again, and nothing changes");
}
