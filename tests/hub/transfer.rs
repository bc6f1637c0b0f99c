//! The log as a file: from one store to another, and back from a backup.

use std::process::{Command, Output};

use revocation_hub::clock::Clock;
use serde_json::json;

use crate::harness::{NOW, Place, TestHub, on_sqlite, until};

/// Runs the program on a database.
fn run(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
    let at = if arguments[0] == "epoch" { 2 } else { 1 };
    command.args(&arguments[..at]).args(["--database-url", url]).args(&arguments[at..]);
    command.output().unwrap()
}

#[track_caller]
fn good(output: Output) -> String {
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[track_caller]
fn bad(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// Years from now by anybody's clock: the program has the system's.
fn far(jti: &str) -> serde_json::Value {
    json!({"jti": jti, "iss": "https://sts", "exp": NOW + 1_000_000_000, "reason": "a \"reason\""})
}

/// From SQLite to Postgres, with the old hub running, and a second round for what came in meanwhile.
async fn everything_moves_from_one_store_to_the_other(place: &Place) {
    on_sqlite(async |old| {
        let mut config = old.config();
        config.keep_opaque = true;
        let hub = TestHub::start(config, Clock::manual(NOW)).await;
        let gone = hub.revoke(&far("lifted")).await;
        let later = hub.revoke(&far("lifted later")).await;
        hub.revoke(&far("stays")).await;
        hub.revoke(&json!({"token": "opaque-token", "ttl": 1_000_000_000})).await;
        hub.revoke(&json!({"sub": "someone", "issued_before": NOW - 7, "ttl": 1_000_000_000})).await;
        hub.lift(&gone).await;

        let file = place.folder.path().join("revocations.ndjson");
        let path = file.to_str().unwrap();
        good(run(&old.url, &["export", "--output", path]));
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "it can hold tokens");
        assert!(bad(run(&old.url, &["export", "--output", path])).contains("--force"));
        // A file that was cut off, or is none, changes nothing.
        let text = std::fs::read_to_string(&file).unwrap();
        let hostile = text.replace("a \\\"reason\\\"", "\\u0007");
        assert_ne!(hostile, text);
        let cut = text.rsplit_once("\n{").unwrap().0;
        for (at, broken) in [cut, "{}", &text[..text.len() / 2], &hostile].into_iter().enumerate() {
            let broken_file = place.folder.path().join(format!("broken{at}"));
            std::fs::write(&broken_file, broken).unwrap();
            bad(run(&place.url, &["import", broken_file.to_str().unwrap()]));
        }

        // Into a database that nobody has used yet, and once more, with hubs on it.
        assert_eq!(good(run(&place.url, &["import", path])), "revoked 4, unchanged 0, lifted 0, expired 0");
        let new = TestHub::start(place.config(), Clock::manual(NOW)).await;
        assert_eq!(new.snapshot().await.map, hub.snapshot().await.map, "as they were");
        hub.lift(&later).await;
        hub.revoke(&far("new")).await;
        let map = hub.snapshot().await.map;
        let wso2 = hub.get("/internal/data/v1/revokedjwt").await;
        assert!(wso2.text().contains("opaque-token"));
        hub.stop().await;
        good(run(&old.url, &["export", "--output", path, "--force"]));
        assert_eq!(good(run(&place.url, &["import", path])), "revoked 1, unchanged 3, lifted 1, expired 0");
        until("the hub there has heard of it", async || (new.snapshot().await.map == map).then_some(())).await;
        let mut both = [wso2.json(), new.get("/internal/data/v1/revokedjwt").await.json()];
        both.iter_mut().for_each(|list| list.as_array_mut().unwrap().sort_by_key(|entry| entry.to_string()));
        assert_eq!(both[0], both[1]);
        assert_eq!(good(run(&place.url, &["import", path])), "revoked 0, unchanged 4, lifted 0, expired 0");
        // And back, through a pipe.
        let text = good(run(&place.url, &["export"]));
        assert_eq!(text.lines().count(), 2 + 5, "with the one tombstone");
    })
    .await;
}

/// No hub runs on a database that was restored on another server, so the import gives the log its new epoch.
async fn an_import_into_a_log_that_has_moved_renews_its_epoch(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&far("there")).await;
    let before = hub.snapshot().await.cursor;
    hub.stop().await;
    let file = place.folder.path().join("log.ndjson");
    let path = file.to_str().unwrap();
    good(run(&place.url, &["export", "--output", path]));
    place.sql("update log set home = 'another server'; delete from revocation; update log set head = 0").await;
    let imported = run(&place.url, &["import", path]);
    assert!(String::from_utf8_lossy(&imported.stderr).contains("it has the epoch"));
    assert_eq!(good(imported), "revoked 1, unchanged 0, lifted 0, expired 0");
    assert_eq!(good(run(&place.url, &["import", path])), "revoked 0, unchanged 1, lifted 0, expired 0");
    let after = place.hub().await.snapshot().await;
    assert_eq!((after.cursor.seq, after.map.len()), (before.seq, 1));
    assert_ne!(after.cursor.epoch, before.epoch, "the same position means something else");
}

/// A copy of the file is put back while the hub is down, and its operator says so.
async fn the_epoch_is_renewed_by_hand(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&far("a")).await;
    let before = hub.snapshot().await;
    let shown = good(run(&place.url, &["epoch", "show"]));
    assert_eq!(shown, format!("epoch {}, head 1", before.cursor.epoch));
    if !place.is_postgres() {
        // The file belongs to the hub.
        assert!(bad(run(&place.url, &["epoch", "renew"])).contains("in use"));
        hub.stop().await;
        let renewed = good(run(&place.url, &["epoch", "renew"]));
        assert_ne!(renewed, shown);
        let hub = place.hub().await;
        let after = hub.snapshot().await;
        assert_eq!(renewed, format!("epoch {}, head 1", after.cursor.epoch));
        assert_eq!(after.map, before.map);
        return;
    }
    let renewed = good(run(&place.url, &["epoch", "renew"]));
    let after = until("the hub has heard of it", async || {
        let now = hub.try_snapshot().await?;
        (now.cursor.epoch != before.cursor.epoch).then_some(now)
    })
    .await;
    assert_eq!(renewed, format!("epoch {}, head 1", after.cursor.epoch));
    assert_eq!(after.map, before.map);
}

/// As `docs/backup.md` says.
async fn a_backup_is_restored_and_no_cursor_from_before_is_taken_for_another(place: &Place) {
    let hub = place.hub().await;
    let kept = hub.revoke(&far("kept")).await;
    let backup = place.folder.path().join("backup");
    let backup = backup.to_str().unwrap();
    let tool = |name: &str, arguments: &[&str]| {
        let done = Command::new(name).args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    };
    if place.is_postgres() {
        tool("pg_dump", &["--format=custom", "--file", backup, "--dbname", &place.url]);
    } else {
        place.sql(&format!("vacuum into '{backup}'")).await;
    }
    hub.revoke(&far("lost with the database, and with every hub")).await;
    let before = hub.snapshot().await.cursor;
    hub.stop().await;
    if place.is_postgres() {
        // In place of `dropdb` and `createdb`: the test's database belongs to the harness.
        place.sql("drop schema public cascade; create schema public").await;
        tool("pg_restore", &["--dbname", &place.url, backup]);
    } else {
        std::fs::copy(backup, place.file()).unwrap();
        good(run(&place.url, &["epoch", "renew"]));
    }
    let hub = place.hub().await;
    let new = hub.revoke(&far("new")).await;
    let after = hub.snapshot().await;
    assert_eq!((after.cursor.seq, after.map.keys().collect::<Vec<_>>().len()), (before.seq, 2));
    assert!(after.map.contains_key(&kept) && after.map.contains_key(&new));
    assert_ne!(after.cursor.epoch, before.epoch);
    assert_eq!(hub.since(&before).await.unwrap_err().status, 410);
}

both_stores!(the_epoch_is_renewed_by_hand, a_backup_is_restored_and_no_cursor_from_before_is_taken_for_another,);
on_postgres!(everything_moves_from_one_store_to_the_other, an_import_into_a_log_that_has_moved_renews_its_epoch,);
