//! What only Postgres has to show: several hubs, and a server that goes away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use revocation_hub::revocation::{Expiry, Kind, Revocation, Target};
use revocation_hub::store::{Change, Options, Outcome, Pruned, Store, StoreError, connect};
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
    on_postgres(async |place: &Place| never_skips(place, 15, &[1, 2, 3, 4, 5, 6]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_skips_a_position_while_one_hub_writes_large_batches_beside_each_other() {
    on_postgres(async |place: &Place| never_skips(place, 6, &[600, 0, 700, 0, 2500, 0]).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_skips_a_position_while_two_hubs_write_large_batches_and_small_ones() {
    on_postgres(async |place: &Place| never_skips(place, 6, &[600, 700, 1, 3, 2500, 800]).await).await;
}

/// Each of six tasks, of two hubs in turn, appends so many batches of its size.
async fn never_skips(place: &Place, batches: usize, sizes: &'static [usize; 6]) {
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
                for i in 0..batches {
                    let changes: Vec<_> = (0..sizes[t]).map(|n| revoke(&format!("{t}-{i}-{n}"), 5000)).collect();
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
    let all = (batches * sizes.iter().sum::<usize>()) as u64;
    assert_eq!(reading.await.unwrap(), (1..=all).collect::<Vec<_>>());
}

/// The same server, the same table, and fewer positions: a volume that was rolled back. Whoever has seen more hands out no
/// position again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_went_back_is_not_written_to() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        let many = |name: &str, n: usize| (0..n).map(|i| revoke(&format!("{name}-{i}"), 5000)).collect::<Vec<_>>();
        store.append(&many("a", 5), NOW, 60).await.unwrap();
        let page = store.read_after(0, 10).await.unwrap();
        assert!((page.head, page.moved, page.shrunk) == (5, false, false));
        place.raw().await.execute("delete from revocation where seq > 3; update log set head = 3").await.unwrap();
        // A few new ones, many, very many, and one that is there: each goes another way.
        for changes in [many("b", 1), many("b", 600), many("b", 2500), many("a", 1)] {
            assert!(store.append(&changes, NOW, 60).await.unwrap_err().is_transient());
        }
        let page = store.read_after(0, 10).await.unwrap();
        assert!((page.head, page.rows.len(), page.moved, page.shrunk) == (3, 3, false, true));
        let new = store.renew(&page.epoch).await.unwrap();
        let commit = store.append(&many("b", 1), NOW, 60).await.unwrap();
        assert_eq!((commit.epoch, commit.outcomes), (new, vec![Outcome::Revoked(4)]));
        assert!(!store.read_after(0, 10).await.unwrap().shrunk);
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
        assert_eq!(started.iter().map(|(names, ..)| names.len()).sum::<usize>(), 6);
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
        assert_eq!(store.prune(&[id("1")], 0).await.unwrap().deleted, 0);
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
        let ids = [id("a"), id("b")];
        let left = vec![id("a")];
        assert_eq!(store.prune(&ids, 3000).await.unwrap(), Pruned { deleted: 1, left: left.clone() });
        writer.execute("commit").await.unwrap();
        assert_eq!(store.prune(&ids, 3000).await.unwrap(), Pruned { deleted: 0, left });
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

/// Texts that a line format would have to escape, and every value that may be missing.
fn awkward(n: usize) -> Change {
    let texts = ["", "\t\r\n", r"\N \. \\ \x00", "日本語 🔑 e\u{301}", "\u{1}\u{7f}\u{feff}", "'\"{}$1,", " end "];
    let text = |at: usize| format!("{}{n}", texts[(n + at) % texts.len()]);
    Change::revoke(Revocation {
        target: Target {
            kind: Kind::ALL[n % Kind::ALL.len()],
            iss: n.is_multiple_of(2).then(|| text(0)),
            value: text(1),
        },
        issued_before: n.is_multiple_of(3).then_some(i64::MIN + n as i64),
        exp: Expiry(if n.is_multiple_of(5) { i64::MAX } else { 5000 + n as i64 }),
        revoked_at: -(n as i64),
        reason: (n % 7 > 2).then(|| text(2)),
        source: text(3),
        wso2_key: (n % 11 > 5).then(|| text(4).repeat(100)),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_new_targets_come_back_exactly_as_they_went() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        // One more and one less than what goes another way, after something that takes a position.
        store.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        let mut head = 1;
        for range in [0..1999, 1999..3999, 3999..6500] {
            let changes: Vec<_> = range.map(awkward).collect();
            let commit = store.append(&changes, NOW, 60).await.unwrap();
            assert_eq!(commit.rows.len(), changes.len());
            assert!(commit.outcomes.iter().zip(head + 1..).all(|(o, seq)| *o == Outcome::Revoked(seq)));
            assert_eq!(store.read_after(head, 5000).await.unwrap().rows, commit.rows);
            head += changes.len() as u64;
            assert_eq!(commit.head, head);
        }
        // What the server cannot take refuses all of it, and harms nothing.
        let mut changes: Vec<_> = (0..3000).map(|n| revoke(&format!("b{n}"), 5000)).collect();
        changes[2900] = revoke("a\0b", 5000);
        assert!(matches!(store.append(&changes, NOW, 60).await, Err(StoreError::Refused(_))));
        assert_eq!(store.read_after(0, 1).await.unwrap().head, head);
        changes.truncate(2900);
        assert_eq!(store.append(&changes, NOW, 60).await.unwrap().head, head + 2900);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_known_target_among_many_is_answered_as_what_it_is() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        store.append(&[revoke("t700", 9000), revoke("t800", 4000)], NOW, 60).await.unwrap();
        // Not the same order of answers and positions: one is twice in it, one is known, one becomes wider.
        let mut changes: Vec<_> = (0..3000).map(|n| revoke(&format!("t{n}"), 5000)).collect();
        changes.push(revoke("t0", 6000));
        let commit = store.append(&changes, NOW, 60).await.unwrap();
        assert_eq!((commit.head, commit.rows.len()), (2 + 2999, 2999));
        assert_eq!(commit.outcomes[0], Outcome::Revoked(3001));
        assert_eq!(commit.outcomes[1], Outcome::Revoked(3));
        assert_eq!(commit.outcomes[700], Outcome::Unchanged(1));
        assert_eq!(commit.outcomes[800], Outcome::Revoked(801));
        assert_eq!(commit.outcomes[3000], Outcome::Revoked(3001));
        let page = store.read_after(0, 5000).await.unwrap();
        assert_eq!((page.head, page.rows.len()), (3001, 3000));
        assert_eq!(page.rows[1..], commit.rows);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hubs_with_two_large_batches_each_never_stand_in_each_others_way() {
    on_postgres(async |place: &Place| {
        let hubs = [place.open().await, place.open().await];
        let writing: Vec<_> = (0..4)
            .map(|w| {
                let store = hubs[w % 2].clone();
                tokio::spawn(async move {
                    let mut commits = Vec::new();
                    for i in 0..6 {
                        // Each overlaps with what the others write, in another order; some are all new.
                        let from = if i % 2 == 0 { i * 1200 } else { 100_000 * (w + 1) + i * 4000 };
                        let mut changes: Vec<_> =
                            (from..from + 2400).map(|n| revoke(&n.to_string(), 5000 + w as i64)).collect();
                        changes.rotate_left(600 * w);
                        commits.push(store.append(&changes, NOW, 60).await.unwrap());
                    }
                    commits
                })
            })
            .collect();
        let mut written = Vec::new();
        for task in writing {
            written.extend(task.await.unwrap());
        }
        // Every position was given once, and each commit's stand together.
        written.retain(|commit| !commit.rows.is_empty());
        written.sort_by_key(|commit| commit.head);
        let mut head = 0;
        for commit in &written {
            let positions: Vec<_> = commit.rows.iter().map(|row| row.seq).collect();
            assert_eq!(positions, (head + 1..=commit.head).collect::<Vec<_>>());
            head = commit.head;
        }
        let page = hubs[0].read_after(0, 100_000).await.unwrap();
        assert_eq!(page.head, head);
        // The last row of each target stands, and says the most.
        let last: std::collections::HashMap<_, _> =
            written.iter().flat_map(|c| &c.rows).map(|row| (row.id, row)).collect();
        assert_eq!(page.rows.len(), last.len());
        assert!(page.rows.iter().all(|row| last[&row.id] == row));
        for n in (4800..7200).step_by(7) {
            assert_eq!(hubs[1].get(id(&n.to_string())).await.unwrap().unwrap().revocation.exp.0, 5003);
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_survives_the_loss_of_its_connection_before_the_commit() {
    on_postgres(async |place: &Place| {
        let store = place.open().await;
        let batch = |from: usize| (from..from + 2100).map(|n| revoke(&n.to_string(), 5000)).collect::<Vec<_>>();
        store.append(&batch(0), NOW, 60).await.unwrap();
        let (mut holder, mut watch) = (place.raw().await, place.raw().await);
        holder.execute("begin; select head from log for update").await.unwrap();
        let both: Vec<_> = [2100, 4200]
            .map(|from| {
                let store = store.clone();
                tokio::spawn(async move { store.append(&batch(from), NOW, 60).await })
            })
            .into();
        until_a_hub_waits(&mut watch).await;
        let kill = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database()
            and application_name = 'revocation-hub' and wait_event_type = 'Lock'";
        watch.execute(kill).await.unwrap();
        holder.execute("rollback").await.unwrap();
        // A connection that was made for this very append may not be replaced; then it is an error that says so.
        let mut all = 2100;
        for task in both {
            match task.await.unwrap() {
                Ok(_) => all += 2100,
                Err(error) => assert!(error.is_transient(), "{error:?}"),
            }
        }
        let page = store.read_after(0, 10_000).await.unwrap();
        assert_eq!((page.head, page.rows.len()), (all, all as usize));
        for from in [2100, 4200] {
            store.append(&batch(from), NOW, 60).await.unwrap();
        }
        assert_eq!(store.read_after(0, 10_000).await.unwrap().head, 6300);
    })
    .await;
}
