//! A standby that is promoted and knows less than the primary did: replication was asynchronous, and the last that was
//! acknowledged had not arrived. Positions are about to be handed out a second time.
//!
//! The hubs still hold what the store has lost. They give the log a new name, put it back, and say so; their clients are
//! told to start over, and then know everything that was ever acknowledged.

use std::collections::BTreeSet;

use revocation_hub::cli::promise::{Seen, Start};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::*;
use crate::postgres::Postgres;
use crate::scene::{hub_by, program, written};
use crate::tally::{Trial, trials};

fn jtis(map: &Map) -> BTreeSet<String> {
    map.values().map(|entry| entry["jti"].as_str().unwrap().to_owned()).collect()
}

/// Waits until the standby has replayed what the primary has written.
async fn until_replayed(primary: &Postgres, standby: &Postgres) {
    let end: String = primary.admin().await.fetch_one("select pg_current_wal_lsn()::text").await.unwrap().get(0);
    let sql = format!("select coalesce(pg_last_wal_replay_lsn() >= '{end}'::pg_lsn, false)");
    let mut conn = standby.admin().await;
    until("the standby has caught up", async || {
        conn.fetch_one(AssertSqlSafe(sql.clone())).await.unwrap().get::<bool, _>(0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_asynchronous_standby_has_lost_is_put_back() {
    for _ in 0..trials() {
        fail_over().await;
    }
}

async fn lift(hub: &Process, id: &str) {
    // The first attempt may be done although nobody said so.
    until("it is lifted", async || {
        let answer = hub.delete(&format!("/v1/revocations/{id}")).await;
        matches!(answer.status, 200 | 404).then_some(())
    })
    .await;
}

async fn fail_over() {
    let trial = Trial::of("failover to a standby that lost writes");
    let mut primary = Postgres::start().await;
    let place = primary.place().await;
    let replication = Proxy::to(primary.address()).await;
    let standby = primary.standby(&replication).await;
    let wires = [Proxy::to(primary.address()).await, Proxy::to(primary.address()).await];
    let hubs = [hub_by(program(), &wires[0], &place).await, hub_by(program(), &wires[1], &place).await];
    let names = |what: &str| (0..20).map(|n| format!("{what} {n}")).collect::<Vec<_>>();
    for (n, jti) in names("safe").iter().enumerate() {
        written(&hubs[n % 2], &token(jti)).await;
    }
    let exp = revocation_hub::clock::Clock::system().now() + 3600;
    written(&hubs[0], &token_until("extended", exp)).await;
    let lifted = written(&hubs[1], &token("lifted")).await;
    until_replayed(&primary, &standby).await;
    let mut conn = PgConnection::connect(&primary.url(place.database())).await.unwrap();
    let safe: String = conn.fetch_one("select epoch || ' ' || head from log").await.unwrap().get(0);
    conn.close().await.unwrap();

    // From here on the standby hears nothing, and the primary does not mind.
    replication.set(Wire::Mute);
    for (n, jti) in names("lost").iter().enumerate() {
        written(&hubs[n % 2], &token(jti)).await;
    }
    written(&hubs[1], &token_until("extended", exp + 3600)).await;
    lift(&hubs[0], &lifted).await;
    let came_and_went = written(&hubs[0], &token("came and went")).await;
    lift(&hubs[1], &came_and_went).await;
    let before = until("both hubs have everything", async || {
        let (one, two) = (hubs[0].snapshot().await, hubs[1].snapshot().await);
        (one == two).then_some(one)
    })
    .await;
    let lost: BTreeSet<String> = names("lost").into_iter().chain(["extended".to_owned()]).collect();
    let mut in_force = lost.clone();
    in_force.extend(names("safe"));
    assert_eq!(jtis(&before.map), in_force);
    let mut streams = Vec::new();
    for hub in &hubs {
        let mut stream = hub.stream(Start::Earliest).await;
        stream.follow(&mut Map::new(), before.cursor.seq).await;
        streams.push(stream);
    }

    // Else this would be a failover without a loss, and what comes below a comparison with nothing.
    let mut conn = PgConnection::connect(&standby.url(place.database())).await.unwrap();
    let known: String = conn.fetch_one("select epoch || ' ' || head from log").await.unwrap().get(0);
    assert_eq!(known, safe, "what the standby knows of the log");
    conn.close().await.unwrap();

    primary.kill();
    replication.set(Wire::Cut);
    // A standby can be read. Writing has to wait.
    for wire in &wires {
        wire.lead_to(standby.address());
    }
    standby.promote().await;

    // Whoever followed is told, and whoever loads the list then has everything as it was: the same times and expiries, and
    // nothing that was lifted.
    for (hub, stream) in hubs.iter().zip(&mut streams) {
        stream.until("the reset", |seen, _| matches!(seen, Seen::Reset { .. }).then_some(())).await;
        until("everything is back", async || {
            let snapshot = hub.try_snapshot().await?;
            (snapshot.cursor.epoch != before.cursor.epoch && snapshot.map == before.map).then_some(())
        })
        .await;
    }
    // Both mean the same log.
    until("both hubs agree", async || {
        let (one, two) = (hubs[0].try_snapshot().await?, hubs[1].try_snapshot().await?);
        (one == two).then_some(())
    })
    .await;

    // On disk, behind what the standby had: exactly what was lost, the lift of what was there before included, each once.
    // What was there is not written again, and what came and went among the lost ones stays gone.
    let old = before.cursor.epoch.as_str();
    let place = Place { url: standby.url(place.database()), folder: place.folder };
    let rows = format!(
        "select value || case when lifted then ', lifted' else '' end from revocation
            where seq > (select base from former_epoch where epoch = '{old}') order by seq"
    );
    let rows = place.postgres().await.fetch_all(AssertSqlSafe(rows)).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let mut expected = lost;
    expected.insert("lifted, lifted".to_owned());
    let said = || hubs.iter().map(|hub| hub.printed()).collect::<Vec<_>>().join("\n---\n");
    assert_eq!(rows.len(), expected.len(), "{rows:?} behind {safe}, old {old}; the hubs said:\n{}", said());
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), expected);
    let put_back = async |hub: &Process| hub.metric("revocations_put_back_total", "").await;
    assert_eq!(put_back(&hubs[0]).await + put_back(&hubs[1]).await, expected.len() as f64);

    // It goes on from there, and a cursor of the old log is refused by both.
    written(&hubs[0], &token("next")).await;
    in_force.insert("next".to_owned());
    for hub in &hubs {
        until("it has arrived", async || (jtis(&hub.try_snapshot().await?.map) == in_force).then_some(())).await;
        assert_eq!(hub.since(&before.cursor).await.expect_err("another log").status, 410);
        assert!(hub.printed().contains("ERROR"), "it is said loudly");
    }
    trial.passed(in_force.len() + 4);
}

/// What a mute wire has kept back is what the standby above shall never get.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wire_that_is_cut_lets_nothing_through_that_it_kept_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for round in 0..2000 {
        let wire = Proxy::to(listener.local_addr().unwrap().to_string()).await;
        let mut near = TcpStream::connect(wire.address()).await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        near.write_all(b"a").await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), b'a');
        wire.set(Wire::Mute);
        near.write_all(b"b").await.unwrap();
        tokio::task::yield_now().await;
        wire.set(Wire::Cut);
        let mut rest = Vec::new();
        // It may end with a reset.
        let _ = within("it ends", far.read_to_end(&mut rest)).await;
        assert!(rest.is_empty(), "round {round}: {rest:?} came through");
    }
}
