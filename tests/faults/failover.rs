//! A standby that is promoted and knows less than the primary did: replication was asynchronous, and the last that was
//! acknowledged had not arrived. Positions are about to be handed out a second time.
//!
//! The hubs still hold what the store has lost. They give the log a new name, put it back, and say so; their clients are
//! told to start over, and then know everything that was ever acknowledged.

use std::collections::BTreeSet;

use revocation_hub::cli::promise::{Seen, Start};
use sqlx::{AssertSqlSafe, Executor as _, Row as _};

use crate::harness::*;
use crate::postgres::Postgres;
use crate::scene::{hub_by, program};
use crate::tally::{note, trials};

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

async fn fail_over() {
    let mut primary = Postgres::start().await;
    let place = primary.place().await;
    let replication = Proxy::to(primary.address()).await;
    let standby = primary.standby(&replication).await;
    let wires = [Proxy::to(primary.address()).await, Proxy::to(primary.address()).await];
    let hubs = [hub_by(program(), &wires[0], &place).await, hub_by(program(), &wires[1], &place).await];
    let mut acknowledged = BTreeSet::new();
    let write = async |hub: &Process, jti: String| {
        // A busy machine may be slower than these hubs are patient.
        until("it is acknowledged", async || (hub.post(&token(&jti)).await.status != 503).then_some(())).await;
        jti
    };
    for n in 0..20 {
        acknowledged.insert(write(&hubs[n % 2], format!("safe {n}")).await);
    }
    until_replayed(&primary, &standby).await;

    // From here on the standby hears nothing, and the primary does not mind.
    replication.set(Wire::Mute);
    for n in 0..20 {
        acknowledged.insert(write(&hubs[n % 2], format!("lost {n}")).await);
    }
    let before = until("both hubs have everything", async || {
        let (one, two) = (hubs[0].snapshot().await, hubs[1].snapshot().await);
        (one == two).then_some(one)
    })
    .await;
    assert_eq!(jtis(&before.map), acknowledged);
    let mut streams = Vec::new();
    for hub in &hubs {
        let mut stream = hub.stream(Start::Earliest).await;
        stream.follow(&mut Map::new(), before.cursor.seq).await;
        streams.push(stream);
    }

    primary.kill();
    replication.set(Wire::Cut);
    // A standby can be read. Writing has to wait.
    for wire in &wires {
        wire.lead_to(standby.address());
    }
    standby.promote().await;

    // Whoever followed is told, and whoever loads the list then has everything that was acknowledged.
    for (hub, stream) in hubs.iter().zip(&mut streams) {
        stream.until("the reset", |seen, _| matches!(seen, Seen::Reset { .. }).then_some(())).await;
        let snapshot = until("everything is back", async || {
            let snapshot = hub.try_snapshot().await?;
            (snapshot.cursor.epoch != before.cursor.epoch && jtis(&snapshot.map) == acknowledged).then_some(snapshot)
        })
        .await;
        assert_eq!(jtis(&snapshot.map), acknowledged);
    }
    // Both mean the same log.
    until("both hubs agree", async || {
        let (one, two) = (hubs[0].try_snapshot().await?, hubs[1].try_snapshot().await?);
        (one == two).then_some(())
    })
    .await;
    // It goes on from there, and a cursor of the old log is refused by both.
    let next = write(&hubs[0], "next".into()).await;
    acknowledged.insert(next);
    for hub in &hubs {
        until("it has arrived", async || (jtis(&hub.try_snapshot().await?.map) == acknowledged).then_some(())).await;
        assert_eq!(hub.since(&before.cursor).await.expect_err("another log").status, 410);
        assert!(hub.printed().contains("ERROR"), "it is said loudly");
    }
    note("failover to a standby that lost writes", 1, acknowledged.len(), 0);
}
