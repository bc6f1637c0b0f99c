//! A hub on a database that goes away and comes back, and what has to hold meanwhile.

use std::collections::HashSet;
use std::process::Command;
use std::time::Duration;

use reqwest::Method;
use revocation_hub::cli::promise::{Seen, Start};
use serde_json::Value;

use crate::harness::*;

/// What `store.timeout` is in these tests.
pub const TIMEOUT: Duration = Duration::from_millis(500);

/// What a busy machine may add to anything.
const BUSY: Duration = Duration::from_secs(10);

/// After the end of a fault everything is well within this: the longest pause between two attempts (3.2 s), what hangs just
/// then (`store.timeout`), and a busy machine.
const HEALS: Duration = Duration::from_secs(15);

/// When an answer to a write has to be there: each call of the store is given up after `store.timeout`, and a write may have
/// to wait for the end of the transaction in front of its own.
pub fn bound(timeout: Duration) -> Duration {
    2 * timeout + BUSY
}

/// The program, with settings for a store that is given up on soon.
pub fn program() -> Command {
    with_settings(Command::new(env!("CARGO_BIN_EXE_revocation-hub")))
}

/// The same settings for another command.
pub fn with_settings(mut command: Command) -> Command {
    command
        .env("REVOCATION_HUB_STORE__TIMEOUT", humantime::format_duration(TIMEOUT).to_string())
        .env("REVOCATION_HUB_FEED__MAX_LAG", "1s");
    command
}

/// A hub on the place's database by a wire, ready.
pub async fn hub_by(command: Command, wire: &Proxy, place: &Place) -> Process {
    ready(Process::launch_by(command, &wire.url(place), place, "", &[])).await
}

/// Waits until it is ready.
pub async fn ready(mut hub: Process) -> Process {
    hub.until_listening().await;
    hub.until_ready().await;
    hub
}

/// Posts until it is acknowledged, and returns the id: a busy machine may be slower than these hubs are patient, and whoever
/// gets 503 sends again.
pub async fn written(hub: &Api, revocation: &Value) -> String {
    let answer = until("it is acknowledged", async || {
        let answer = within_bound(hub.post(revocation)).await;
        (answer.status != 503).then_some(answer)
    })
    .await;
    assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// A hub, a client that follows it, and what was acknowledged.
pub struct Scene {
    pub hub: Process,
    stream: Stream,
    /// What the client knows.
    map: Map,
    /// What was acknowledged, by id.
    acknowledged: Map,
    /// What was sent and not acknowledged: it may be there or not.
    refused: HashSet<String>,
    known: String,
    sent: usize,
    /// Writes that were acknowledged since somebody asked.
    acks: usize,
}

impl Scene {
    /// With a few revocations, and one that was lifted.
    pub async fn new(hub: Process) -> Self {
        let stream = hub.stream(Start::Earliest).await;
        let mut scene = Self {
            hub,
            stream,
            map: Map::new(),
            acknowledged: Map::new(),
            refused: HashSet::new(),
            known: String::new(),
            sent: 0,
            acks: 0,
        };
        for _ in 0..5 {
            scene.write().await;
        }
        let id = scene.acknowledged.keys().next().unwrap().clone();
        until("it is lifted", async || {
            let answer = scene.hub.delete(&format!("/v1/revocations/{id}")).await;
            // A busy machine may be slower than these hubs are patient, and the first attempt have been done all the same.
            matches!(answer.status, 200 | 404).then_some(())
        })
        .await;
        scene.acknowledged.remove(&id);
        scene.known = scene.write().await;
        scene.caught_up().await;
        scene
    }

    /// How many writes were acknowledged since this was last asked. Everything acknowledged before is looked for, too.
    pub fn acks(&mut self) -> usize {
        std::mem::take(&mut self.acks)
    }

    /// Revokes one more, which must succeed, and returns its `jti`.
    pub async fn write(&mut self) -> String {
        self.sent += 1;
        let jti = format!("t{}", self.sent);
        let id = written(&self.hub, &token(&jti)).await;
        self.acknowledges(id).await;
        jti
    }

    async fn acknowledges(&mut self, id: String) {
        let entry = self.hub.get(&format!("/v1/revocations/{id}")).await.expect(200).json();
        self.acknowledged.insert(id, entry);
        self.acks += 1;
    }

    /// The store does not answer, or not to writing: everything that has to hold.
    pub async fn away(&mut self) {
        self.refuses().await;
        self.stream.until_bookmarks_stop().await;
        until("the hub says that it is not ready", async || {
            let answer = self.hub.get("/readyz").await;
            (answer.status == 503 && answer.header("retry-after").is_some()).then_some(())
        })
        .await;
        assert_eq!(self.hub.get("/livez").await.status, 200, "a restart would not help");
        self.refuses().await;
        self.reads().await;
    }

    /// Writing is refused in time, and the sender is told when to come again.
    pub async fn refuses(&mut self) {
        self.sent += 1;
        let jti = format!("t{}", self.sent);
        let refused = within_bound(self.hub.post(&token(&jti))).await.expect(503);
        self.refused.insert(jti);
        assert_eq!(refused.code(), "store_unavailable");
        assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    }

    /// Others have sent these and were refused: they may be there or not.
    pub fn may_be_there(&mut self, jtis: impl IntoIterator<Item = String>) {
        self.refused.extend(jtis);
    }

    /// Writing is refused from now on, after some that still found room.
    pub async fn refuses_soon(&mut self) {
        let mut written = 0;
        loop {
            self.sent += 1;
            let jti = format!("t{}", self.sent);
            let answer = within_bound(self.hub.post(&token(&jti))).await;
            if answer.status == 503 {
                assert!(answer.header("retry-after").is_some());
                self.refused.insert(jti);
                return;
            }
            self.acknowledges(answer.expect(201).json()["id"].as_str().unwrap().to_owned()).await;
            written += 1;
            assert!(written < 100_000, "it is not full");
        }
    }

    /// Reading is answered from memory, and with everything.
    pub async fn reads(&self) {
        let snapshot = within_bound(self.hub.snapshot()).await;
        self.holds(&snapshot.map);
        let check = format!("/v1/check?jti={}&iss=https://sts.example", self.known);
        assert_eq!(within_bound(self.hub.get(&check)).await.json()["revoked"], true);
        let list = within_bound(self.hub.get("/internal/data/v1/revokedjwt")).await.expect(200);
        assert!(list.text().contains(&self.known));
        let since = self.hub.request(Method::GET, "/v1/events?since=earliest").send();
        assert_eq!(within_bound(since).await.unwrap().status(), 200, "a new stream is opened too");
    }

    /// The store is back: everything heals by itself, and soon.
    pub async fn healed(&mut self) {
        tokio::time::timeout(HEALS, self.heals()).await.expect("well again within 15 s");
        self.write().await;
        self.caught_up().await;
    }

    /// Ready, writing succeeds, and the stream says that it is current.
    async fn heals(&mut self) {
        self.hub.until_ready().await;
        until("writing succeeds again", async || {
            let answer = within_bound(self.hub.post(&token("first again"))).await;
            (answer.status != 503).then(|| assert!(matches!(answer.status, 200 | 201), "{}", answer.text()))
        })
        .await;
        self.refused.insert("first again".to_owned());
        self.stream
            .until("a bookmark", |seen, _| {
                fold(&mut self.map, seen);
                matches!(seen, Seen::Bookmark { .. }).then_some(())
            })
            .await;
    }

    /// The client that followed knows what the hub says, and both know everything acknowledged and nothing that nobody sent.
    pub async fn caught_up(&mut self) {
        let snapshot = self.hub.snapshot().await;
        self.stream.follow(&mut self.map, snapshot.cursor.seq).await;
        assert_eq!(self.map, snapshot.map);
        self.holds(&snapshot.map);
    }

    /// Everything acknowledged, and besides only what was sent.
    fn holds(&self, map: &Map) {
        for (id, entry) in &self.acknowledged {
            assert_eq!(map.get(id), Some(entry), "acknowledged and lost");
        }
        for (id, entry) in map {
            let jti = entry["jti"].as_str().unwrap();
            assert!(self.acknowledged.contains_key(id) || self.refused.contains(jti), "invented: {entry}");
        }
    }
}

/// Waits for an answer that has to come in time, whatever the store does.
pub async fn within_bound<T>(answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(bound(TIMEOUT), answer).await.expect("an answer within twice store.timeout, on a busy machine")
}
