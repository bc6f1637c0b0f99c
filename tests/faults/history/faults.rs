//! What breaks in a history, and how it is mended.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

use super::world::World;
use crate::harness::{Place, Process, Proxy, Wire, until};
use crate::postgres::Postgres;
use crate::scene::{program, ready};

/// Something that breaks for a while.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The way of one hub to Postgres.
    Wire(Wire),
    /// Connections of one hub become holes; new ones are good.
    Holes,
    /// `kill -9` of a hub.
    KillHub,
    /// SIGSTOP of a hub.
    FreezeHub,
    /// `kill -9` of Postgres.
    KillPostgres,
    /// SIGSTOP of Postgres.
    FreezePostgres,
    /// A hub is told to end, ends, and is started again.
    RestartHub,
    /// Everybody's sessions are ended by the server.
    EndSessions,
    /// The database can only be read.
    ReadOnly,
    /// Somebody else holds the row that all writers queue at.
    HoldLog,
    /// Somebody else holds SQLite's lock.
    HoldFile,
    /// Somebody else reads SQLite's file and does not end, so that what is written is not moved out of `-wal`.
    ReadFile,
}

impl Fault {
    pub fn random(rng: &mut StdRng, postgres: bool) -> Self {
        if !postgres {
            let faults = [Fault::KillHub, Fault::FreezeHub, Fault::RestartHub, Fault::HoldFile, Fault::ReadFile];
            return faults[rng.random_range(0..faults.len())];
        }
        let faults = [
            Fault::Wire(Wire::Cut),
            Fault::Wire(Wire::Refused),
            Fault::Wire(Wire::Mute),
            Fault::Wire(Wire::Slow(Duration::from_millis(30))),
            Fault::Holes,
            Fault::KillHub,
            Fault::FreezeHub,
            Fault::KillPostgres,
            Fault::FreezePostgres,
            Fault::RestartHub,
            Fault::EndSessions,
            Fault::ReadOnly,
            Fault::HoldLog,
        ];
        faults[rng.random_range(0..faults.len())]
    }

    pub fn name(self) -> &'static str {
        match self {
            Fault::Wire(Wire::Cut) => "connections are reset",
            Fault::Wire(Wire::Refused) => "Postgres refuses connections",
            Fault::Wire(Wire::Mute) => "Postgres accepts and says nothing",
            Fault::Wire(_) => "packets are delayed",
            Fault::Holes => "half-open connections",
            Fault::KillHub => "kill -9 of a hub",
            Fault::FreezeHub => "SIGSTOP of a hub",
            Fault::KillPostgres => "kill -9 of Postgres",
            Fault::FreezePostgres => "SIGSTOP of Postgres",
            Fault::RestartHub => "restart of a hub",
            Fault::EndSessions => "sessions are ended by Postgres",
            Fault::ReadOnly => "read-only",
            Fault::HoldLog => "somebody else holds the log",
            Fault::HoldFile => "SQLite's file is locked",
            Fault::ReadFile => "somebody else reads SQLite's file",
        }
    }
}

/// Everything that can break.
pub struct Server<'a> {
    postgres: Option<&'a mut Postgres>,
    place: &'a Place,
    hubs: Vec<(Process, Option<Proxy>)>,
}

impl<'a> Server<'a> {
    /// Two hubs, each with a way of its own to Postgres.
    pub async fn postgres(postgres: &'a mut Postgres, place: &'a Place) -> (Self, World) {
        let mut hubs = Vec::new();
        for _ in 0..2 {
            let wire = Proxy::to(postgres.address()).await;
            let hub = ready(launch(place, Some(&wire))).await;
            hubs.push((hub, Some(wire)));
        }
        let world = World::new(hubs.iter().map(|(hub, _)| (**hub).clone()).collect());
        (Self { postgres: Some(postgres), place, hubs }, world)
    }

    /// One hub on a file.
    pub async fn sqlite(place: &'a Place) -> (Self, World) {
        let hub = ready(launch(place, None)).await;
        let world = World::new(vec![(*hub).clone()]);
        (Self { postgres: None, place, hubs: vec![(hub, None)] }, world)
    }

    pub fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    /// Breaks it, for a while, and mends it.
    pub async fn strike(&mut self, world: &World, fault: Fault, rng: &mut StdRng) {
        // On both sides of the hubs' own patience.
        let lasts = Duration::from_millis(rng.random_range(20..900));
        let number = rng.random_range(0..self.hubs.len());
        let (hub, wire) = &mut self.hubs[number];
        match (fault, wire) {
            (Fault::Wire(how), Some(wire)) => {
                wire.set(how);
                tokio::time::sleep(lasts).await;
                wire.set(Wire::Good);
            }
            (Fault::Holes, Some(wire)) => {
                let odd = rng.random::<u16>() & 3;
                // All of them, or any.
                wire.swallow(|port| odd == 0 || port & 1 == odd & 1);
            }
            (Fault::KillHub, wire) => {
                hub.kill();
                tokio::time::sleep(lasts / 4).await;
                *hub = launch(self.place, wire.as_ref());
                hub.until_listening().await;
                world.moved(number, (**hub).clone());
            }
            (Fault::FreezeHub, _) => {
                hub.signal("STOP");
                tokio::time::sleep(lasts).await;
                hub.signal("CONT");
            }
            (Fault::KillPostgres, _) => {
                let postgres = self.postgres.as_mut().expect("it is there");
                postgres.kill();
                tokio::time::sleep(lasts / 4).await;
                postgres.again().await;
            }
            (Fault::FreezePostgres, _) => {
                let postgres = self.postgres.as_mut().expect("it is there");
                postgres.freeze();
                tokio::time::sleep(lasts).await;
                postgres.thaw();
            }
            (Fault::RestartHub, wire) => {
                hub.terminate();
                let status = hub.ended().await;
                assert!(status.success(), "{status}: {}", hub.printed());
                *hub = launch(self.place, wire.as_ref());
                hub.until_listening().await;
                world.moved(number, (**hub).clone());
            }
            (Fault::EndSessions, _) => self.end_sessions().await,
            (Fault::ReadOnly, _) => {
                for (read_only, lasts) in [("on", lasts), ("off", Duration::ZERO)] {
                    let name = self.place.database();
                    let sql = format!("alter database {name} set default_transaction_read_only = {read_only}");
                    self.postgres.as_ref().expect("it is there").sql(&sql).await;
                    self.end_sessions().await;
                    tokio::time::sleep(lasts).await;
                }
            }
            (Fault::HoldLog, _) => {
                let mut holder = self.place.postgres().await;
                holder.execute("begin; select head from log for update").await.unwrap();
                tokio::time::sleep(lasts).await;
                holder.execute("rollback").await.unwrap();
            }
            (Fault::ReadFile, _) => {
                let mut reader = SqliteConnection::connect(&self.place.url).await.unwrap();
                reader.execute("begin; select head from log").await.unwrap();
                tokio::time::sleep(lasts).await;
                reader.execute("rollback").await.unwrap();
            }
            (Fault::HoldFile, _) => {
                let mut holder = SqliteConnection::connect(&self.place.url).await.unwrap();
                // A hub that writes just now is in front.
                if holder.execute("pragma busy_timeout = 5000; begin immediate").await.is_ok() {
                    tokio::time::sleep(lasts).await;
                    holder.execute("rollback").await.unwrap();
                }
            }
            (Fault::Wire(_) | Fault::Holes, None) => unreachable!("there is no wire"),
        }
    }

    /// Ends every session of the hubs, which are then told so.
    async fn end_sessions(&self) {
        let name = self.place.database();
        let sql = format!("select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '{name}'");
        self.postgres.as_ref().expect("it is there").sql(&sql).await;
    }

    /// What the store itself says, beside what the hubs show.
    pub async fn check(&self, world: &World) -> Vec<String> {
        let now = World::now() + 60;
        let sql = format!(
            "select (select head from log) * 1000000 + count(*) from revocation where not lifted and exp > {now}"
        );
        let mut losses = Vec::new();
        for hub in 0..world.hubs() {
            // At the same position; what nobody knows the outcome of may still come in between.
            let (shown, disk) = until("hub and store are seen at one position", async || {
                let both = self.place.number(&sql).await;
                let snapshot = world.api(hub).snapshot().await;
                let lives = |entry: &&serde_json::Value| entry["exp"].as_i64().is_some_and(|exp| exp > now);
                let shown = snapshot.map.values().filter(lives).count() as i64;
                (snapshot.cursor.seq as i64 == both / 1_000_000).then_some((shown, both % 1_000_000))
            })
            .await;
            if shown != disk {
                losses.push(format!("hub {hub} shows {shown}, and {disk} are on disk"));
            }
        }
        losses
    }
}

fn launch(place: &Place, wire: Option<&Proxy>) -> Process {
    let url = wire.map_or_else(|| place.url.clone(), |wire| wire.url(place));
    Process::launch_by(program(), &url, place, "clock_skew = \"0s\"", &[])
}
