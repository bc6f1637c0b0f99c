//! A database that comes back older than it was, empty, or as another one, while the hubs go on running. They hold what was
//! acknowledged, so it is all there again, and nobody has to do anything.

use std::path::Path;
use std::process::Command;

use revocation_hub::cli::promise::{Seen, Start};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::harness::*;
use crate::postgres::{Postgres, is_root};
use crate::scene::{program, ready, written};
use crate::tally::{Trial, trials};

/// Two hubs on one database, a client of each, and what was acknowledged.
struct Scene {
    hubs: [Process; 2],
    streams: Vec<Stream>,
    before: Snapshot,
    acks: usize,
}

impl Scene {
    async fn new(place: &Place) -> Self {
        let mut hubs = Vec::new();
        for _ in 0..2 {
            hubs.push(ready(Process::launch_by(program(), &place.url, place, "", &[])).await);
        }
        let before = hubs[0].snapshot().await;
        let mut scene = Self { hubs: hubs.try_into().ok().unwrap(), streams: Vec::new(), before, acks: 0 };
        for n in 0..10 {
            scene.write(&format!("early {n}")).await;
        }
        scene
    }

    async fn write(&mut self, jti: &str) {
        self.acks += 1;
        written(&self.hubs[self.acks % 2], &token(jti)).await;
    }

    /// Writes what the database will not have, and opens the clients' streams.
    async fn writes_more(&mut self) {
        for n in 0..10 {
            self.write(&format!("late {n}")).await;
        }
        self.before = until("both hubs have everything", async || {
            let (one, two) = (self.hubs[0].snapshot().await, self.hubs[1].snapshot().await);
            (one == two && one.map.len() == self.acks).then_some(one)
        })
        .await;
        for hub in &self.hubs {
            let mut stream = hub.stream(Start::Earliest).await;
            stream.follow(&mut Map::new(), self.before.cursor.seq).await;
            self.streams.push(stream);
        }
    }

    /// Everything is there as it was, and `more`; whoever followed is told that the log is another one; both hubs write on.
    async fn is_whole(&mut self, more: &Map) {
        let mut expected = self.before.map.clone();
        expected.extend(more.clone());
        for (hub, stream) in self.hubs.iter().zip(&mut self.streams) {
            stream.until("the reset", |seen, _| matches!(seen, Seen::Reset { .. }).then_some(())).await;
            until("everything is back", async || {
                let now = hub.try_snapshot().await?;
                (now.cursor.epoch != self.before.cursor.epoch && now.map == expected).then_some(())
            })
            .await;
        }
        for n in 0..2 {
            self.write(&format!("after {n}")).await;
        }
        let end = until("both hubs agree", async || {
            let (one, two) = (self.hubs[0].try_snapshot().await?, self.hubs[1].try_snapshot().await?);
            (one == two && one.map.len() == expected.len() + 2).then_some(one)
        })
        .await;
        for hub in &self.hubs {
            assert_eq!(hub.since(&self.before.cursor).await.expect_err("another log").status, 410);
            assert_eq!(hub.since(&end.cursor).await.unwrap().revoked, Map::new());
        }
    }

    /// How many revocations both together have put back.
    async fn put_back(&self) -> f64 {
        let mut sum = 0.0;
        for hub in &self.hubs {
            sum += hub.metric("revocations_put_back_total", "").await;
        }
        sum
    }
}

/// The superuser's own database.
fn admin() -> Place {
    Place { url: postgres_url(), folder: tempfile::tempdir().unwrap() }
}

fn tool(name: &str, arguments: &[&str]) {
    let done = Command::new(name).args(arguments).output().unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
}

/// As docs/backup.md says, and nobody stops a hub for it.
async fn a_dump_is_restored_under_running_hubs(place: &Place) {
    for _ in 0..trials() {
        let trial = Trial::of("pg_restore of an older backup, with hubs running");
        let mut scene = Scene::new(place).await;
        let backup = place.folder.path().join("hub.dump");
        let backup = backup.to_str().unwrap();
        tool("pg_dump", &["--format=custom", "--file", backup, "--dbname", &place.url]);
        scene.writes_more().await;
        let (admin, name) = (admin(), place.database());
        admin.sql(&format!("drop database {name} with (force)")).await;
        admin.sql(&format!("create database {name}")).await;
        // The hubs make tables of their own in the empty database, before or while this is done.
        until("it is restored", async || {
            let restore = ["--clean", "--if-exists", "--single-transaction", "--dbname", &place.url, backup];
            Command::new("pg_restore").args(restore).output().unwrap().status.success().then_some(())
        })
        .await;
        scene.is_whole(&Map::new()).await;
        trial.passed(scene.acks);
        drop(scene);
        place.sql("drop schema public cascade; create schema public").await;
    }
}

/// A copy of the server's files, taken while it was down, is put back as it was: the same system identifier, the same
/// timeline, the same tables. Only the head tells.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_put_back_under_running_hubs() {
    for _ in 0..trials() {
        let trial = Trial::of("volume put back, with hubs running");
        let mut server = Postgres::start().await;
        let place = server.place().await;
        let mut scene = Scene::new(&place).await;
        server.kill();
        let backup = server.data().with_extension("backup");
        copy(&server.data(), &backup);
        server.again().await;
        scene.writes_more().await;
        server.kill();
        std::fs::remove_dir_all(server.data()).unwrap();
        copy(&backup, &server.data());
        server.again().await;
        scene.is_whole(&Map::new()).await;
        // Ten were lost, and the two that were written afterwards are none of them.
        assert_eq!(scene.put_back().await, 10.0);
        trial.passed(scene.acks);
    }
}

fn copy(from: &Path, to: &Path) {
    // Owners are kept where that may be done.
    let how = if is_root() { "-a" } else { "-R" };
    tool("cp", &[how, from.to_str().unwrap(), to.to_str().unwrap()]);
}

/// Puts another database in the place of the one that was there, under open sessions. Returns the name under which that goes on.
async fn replace(name: &str, by: Option<&str>) -> String {
    let admin = admin();
    let away = format!("{name}_away");
    // Nobody gets in between the end of the sessions and the new name.
    admin.sql(&format!("alter database {name} with allow_connections false")).await;
    admin.sql(&format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'")).await;
    admin.sql(&format!("alter database {name} rename to {away}")).await;
    match by {
        Some(other) => admin.sql(&format!("alter database {other} rename to {name}")).await,
        None => admin.sql(&format!("create database {name}")).await,
    }
    away
}

async fn an_empty_database_stands_behind_the_name(place: &Place) {
    for _ in 0..trials() {
        let trial = Trial::of("an empty database behind the name");
        let mut scene = Scene::new(place).await;
        scene.writes_more().await;
        let away = replace(place.database(), None).await;
        scene.is_whole(&Map::new()).await;
        assert_eq!(scene.put_back().await, 20.0);
        trial.passed(scene.acks);
        drop(scene);
        admin().sql(&format!("drop database {away}")).await;
        place.sql("drop schema public cascade; create schema public").await;
    }
}

async fn a_foreign_database_stands_behind_the_name(place: &Place) {
    for number in 0..trials() {
        let trial = Trial::of("a foreign database behind the name");
        let (admin, foreign) = (admin(), format!("{}_foreign_{number}", place.database()));
        admin.sql(&format!("create database {foreign}")).await;
        let mut url = reqwest::Url::parse(&place.url).unwrap();
        url.set_path(&foreign);
        let mut other = ready(Process::launch_by(program(), url.as_str(), place, "", &[])).await;
        for n in 0..3 {
            written(&other, &token(format!("foreign {n}"))).await;
        }
        // Both know this one.
        written(&other, &token("early 0")).await;
        let theirs = other.snapshot().await;
        other.terminate();
        assert!(other.ended().await.success());

        let mut scene = Scene::new(place).await;
        scene.writes_more().await;
        let mut more = theirs.map;
        let away = replace(place.database(), Some(&foreign)).await;
        // What both had is whichever lives longer; it says nothing that matters here.
        more.retain(|id, _| !scene.before.map.contains_key(id));
        assert_eq!(more.len(), 3);
        let shared = scene.before.map.iter().find(|(_, entry)| entry["jti"] == "early 0").unwrap().0.clone();
        let hub = &scene.hubs[0];
        let now = until("the foreign log is taken", async || {
            let now = hub.try_snapshot().await?;
            (now.cursor.epoch == theirs.cursor.epoch && now.map.len() == 23).then_some(now)
        })
        .await;
        scene.before.map.insert(shared.clone(), now.map[&shared].clone());
        scene.is_whole(&more).await;
        trial.passed(scene.acks);
        drop(scene);
        admin.sql(&format!("drop database {away}")).await;
        place
            .postgres()
            .await
            .execute(AssertSqlSafe("drop schema public cascade; create schema public"))
            .await
            .unwrap();
    }
}

on_postgres!(
    a_dump_is_restored_under_running_hubs,
    an_empty_database_stands_behind_the_name,
    a_foreign_database_stands_behind_the_name,
);
