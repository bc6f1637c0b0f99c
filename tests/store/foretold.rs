//! Large batches that Postgres works on beside each other, when what was foretold does not come true.

use std::sync::Arc;

use revocation_hub::store::{Change, Commit, Outcome, Store, StoreError};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};
use tokio::task::JoinHandle;

use crate::place::{NOW, Place, id, on_postgres, revoke, until};

/// Enough to go beside others.
const LARGE: usize = 1000;

fn batch(name: &str) -> Vec<Change> {
    (0..LARGE).map(|n| revoke(&format!("{name}-{n}"), 5000)).collect()
}

fn append(store: &Arc<dyn Store>, changes: Vec<Change>) -> JoinHandle<Result<Commit, StoreError>> {
    let store = store.clone();
    tokio::spawn(async move { store.append(&changes, NOW, 60).await })
}

/// Begins a transaction that has the row of a target, so that whoever writes it too has to wait.
async fn hold(conn: &mut PgConnection, value: &str) {
    let insert = format!(
        "begin; insert into revocation (seq, id, kind, value, exp, revoked_at, source, lifted)
            values (1000000, '{}', 1, '{value}', 9000, 1, 'raw', false)",
        id(value)
    );
    conn.execute(AssertSqlSafe(insert)).await.unwrap();
}

/// Waits until a hub waits for another session.
async fn until_a_hub_waits(conn: &mut PgConnection) {
    until("a hub waits", async || {
        let there: i64 = conn.fetch_one(AssertSqlSafe(format!("select count(*) {WAITING}"))).await.unwrap().get(0);
        (there > 0).then_some(())
    })
    .await;
}

const WAITING: &str = "from pg_stat_activity
    where datname = current_database() and application_name = 'revocation-hub' and wait_event_type = 'Lock'";

async fn deadlocks(conn: &mut PgConnection) -> i64 {
    conn.fetch_one("select deadlocks from pg_stat_database where datname = current_database()").await.unwrap().get(0)
}

/// Every position up to the head once, and as many of them as there are targets.
async fn gap_free(store: &dyn Store, head: u64) {
    let page = store.read_after(0, 1_000_000).await.unwrap();
    assert_eq!(page.head, head);
    assert!(page.rows.iter().map(|row| row.seq).eq(1..=head));
}

fn positions(outcomes: &[Outcome]) -> Vec<u64> {
    outcomes.iter().filter_map(|o| if let Outcome::Revoked(seq) = o { Some(*seq) } else { None }).collect()
}

/// One of them is refused, because a target of its was there; then those after it get other positions than were foretold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_batch_before_fails_the_next_one_gets_other_positions() {
    on_postgres(async |place: &Place| {
        let mut head = 0;
        for round in 0..20 {
            let there = format!("{round}-1-500");
            let first = place.open().await.append(&[revoke(&there, 5000)], NOW, 60).await.unwrap();
            assert_eq!(first.outcomes, [Outcome::Revoked(head + 1)]);
            // A store that has met no target twice yet and foretells again.
            let store = place.open().await;
            let batches: Vec<_> = (0..4).map(|n| append(&store, batch(&format!("{round}-{n}")))).collect();
            let mut all = Vec::new();
            for (n, batch) in batches.into_iter().enumerate() {
                let commit = batch.await.unwrap().unwrap();
                let own = positions(&commit.outcomes);
                assert!(own.is_sorted() && own.len() == LARGE - usize::from(n == 1));
                assert!(commit.rows.iter().map(|row| row.seq).eq(own.iter().copied()));
                assert_eq!(commit.head, *own.last().unwrap());
                all.extend(own);
            }
            all.sort_unstable();
            let new = head + 4 * LARGE as u64;
            assert!(all.into_iter().eq(head + 2..=new), "each position once");
            head = new;
            store.close().await;
        }
        gap_free(&*place.open().await, head).await;
    })
    .await;
}

/// One hub has the lock and waits for a position that the other one has written, and that one waits for a target.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_the_lock_waits_only_for_a_moment() {
    on_postgres(async |place: &Place| {
        let (one, two) = (place.open().await, place.open().await);
        let (mut other, mut watch) = (place.raw().await, place.raw().await);
        hold(&mut other, "a-999").await;
        let large = append(&one, batch("a"));
        until_a_hub_waits(&mut watch).await;
        // It waits for a row that is not coming free, first without and then with the lock.
        assert!(!large.is_finished());
        other.execute("rollback").await.unwrap();
        let small = two.append(&[revoke("small", 5000)], NOW, 60).await.unwrap();
        let large = large.await.unwrap().unwrap();
        let mut all = positions(&large.outcomes);
        all.extend(positions(&small.outcomes));
        all.sort_unstable();
        assert!(all.into_iter().eq(1..=LARGE as u64 + 1));
        gap_free(&*two, LARGE as u64 + 1).await;
        assert_eq!(deadlocks(&mut watch).await, 0);
    })
    .await;
}

/// Replicas that load the same list, or hear of the same through a broker, write the same targets at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_are_told_the_same_at_the_same_time_do_not_wait_for_each_other() {
    on_postgres(async |place: &Place| {
        let hubs = [place.open().await, place.open().await, place.open().await];
        for round in 0..10 {
            let mut running = Vec::new();
            for (n, hub) in hubs.iter().enumerate() {
                let (mut changes, mut more) = (batch(&format!("{round}")), batch(&format!("{round}-also")));
                // In an order of their own.
                changes.rotate_left(n * 300);
                more.rotate_left(LARGE - n * 300 - 1);
                running.extend([append(hub, changes), append(hub, more)]);
            }
            let mut new = 0;
            for batch in running {
                let outcomes = batch.await.unwrap().unwrap().outcomes;
                new += positions(&outcomes).len();
                assert!(outcomes.iter().all(|o| matches!(o, Outcome::Revoked(_) | Outcome::Unchanged(_))));
            }
            assert_eq!(new, 2 * LARGE, "each target is new to one of them");
        }
        gap_free(&*hubs[0], 20 * LARGE as u64).await;
        assert_eq!(deadlocks(&mut place.raw().await).await, 0);
    })
    .await;
}

/// The session of a batch dies; nothing is there twice or half, and other batches are not harmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_dies_takes_nothing_with_it() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        let (mut other, mut watch) = (place.raw().await, place.raw().await);
        hold(&mut other, "a-500").await;
        let first = append(&store, batch("a"));
        until_a_hub_waits(&mut watch).await;
        let second = append(&store, batch("b"));
        watch.execute(AssertSqlSafe(format!("select pg_terminate_backend(pid, 10000) {WAITING}"))).await.unwrap();
        other.execute("rollback").await.unwrap();
        for (batch, name) in [(first, "a"), (second, "b")] {
            match batch.await.unwrap() {
                Ok(commit) => assert_eq!(positions(&commit.outcomes).len(), LARGE),
                // Whose session it was is told so, and repeats it.
                Err(error) => {
                    assert!(error.is_transient(), "{error:?}");
                    store.append(&self::batch(name), NOW, 60).await.unwrap();
                }
            }
        }
        gap_free(&*store, 2 * LARGE as u64).await;
    })
    .await;
}
