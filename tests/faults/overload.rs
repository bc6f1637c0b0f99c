//! More of everything than there is room for, and readers that stand still: who writes is answered, who is current stays so,
//! and who was refused or cut gets everything when there is room.

use revocation_hub::cli::promise::{Promise, Seen, Start};
use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::*;
use crate::scene::{program, ready, written};
use crate::stalled::{body, stalled};
use crate::tally::{Trial, trials};

/// More than is sent to somebody who does not read.
const LIVE: u64 = 20_000;
const FIRST_LOADS: usize = 2;
const READERS: usize = 4;
/// Written while there is no room.
const MEANWHILE: u64 = 50;

/// Whether a client has everything.
fn everything(map: &mut Map, seen: &Seen) -> Option<()> {
    fold(map, seen);
    (map.len() as u64 == LIVE + MEANWHILE).then_some(())
}

async fn more_than_there_is_room_for(place: &Place) {
    for _ in 0..trials() {
        let trial = Trial::of("overload: more than there is room for, and readers that stand still");
        let mut command = program();
        command
            .env("REVOCATION_HUB_LIMITS__MAX_FIRST_LOADS", FIRST_LOADS.to_string())
            .env("REVOCATION_HUB_LIMITS__SMALL_LOAD", "1000")
            .env("REVOCATION_HUB_LIMITS__STALL_TIMEOUT", "3s")
            .env("REVOCATION_HUB_LIMITS__RETRY_AFTER", "1s")
            .env("REVOCATION_HUB_STORE__TIMEOUT", "30s");
        let hub = ready(Process::launch_by(command, &place.url, place, "", &[])).await;
        let lines: Vec<Value> = (0..LIVE).map(|n| token(format!("live {n}"))).collect();
        hub.post_lines(&lines).await.expect(200);
        until("the hub shows them", async || (hub.metric("head", "").await >= LIVE as f64).then_some(())).await;
        let start = hub.snapshot().await;
        let mut live = hub.stream(Start::After(start.cursor.clone())).await;

        // All places are taken by readers that read nothing.
        let mut dead = Vec::new();
        for _ in 0..FIRST_LOADS {
            dead.push(stalled(&hub, "/v1/events?since=earliest").await);
        }
        until("all places are taken", async || {
            (hub.metric("first_loads", "").await == FIRST_LOADS as f64).then_some(())
        })
        .await;
        let mut coming = JoinSet::new();
        for _ in 0..READERS {
            let api = Api::clone(&hub);
            coming.spawn(async move {
                let (mut promise, mut map, mut refused) = (Promise::new(Start::Earliest), Map::new(), 0);
                loop {
                    match api.try_open(promise, Ask::Header).await {
                        Ok(mut stream) => {
                            stream.until("everything", |seen, _| everything(&mut map, seen)).await;
                            return (refused, map);
                        }
                        Err((back, answer)) => {
                            let answer = answer.expect("an answer");
                            assert_eq!((answer.status, &*answer.code()), (503, "overloaded"));
                            let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                            refused += 1;
                            // As told, which is at random so that they do not come back together.
                            tokio::time::sleep(std::time::Duration::from_secs(seconds)).await;
                            promise = back;
                        }
                    }
                }
            });
        }
        // Meanwhile every write is answered, and seen by those who are current.
        for n in 0..MEANWHILE {
            written(&hub, &token(format!("meanwhile {n}"))).await;
        }
        let mut map = start.map;
        live.until("everything", |seen, _| everything(&mut map, seen)).await;

        // Those who stand still are cut, and with that there is room.
        let came = coming.join_all().await;
        let end = hub.snapshot().await;
        assert_eq!(map, end.map);
        for (refused, map) in came {
            assert!(refused > 0, "there was no room");
            assert_eq!(map, end.map);
        }
        assert_eq!(hub.metric("connections_cut_total", "stalled").await, FIRST_LOADS as f64);
        // Who was cut has the beginning, and gets the rest by the cursor.
        for socket in dead {
            let mut map = Map::new();
            let mut cut = body(socket, Promise::new(Start::Earliest));
            while let Got::Event(seen, _) = cut.next().await {
                fold(&mut map, &seen);
            }
            assert!(map.len() < end.map.len());
            let mut stream = hub.resume(cut.into_promise(), Ask::Header).await;
            stream.follow(&mut map, end.cursor.seq).await;
            assert_eq!(map, end.map);
        }
        trial.passed(end.map.len());
        drop(hub);
        place.sql("drop schema public cascade; create schema public").await;
    }
}

on_postgres!(more_than_there_is_room_for);
