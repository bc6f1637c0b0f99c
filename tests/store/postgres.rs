//! What only Postgres has to show: several hubs, and a server that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use revocation_hub::store::{Options, Outcome, Store, StoreError, connect};
use sqlx::{AssertSqlSafe, Executor, PgConnection, Row};

use crate::place::{NOW, Place, id, on_postgres, options, revoke, until};

/// Waits until a session of a hub stands in the queue for a lock.
async fn until_a_hub_waits(conn: &mut PgConnection) {
    let sql = "select count(*) from pg_stat_activity where datname = current_database()
        and application_name = 'revocation-hub' and wait_event_type = 'Lock'";
    until("a hub waits for the lock", async || {
        let waiting: i64 = conn.fetch_one(sql).await.unwrap().get(0);
        (waiting > 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commit_order_is_position_order() {
    on_postgres(async |place: &Place| {
        let (writer, reader) = (place.open().await, place.open().await);
        writer.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        let mut slow = place.raw().await;
        let mut watch = place.raw().await;
        // A writer that has taken its position and does not get on. With a plain sequence the next one would pass it,
        // and a reader that saw the next one would never look back.
        slow.execute(
            "begin; select head from log for update;
             insert into revocation (seq, id, kind, value, exp, revoked_at, source, lifted)
             values (2, gen_random_uuid(), 1, 'slow', 5000, 1, 'raw', false);
             update log set head = 2",
        )
        .await
        .unwrap();
        let next = tokio::spawn(async move { writer.append(&[revoke("b", 5000)], NOW, 60).await });
        until_a_hub_waits(&mut watch).await;
        let page = reader.read_after(0, 10).await.unwrap();
        assert_eq!((page.head, page.rows.len()), (1, 1));
        assert!(!next.is_finished());
        slow.execute("commit").await.unwrap();
        assert_eq!(next.await.unwrap().unwrap().outcomes, [Outcome::Revoked(3)]);
        let page = reader.read_after(1, 10).await.unwrap();
        let values: Vec<_> = page.rows.iter().map(|r| (r.seq, r.revocation.target.value.as_str())).collect();
        assert_eq!((page.head, values), (3, vec![(2, "slow"), (3, "b")]));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_waited_sees_what_the_other_one_wrote() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        store.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        let (mut slow, mut watch) = (place.raw().await, place.raw().await);
        slow.execute("begin; select head from log for update; update revocation set exp = 9000, seq = 2; update log set head = 2")
            .await
            .unwrap();
        let next = tokio::spawn({
            let store = store.clone();
            async move { store.append(&[revoke("a", 8000)], NOW, 60).await }
        });
        until_a_hub_waits(&mut watch).await;
        slow.execute("commit").await.unwrap();
        // With a snapshot from before the wait it would have shortened the rule to 8000.
        assert_eq!(next.await.unwrap().unwrap().outcomes, [Outcome::Unchanged(2)]);
        assert_eq!(store.get(id("a")).await.unwrap().unwrap().revocation.exp.0, 9000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_skips_a_position_while_two_hubs_write() {
    on_postgres(async |place: &Place| {
        let writers = [place.open().await, place.open().await];
        let reader = place.open().await;
        let done = Arc::new(AtomicBool::new(false));
        let reading = tokio::spawn({
            let done = done.clone();
            async move {
                let mut seen = Vec::new();
                loop {
                    let last = done.load(Ordering::SeqCst);
                    let after = seen.last().copied().unwrap_or(0);
                    let page = reader.read_after(after, 7).await.unwrap();
                    let full = page.rows.len() == 7;
                    assert!(page.rows.last().is_none_or(|row| row.seq <= page.head));
                    assert!(full || page.rows.last().map_or(after, |row| row.seq) == page.head);
                    seen.extend(page.rows.into_iter().map(|row| row.seq));
                    if last && !full {
                        return seen;
                    }
                }
            }
        });
        let writing: Vec<_> = (0..6)
            .map(|t| {
                let store = writers[t % 2].clone();
                tokio::spawn(async move {
                    for i in 0..15 {
                        let changes: Vec<_> = (0..=t).map(|n| revoke(&format!("{t}-{i}-{n}"), 5000)).collect();
                        store.append(&changes, NOW, 60).await.unwrap();
                    }
                })
            })
            .collect();
        for task in writing {
            task.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        // No row ever moved, so every position is there, in order, once.
        assert_eq!(reading.await.unwrap(), (1..=15 * 21).collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hubs_that_start_together_apply_each_migration_once() {
    on_postgres(async |place: &Place| {
        let starting: Vec<_> = (0..4)
            .map(|_| {
                let url = place.url.clone();
                tokio::spawn(async move {
                    let store = connect(&url, &options()).await.unwrap();
                    let names = store.prepare(true).await.unwrap();
                    (names, store.read_after(0, 1).await.unwrap().epoch, store)
                })
            })
            .collect();
        let mut started = Vec::new();
        for task in starting {
            started.push(task.await.unwrap());
        }
        assert_eq!(started.iter().map(|(names, ..)| names.len()).sum::<usize>(), 3);
        assert_eq!(started.iter().filter(|(names, ..)| !names.is_empty()).count(), 1);
        assert!(started.iter().all(|(_, epoch, _)| *epoch == started[0].1));
    })
    .await;
}

/// Waits until somebody listens.
async fn until_one_listens(conn: &mut PgConnection) {
    until("somebody listens", async || {
        let sql = "select count(*) from pg_stat_activity
            where datname = current_database() and query like 'LISTEN%' and state = 'idle'";
        let listening: i64 = conn.fetch_one(sql).await.unwrap().get(0);
        (listening > 0).then_some(())
    })
    .await;
}

async fn hint(store: &Arc<dyn Store>) {
    tokio::time::timeout(Duration::from_secs(30), store.hints().notified()).await.expect("a hint");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_is_a_hint_to_the_other_hub_and_so_is_a_lost_connection() {
    on_postgres(async |place: &Place| {
        let quiet = connect(&place.url, &Options { listen_notify: false, ..options() }).await.unwrap();
        quiet.prepare(true).await.unwrap();
        let store = place.open().await;
        let mut conn = place.raw().await;
        until_one_listens(&mut conn).await;
        // The first hint: listening has begun.
        hint(&store).await;
        let other = connect(&place.url, &options()).await.unwrap();
        other.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        hint(&store).await;
        let kill = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and query like 'LISTEN%'";
        conn.execute(kill).await.unwrap();
        hint(&store).await;
        until_one_listens(&mut conn).await;
        // The loss and the return are two hints, unless nobody took the first one in between.
        let _ = store.hints().notified().now_or_never();
        other.append(&[revoke("b", 5000)], NOW, 60).await.unwrap();
        hint(&store).await;
        // Without NOTIFY there is no hint in either direction.
        let hints = quiet.hints();
        assert!(hints.notified().now_or_never().is_none());
        store.close().await;
        until("nobody listens any more", async || {
            let sql = "select count(*) from pg_stat_activity where datname = current_database() and query like '%LISTEN%' and pid <> pg_backend_pid()";
            let left: i64 = conn.fetch_one(sql).await.unwrap().get(0);
            (left == 0).then_some(())
        })
        .await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_connections_heal_without_an_error() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        let mut conn = place.raw().await;
        let kill = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
        for i in 1..=5 {
            assert_eq!(store.append(&[revoke(&i.to_string(), 5000)], NOW, 60).await.unwrap().outcomes, [Outcome::Revoked(i)]);
            assert_eq!(store.read_after(0, 10).await.unwrap().head, i);
            conn.execute(kill).await.unwrap();
        }
        assert!(store.get(id("1")).await.unwrap().is_some());
        assert_eq!(store.prune(0, 10).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_log_row_ends_in_unavailable_and_nothing_is_left_locked() {
    on_postgres(async |place: &Place| {
        place.open().await.close().await;
        let store = connect(&place.url, &Options { timeout: Duration::from_millis(300), ..options() }).await.unwrap();
        let mut holder = place.raw().await;
        holder.execute("begin; select head from log for update").await.unwrap();
        let error = store.append(&[revoke("a", 5000)], NOW, 60).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        // Reading goes on meanwhile.
        assert_eq!(store.read_after(0, 10).await.unwrap().head, 0);
        holder.execute("rollback").await.unwrap();
        let outcomes = until("the append gets through", async || {
            store.append(&[revoke("a", 5000)], NOW, 60).await.ok().map(|commit| commit.outcomes)
        })
        .await;
        // What was given up on may still have been committed: the error promised nothing either way.
        assert!(matches!(outcomes[..], [Outcome::Revoked(1) | Outcome::Unchanged(1)]), "{outcomes:?}");
        assert_eq!(store.read_after(0, 10).await.unwrap().head, 1);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pruning_waits_for_nobody() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        store.append(&[revoke("a", 2000), revoke("b", 2000)], NOW, 60).await.unwrap();
        let mut writer = place.raw().await;
        writer
            .execute("begin; select head from log for update; update revocation set exp = 9000 where value = 'a'")
            .await
            .unwrap();
        assert_eq!(store.prune(3000, 10).await.unwrap(), 1);
        writer.execute("commit").await.unwrap();
        assert_eq!(store.prune(3000, 10).await.unwrap(), 0);
        assert!(store.get(id("a")).await.unwrap().is_some());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_means_on_disk_whatever_the_server_says() {
    on_postgres(async |place: &Place| {
        let mut conn = place.raw().await;
        let name: String = conn.fetch_one("select current_database()").await.unwrap().get(0);
        for (set, want) in [("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")] {
            conn.execute(AssertSqlSafe(format!("alter database {name} set synchronous_commit = {set}"))).await.unwrap();
            let store = place.open().await;
            // The session tells it itself, by a trigger that notes what it commits under.
            conn.execute(
                "create table if not exists noted (setting text);
                 create or replace function note() returns trigger language plpgsql as $$ begin
                     delete from noted; insert into noted values (current_setting('synchronous_commit')); return null; end $$;
                 create or replace trigger note after update on log execute function note()",
            )
            .await
            .unwrap();
            store.append(&[revoke(set, 5000)], NOW, 60).await.unwrap();
            assert_eq!(conn.fetch_one("select setting from noted").await.unwrap().get::<String, _>(0), want);
            store.close().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_tell_what_passes_from_what_needs_a_person() {
    on_postgres(async |place: &Place| {
        let start = place.url.find("://").unwrap() + 3;
        let host = place.url[start..].split('@').next_back().unwrap().to_owned();
        for url in [format!("postgres://nobody_here@{host}"), place.url.replace("hub_test_", "no_such_")] {
            let store = connect(&url, &options()).await.unwrap();
            let error = store.prepare(true).await.unwrap_err();
            assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
        }
        let nowhere = connect("postgres://u:s3cret@127.0.0.1:1/d", &options()).await.unwrap();
        for error in [nowhere.prepare(true).await.unwrap_err(), nowhere.read_after(0, 1).await.unwrap_err()] {
            assert!(error.is_transient(), "{error:?}");
            assert!(!error.to_string().contains("s3cret"));
        }
        // A server that has become read-only (a failover in progress) passes too.
        let store = place.open().await;
        place
            .sql(&format!(
                "alter database {} set default_transaction_read_only = on",
                place.url.rsplit('/').next().unwrap()
            ))
            .await;
        let fresh = place.connect().await.unwrap();
        assert!(fresh.append(&[revoke("a", 5000)], NOW, 60).await.unwrap_err().is_transient());
        store.close().await;
    })
    .await;
}
