//! A reader: a gateway that follows the stream of one hub for a while, then that of any other, with its cursor.

use std::time::Duration;

use futures_util::StreamExt as _;
use rand::RngExt as _;
use rand::rngs::StdRng;
use reqwest::Method;
use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::cli::sse::{Event, Item, Parser};
use revocation_hub::revocation::Cursor;
use serde_json::Value;
use tokio::time::Instant;

use super::world::{CLIENT_PATIENCE, Goal, World};
use crate::harness::Map;

struct Reader {
    who: String,
    world: World,
    promise: Promise,
    /// By `jti`.
    map: Map,
    /// Where it stood when it was last told that it is current.
    current: Option<Cursor>,
}

/// Reads until it stands at the goal and is told that it is current there. Returns what it knows then.
pub async fn read(world: World, number: usize, mut rng: StdRng) -> (String, Map) {
    let who = format!("reader {number}");
    let start = if rng.random_bool(0.5) { Start::Earliest } else { Start::Now };
    let mut goal = world.goal();
    let mut reader = Reader { who, world, promise: Promise::new(Start::Earliest), map: Map::new(), current: None };
    if start == Start::Now {
        // As a gateway does that loads the list first. The first fault may have come already.
        let snapshot = loop {
            let api = reader.world.api(0);
            if let Ok(Some(snapshot)) = tokio::time::timeout(CLIENT_PATIENCE, api.try_snapshot()).await {
                break snapshot;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        reader.promise.restart(snapshot.cursor);
        reader.map = snapshot.map.into_values().map(|e| (e["jti"].as_str().unwrap().to_owned(), e)).collect();
    }
    while !reader.is_at(&goal) {
        let hub = rng.random_range(0..reader.world.hubs());
        let stays = Duration::from_millis(rng.random_range(20..600));
        reader.promise.reconnect();
        reader.one_stream(hub, stays, &mut goal).await;
    }
    (reader.who, reader.map)
}

impl Reader {
    fn is_at(&self, goal: &Goal) -> bool {
        goal.borrow().as_ref().is_some_and(|goal| self.current.as_ref().is_some_and(|at| at.seq >= goal.seq))
    }

    async fn one_stream(&mut self, hub: usize, stays: Duration, goal: &mut Goal) {
        let request = self.world.api(hub).request(Method::GET, "/v1/events");
        let request = match self.promise.start() {
            Start::Now => request,
            Start::Earliest => request.query(&[("since", "earliest")]),
            Start::After(cursor) => request.header("last-event-id", cursor.to_string()),
        };
        let opened = tokio::time::timeout(CLIENT_PATIENCE, request.send()).await;
        let Ok(Ok(response)) = opened else { return tokio::time::sleep(Duration::from_millis(10)).await };
        if response.status() != 200 {
            let status = response.status().as_u16();
            if status != 503 {
                self.broken(format!("a stream was refused with {status}"));
            }
            return tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut bytes = response.bytes_stream();
        let mut parser = Parser::new();
        let hop = Instant::now() + stays;
        while !self.is_at(goal) {
            let next = tokio::select! {
                next = bytes.next() => next,
                () = tokio::time::sleep_until(hop), if goal.borrow().is_none() => return,
                // Whoever waits for the goal looks again when there is one.
                _ = goal.changed() => continue,
            };
            let Some(Ok(piece)) = next else { return };
            let mut items = Vec::new();
            parser.push(&piece, &mut items).unwrap();
            for item in items {
                if let Item::Event(event) = item {
                    self.event(&event);
                }
            }
        }
    }

    fn event(&mut self, event: &Event) {
        let seen = match self.promise.check(event) {
            Ok(seen) => seen,
            Err(broken) => return self.broken(format!("{broken}: {event:?}")),
        };
        // A `hello` that resumes nothing has no cursor until the `reset` behind it.
        let Some(at) = self.promise.cursor().cloned() else { return };
        match seen {
            Seen::Revoked(entry) => {
                let jti = self.shown(&at, &entry, false);
                self.map.insert(jti, entry);
            }
            Seen::Lifted(entry) => {
                let jti = self.shown(&at, &entry, true);
                self.map.remove(&jti);
            }
            Seen::Bookmark { .. } => {
                let data: Value = serde_json::from_str(&event.data).unwrap();
                let time = data["time"].as_i64().unwrap();
                self.world.book(|book| book.current(&self.who, &at, time, World::now()));
                self.current = Some(at);
            }
            // Nobody has changed the log.
            Seen::Reset { reason } => self.broken(format!("reset because of {reason:?} at {at}")),
            Seen::Hello { .. } | Seen::Synced { .. } | Seen::Unknown => {}
        }
    }

    fn shown(&self, at: &Cursor, entry: &Value, lifted: bool) -> String {
        self.world.book(|book| book.shown(&self.who, at, entry, lifted))
    }

    fn broken(&self, what: String) {
        self.world.book(|book| book.broken(format!("{}: {what}", self.who)));
    }
}
