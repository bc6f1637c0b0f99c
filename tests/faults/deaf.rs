//! Replicas that hear nothing any more: `LISTEN` is a hint that may never come, and a connection may be dead without a word.

use std::process::Command;

use revocation_hub::cli::promise::{Seen, Start};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::harness::*;
use crate::scene::{hub_by, program, ready};
use crate::tally::{Trial, trials};

/// A hub that reads the store only when somebody tells it to.
fn patient() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
    command
        .env("REVOCATION_HUB_STORE__TIMEOUT", "500ms")
        .env("REVOCATION_HUB_STORE__POLL_INTERVAL", "1h")
        .env("REVOCATION_HUB_STORE__BEAT_INTERVAL", "500ms")
        .env("REVOCATION_HUB_BOOKMARK_INTERVAL", "1h")
        .env("REVOCATION_HUB_FEED__MAX_LAG", "2h");
    command
}

/// The ports from which sessions that listen come.
async fn listening(place: &Place) -> Vec<u16> {
    let sql = "select client_port from pg_stat_activity
        where datname = current_database() and query like 'LISTEN%' and state = 'idle'";
    let rows = place.postgres().await.fetch_all(sql).await.unwrap();
    rows.iter().map(|row| u16::try_from(row.get::<i32, _>(0)).unwrap()).collect()
}

/// Waits until so many sessions listen that are not among `others`.
async fn until_listening(place: &Place, count: usize, others: &[u16]) -> Vec<u16> {
    until("the hubs listen", async || {
        let mut ports = listening(place).await;
        ports.retain(|port| !others.contains(port));
        (ports.len() == count).then_some(ports)
    })
    .await
}

/// Waits for a revocation of this `jti` on a stream.
async fn hears(stream: &mut Stream, jti: &str) {
    stream
        .until("the revocation", |seen, _| matches!(seen, Seen::Revoked(entry) if entry["jti"] == jti).then_some(()))
        .await;
}

/// The session that listens is dead, and nobody has told the hub. It asks whether it still hears; nothing else would ever
/// wake it here.
async fn a_hub_whose_listening_connection_is_a_hole_notices(place: &Place) {
    let wire = Proxy::new(place).await;
    let other = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
    let others = until_listening(place, 1, &[]).await;
    let hub = hub_by(patient(), &wire, place).await;
    let mut stream = hub.stream(Start::Now).await;
    let mut ports = until_listening(place, 1, &others).await;
    other.revoke(&token("heard")).await;
    hears(&mut stream, "heard").await;
    for number in 0..trials() {
        let trial = Trial::of("half-open LISTEN session");
        let hints = hub.metric("feed_wakeups_total", "notify").await;
        assert_eq!(wire.swallow(|port| ports.contains(&port)), 1);
        let jti = format!("missed {number}");
        other.revoke(&token(&jti)).await;
        hears(&mut stream, &jti).await;
        assert!(hub.metric("feed_wakeups_total", "notify").await > hints);
        assert_eq!(hub.metric("feed_wakeups_total", "timer").await, 1.0, "the first reading, and none that helped");
        // The session that is dead stays on the server's list for as long as the server takes it for alive.
        let mut dead = others.clone();
        dead.append(&mut ports);
        ports = until_listening(place, 1, &dead).await;
        // It hears again, and not because of the reading after it has connected.
        let jti = format!("heard {number}");
        other.revoke(&token(&jti)).await;
        hears(&mut stream, &jti).await;
        trial.passed(2);
        if number + 1 < trials() {
            return_to_one(place, &ports, &others).await;
        }
    }
}

/// Ends the dead sessions, so that the next look sees only those that live.
async fn return_to_one(place: &Place, live: &[u16], others: &[u16]) {
    let keep: Vec<String> = live.iter().chain(others).map(u16::to_string).collect();
    let sql = format!(
        "select pg_terminate_backend(pid, 10000) from pg_stat_activity
            where datname = current_database() and query like 'LISTEN%' and client_port not in ({})",
        keep.join(", ")
    );
    place.postgres().await.execute(AssertSqlSafe(sql)).await.unwrap();
}

/// The safety net below: a hub that is told nothing looks by itself.
async fn without_notifications_the_timer_finds_everything(place: &Place) {
    let mut command = patient();
    command.env("REVOCATION_HUB_STORE__LISTEN_NOTIFY", "false").env("REVOCATION_HUB_STORE__POLL_INTERVAL", "100ms");
    let hub = ready(Process::launch_by(command, &place.url, place, "", &[])).await;
    let other = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
    let mut stream = hub.stream(Start::Now).await;
    for n in 0..3 {
        let before = hub.metric("feed_wakeups_total", "timer").await;
        let jti = n.to_string();
        other.revoke(&token(&jti)).await;
        hears(&mut stream, &jti).await;
        until("the timer is counted", async || {
            (hub.metric("feed_wakeups_total", "timer").await > before).then_some(())
        })
        .await;
    }
    assert_eq!(hub.metric("feed_wakeups_total", "notify").await, 0.0);
}

/// Each of the other reasons to read finds what another hub has written, and is counted under its name.
async fn every_reason_to_read_finds_what_others_wrote(place: &Place) {
    let mut command = patient();
    command.env("REVOCATION_HUB_STORE__LISTEN_NOTIFY", "false");
    let hub = ready(Process::launch_by(command, &place.url, place, "", &[])).await;
    let other = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
    let count = async |hub: &Process, reason: &str| hub.metric("feed_wakeups_total", &format!("\"{reason}\"")).await;
    let has = async |hub: &Process, jti: &str| hub.snapshot().await.map.values().any(|entry| entry["jti"] == jti);

    other.revoke(&token("by nobody")).await;
    // A client that has been at the other one.
    let cursor = other.snapshot().await.cursor;
    assert_eq!(hub.since(&cursor).await.unwrap().revoked, Map::new());
    assert!(has(&hub, "by nobody").await);
    assert!(count(&hub, "cursor").await >= 1.0);

    // A commit of its own that does not follow what it has.
    other.revoke(&token("in between")).await;
    assert!(!has(&hub, "in between").await, "nothing tells it");
    let before = count(&hub, "commit").await;
    hub.revoke(&token("its own")).await;
    until("it has read what stands in front", async || has(&hub, "in between").await.then_some(())).await;
    assert!(has(&hub, "its own").await && count(&hub, "commit").await > before);
    assert_eq!(
        (count(&hub, "notify").await, count(&hub, "timer").await),
        (0.0, 1.0),
        "the first reading, and no other"
    );

    // Bookmarks are only given after a reading.
    let mut command = patient();
    command.env("REVOCATION_HUB_STORE__LISTEN_NOTIFY", "false").env("REVOCATION_HUB_BOOKMARK_INTERVAL", "100ms");
    let hub = ready(Process::launch_by(command, &place.url, place, "", &[])).await;
    other.revoke(&token("before a bookmark")).await;
    let mut stream = hub.stream(Start::Now).await;
    stream.until("a bookmark", |seen, _| matches!(seen, Seen::Bookmark { .. }).then_some(())).await;
    until("it has read", async || has(&hub, "before a bookmark").await.then_some(())).await;
    assert!(count(&hub, "bookmark").await >= 1.0);
    assert_eq!((count(&hub, "notify").await, count(&hub, "timer").await), (0.0, 1.0));
}

/// Several idle connections have died without a word. The first that is used shows it, and the others are not tried one
/// after the other, each for as long as the store may take.
async fn many_dead_connections_cost_one_wait(place: &Place) {
    let wire = Proxy::new(place).await;
    let hub = hub_by(program(), &wire, place).await;
    // Calls that stand in a queue at the server at once leave as many connections behind.
    let mut holder = place.postgres().await;
    holder.execute("begin; lock table parked in access exclusive mode").await.unwrap();
    let asking: Vec<_> = (0..5)
        .map(|_| {
            let api = Api::clone(&hub);
            tokio::spawn(async move { api.get("/v1/parked").await.status })
        })
        .collect();
    until("they wait", async || {
        let sql =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        (place.number(sql).await >= 4).then_some(())
    })
    .await;
    holder.execute("rollback").await.unwrap();
    for asked in asking {
        asked.await.unwrap();
    }
    let before = hub.metric("feed_failures_total", "").await;
    assert!(wire.swallow(|_| true) >= 4);
    until("the feed has failed", async || (hub.metric("feed_failures_total", "").await > before).then_some(())).await;
    let mut stream = hub.stream(Start::Now).await;
    stream.until("a bookmark", |seen, _| matches!(seen, Seen::Bookmark { .. }).then_some(())).await;
    assert_eq!(hub.metric("feed_failures_total", "").await - before, 1.0);
}

/// A hub that vanishes from the network while it holds the log does not hold up the others for longer than its own
/// patience, and a second.
async fn a_hub_that_vanishes_with_the_log_in_its_hand_lets_go(place: &Place) {
    let trial = Trial::of("a hub vanishes with the log in its hand");
    let wire = Proxy::new(place).await;
    let hub = hub_by(program(), &wire, place).await;
    let other = ready(Process::launch_by(program(), &place.url, place, "", &[])).await;
    // After a repetition it looks before it writes, and holds the log meanwhile.
    hub.revoke(&token("a")).await;
    hub.revoke(&token("a")).await;
    let mut holder = place.postgres().await;
    holder.execute("begin; select head from log for update").await.unwrap();
    let api = Api::clone(&hub);
    let vanished = tokio::spawn(async move { api.post(&token("b")).await.status });
    until("the hub waits for the log", async || {
        let sql = "select count(*) from pg_stat_activity where datname = current_database()
            and application_name = 'revocation-hub' and wait_event_type = 'Lock'";
        (place.number(sql).await >= 1).then_some(())
    })
    .await;
    assert!(wire.swallow(|_| true) >= 2);
    holder.execute("rollback").await.unwrap();
    assert_eq!(vanished.await.unwrap(), 503);
    until("the other one writes", async || matches!(other.post(&token("c")).await.status, 200 | 201).then_some(()))
        .await;
    until("it is there again itself", async || matches!(hub.post(&token("b")).await.status, 200 | 201).then_some(()))
        .await;
    let names = async |hub: &Process| -> std::collections::BTreeSet<String> {
        hub.snapshot().await.map.values().map(|entry| entry["jti"].as_str().unwrap().to_owned()).collect()
    };
    for hub in [&hub, &other] {
        until("all three are there", async || {
            (names(hub).await == ["a", "b", "c"].map(str::to_owned).into()).then_some(())
        })
        .await;
    }
    trial.passed(3);
}

/// The kernel asks, too, on every connection to the database: what is dead while nobody uses it does not stay for ever.
async fn every_connection_is_kept_alive(place: &Place) {
    let wire = Proxy::new(place).await;
    let hub = hub_by(program(), &wire, place).await;
    hub.revoke(&token("a")).await;
    until_listening(place, 1, &[]).await;
    until("all connections are asked after", async || {
        let timers = keepalive_timers(wire.address().port());
        (timers.len() >= 3 && timers.iter().all(|on| *on)).then_some(())
    })
    .await;
}

/// For each established connection of this machine to the port, whether its keepalive timer runs: the field `tr` of
/// /proc/net/tcp is 2 (Linux, Documentation/networking/proc_net_tcp.rst).
fn keepalive_timers(port: u16) -> Vec<bool> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let to = format!(":{port:04X}");
    rows.filter(|row| row[2].ends_with(&to) && row[3] == "01").map(|row| row[5].starts_with("02:")).collect()
}

on_postgres!(
    a_hub_whose_listening_connection_is_a_hole_notices,
    without_notifications_the_timer_finds_everything,
    every_reason_to_read_finds_what_others_wrote,
    many_dead_connections_cost_one_wait,
    a_hub_that_vanishes_with_the_log_in_its_hand_lets_go,
    every_connection_is_kept_alive,
);
