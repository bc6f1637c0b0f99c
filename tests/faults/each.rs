//! One fault at a time. While the store is away, streams stay open and are told nothing new, reading is answered from memory,
//! bookmarks stop, and writing is refused in time; when it is back everything heals by itself, and nothing is lost.

use std::time::Duration;

use revocation_hub::cli::promise::{Promise, Start};
use sqlx::{AssertSqlSafe, Executor as _};

use crate::harness::*;
use crate::postgres::Postgres;
use crate::scene::{Scene, bound, hub_by, program, ready, written};
use crate::tally::{Trial, trials};

/// Breaks the wire in one way, again and again.
async fn by_wire(place: &Place, fault: &str, how: Wire) {
    let wire = Proxy::new(place).await;
    let mut scene = Scene::new(hub_by(program(), &wire, place).await).await;
    for _ in 0..trials() {
        let trial = Trial::of(fault);
        wire.set(how);
        scene.away().await;
        wire.set(Wire::Good);
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

async fn connections_are_refused(place: &Place) {
    by_wire(place, "Postgres refuses connections", Wire::Refused).await;
}

async fn connections_are_cut(place: &Place) {
    by_wire(place, "connections are reset", Wire::Cut).await;
}

async fn the_network_swallows_everything(place: &Place) {
    by_wire(place, "Postgres accepts and says nothing", Wire::Mute).await;
}

/// A slow store is no broken one: everything goes on, only later.
async fn every_packet_is_late(place: &Place) {
    let wire = Proxy::new(place).await;
    let mut scene = Scene::new(hub_by(program(), &wire, place).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("packets are delayed");
        wire.set(Wire::Slow(Duration::from_millis(60)));
        for _ in 0..5 {
            scene.write().await;
        }
        scene.caught_up().await;
        assert!(scene.hub.is_ready().await);
        wire.set(Wire::Good);
        trial.passed(scene.acks());
    }
}

/// Every connection goes dead without a word, as when a firewall forgets them. New ones are good, so that one wait is all it
/// costs, however many there were.
async fn established_connections_become_holes(place: &Place) {
    let wire = Proxy::new(place).await;
    let mut scene = Scene::new(hub_by(program(), &wire, place).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("half-open connections");
        // Those of a wait that has just ended in vain may be gone already.
        until("there are connections", async || (wire.swallow(|_| true) > 0).then_some(())).await;
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

/// What a primary that has become a standby says to those who write.
async fn the_database_becomes_read_only(place: &Place) {
    let mut scene = Scene::new(ready(Process::launch_by(program(), &place.url, place, "", &[])).await).await;
    let admin = Place { url: postgres_url(), folder: tempfile::tempdir().unwrap() };
    let name = place.database();
    for _ in 0..trials() {
        let trial = Trial::of("read-only");
        for read_only in ["on", "off"] {
            admin.sql(&format!("alter database {name} set default_transaction_read_only = {read_only}")).await;
            admin
                .sql(&format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'"))
                .await;
            if read_only == "on" {
                // It can be read, so it is current, and ready.
                scene.refuses().await;
                scene.reads().await;
                scene.caught_up().await;
                scene.hub.until_ready().await;
            }
        }
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

/// Others have taken every connection that there is.
async fn connections_run_out(place: &Place) {
    let admin = Place { url: postgres_url(), folder: tempfile::tempdir().unwrap() };
    let (name, role) = (place.database(), format!("limited_{}", place.database()));
    admin.sql(&format!("create role {role} login; alter database {name} owner to {role}")).await;
    admin.sql(&format!("grant all on database {name} to {role}")).await;
    let mut url = reqwest::Url::parse(&place.url).unwrap();
    url.set_username(&role).unwrap();
    let limited = Place { url: url.into(), folder: tempfile::tempdir().unwrap() };
    let mut scene = Scene::new(ready(Process::launch_by(program(), &limited.url, &limited, "", &[])).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("out of connections");
        admin.sql(&format!("alter role {role} connection limit 0")).await;
        admin
            .sql(&format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = '{role}'"))
            .await;
        scene.away().await;
        admin.sql(&format!("alter role {role} connection limit -1")).await;
        scene.healed().await;
        trial.passed(scene.acks());
    }
    drop(scene);
    admin.sql(&format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where usename = '{role}'")).await;
    admin.sql(&format!("alter database {name} owner to postgres")).await;
    let mut conn = place.postgres().await;
    let sql = format!("reassign owned by {role} to postgres; drop owned by {role}; drop role {role}");
    conn.execute(AssertSqlSafe(sql)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_killed() {
    let mut server = Postgres::start().await;
    let place = server.place().await;
    let mut scene = Scene::new(ready(Process::launch_by(program(), &place.url, &place, "", &[])).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("kill -9 of Postgres");
        server.kill();
        scene.away().await;
        server.again().await;
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_frozen() {
    let server = Postgres::start().await;
    let place = server.place().await;
    let mut scene = Scene::new(ready(Process::launch_by(program(), &place.url, &place, "", &[])).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("SIGSTOP of Postgres");
        server.freeze();
        scene.away().await;
        server.thaw();
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

/// One of two hubs is gone, or stands still. Clients that it had go to the other one with their cursors, and those who
/// stayed on one that only stood still miss nothing.
async fn one_of_two_hubs(place: &Place, fault: &str, killed: bool) {
    for _ in 0..trials() {
        let trial = Trial::of(fault);
        let mut hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
        let other = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
        let (mut stays, mut stayed) = (hub.stream(Start::Earliest).await, Map::new());
        let (mut goes, mut went) = (hub.stream(Start::Earliest).await, Map::new());
        let mut acknowledged = Vec::new();
        for n in 0..10 {
            let writer = if n % 2 == 0 { &hub } else { &other };
            acknowledged.push(written(writer, &token(rand::random::<u64>())).await);
        }
        let seq = hub.snapshot().await.cursor.seq;
        stays.follow(&mut stayed, seq).await;
        goes.follow(&mut went, seq).await;
        if killed {
            hub.kill();
        } else {
            hub.signal("STOP");
        }
        let mut goes = other.resume(goes.into_promise(), Ask::Header).await;
        for _ in 0..10 {
            acknowledged.push(written(&other, &token(rand::random::<u64>())).await);
        }
        let now = other.snapshot().await;
        goes.follow(&mut went, now.cursor.seq).await;
        assert_eq!(went, now.map);
        if killed {
            hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
            stays = hub.resume(stays.into_promise(), Ask::Query).await;
        } else {
            hub.signal("CONT");
        }
        stays.follow(&mut stayed, now.cursor.seq).await;
        assert_eq!(stayed, now.map);
        hub.until_ready().await;
        assert_eq!(hub.snapshot().await, now);
        for id in &acknowledged {
            assert!(now.map.contains_key(id), "acknowledged and lost: {id}");
        }
        trial.passed(acknowledged.len());
    }
}

/// Thousands of writes wait while the database says nothing. Each is told so in time: nobody waits for those in front, batch
/// after batch, each for as long as the store may take.
async fn a_deep_queue_is_answered_in_time(place: &Place) {
    const POSTS: usize = 60;
    const ITEMS: usize = 800;
    let timeout = Duration::from_secs(2);
    let wire = Proxy::new(place).await;
    let mut command = program();
    command.env("REVOCATION_HUB_STORE__TIMEOUT", humantime::format_duration(timeout).to_string());
    command.env("REVOCATION_HUB_FEED__MAX_LAG", "3s");
    let mut scene = Scene::new(hub_by(command, &wire, place).await).await;
    for trial_number in 0..trials() {
        let trial = Trial::of("the same, with a deep queue of writes");
        wire.set(Wire::Mute);
        let mut posts = tokio::task::JoinSet::new();
        let mut names = Vec::new();
        for post in 0..POSTS {
            let jtis: Vec<String> = (0..ITEMS).map(|n| format!("deep {trial_number} {post} {n}")).collect();
            let lines: Vec<_> = jtis.iter().map(token).collect();
            names.extend(jtis);
            let api = Api::clone(&scene.hub);
            posts.spawn(async move {
                let began = tokio::time::Instant::now();
                let answer = api.post_lines(&lines).await;
                (answer, began.elapsed())
            });
        }
        // Twelve batches, each of which would cost store.timeout.
        while let Some(done) = posts.join_next().await {
            let (answer, took) = done.unwrap();
            assert_eq!((answer.status, &*answer.code()), (503, "store_unavailable"));
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
            assert!(took < bound(timeout), "{took:?}");
        }
        scene.away().await;
        wire.set(Wire::Good);
        scene.may_be_there(names);
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

/// `kill -9` in the middle of writing, on the store that has only this hub.
async fn a_hub_on_sqlite_is_killed(place: &Place) {
    let mut acknowledged = Vec::new();
    let mut hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
    let (mut promise, mut map) = (Promise::new(Start::Earliest), Map::new());
    for trial_number in 0..trials() {
        let trial = Trial::of("kill -9 of the hub on SQLite");
        let mut stream = hub.resume(promise, Ask::Header).await;
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let api = Api::clone(&hub);
            writers.spawn(async move {
                let mut ids = Vec::new();
                for n in 0.. {
                    match api.try_post(&token(format!("{trial_number} {writer} {n}"))).await {
                        Ok(answer) if answer.status == 503 => {}
                        Ok(answer) => ids.push(answer.expect(201).json()["id"].as_str().unwrap().to_owned()),
                        Err(_) => break,
                    }
                }
                ids
            });
        }
        let head = hub.metric("head", "").await;
        until("there are many", async || (hub.metric("head", "").await > head + 100.0).then_some(())).await;
        hub.kill();
        let before = acknowledged.len();
        acknowledged.extend(writers.join_all().await.into_iter().flatten());
        while let Got::Event(seen, _) = stream.next().await {
            fold(&mut map, &seen);
        }
        hub = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
        let now = hub.snapshot().await;
        for id in &acknowledged {
            assert!(now.map.contains_key(id), "acknowledged and lost: {id}");
        }
        let mut stream = hub.resume(stream.into_promise(), Ask::Header).await;
        stream.follow(&mut map, now.cursor.seq).await;
        assert_eq!(map, now.map);
        promise = stream.into_promise();
        trial.passed(acknowledged.len() - before);
    }
}

async fn a_hub_is_killed(place: &Place) {
    one_of_two_hubs(place, "kill -9 of one of two hubs", true).await;
}

async fn a_hub_is_frozen(place: &Place) {
    one_of_two_hubs(place, "SIGSTOP of one of two hubs", false).await;
}

on_postgres!(
    connections_are_refused,
    connections_are_cut,
    the_network_swallows_everything,
    a_deep_queue_is_answered_in_time,
    every_packet_is_late,
    established_connections_become_holes,
    the_database_becomes_read_only,
    connections_run_out,
    a_hub_is_killed,
    a_hub_is_frozen,
);
on_sqlite!(a_hub_on_sqlite_is_killed);
