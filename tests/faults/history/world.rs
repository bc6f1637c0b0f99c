//! What writers, readers and faults share: the hubs, the book, and when to end.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use revocation_hub::clock::Clock;
use revocation_hub::revocation::Cursor;
use tokio::sync::watch;

use super::READERS;
use super::book::Book;
use crate::harness::{Api, Map, until};

/// How long a client waits for an answer before it takes it for lost.
pub const CLIENT_PATIENCE: Duration = Duration::from_millis(1500);

/// Until when readers read.
pub type Goal = watch::Receiver<Option<Cursor>>;

/// Cheap to share.
#[derive(Clone)]
pub struct World {
    hubs: Arc<Vec<RwLock<Api>>>,
    book: Arc<Mutex<Book>>,
    writing: Arc<watch::Sender<bool>>,
    goal: Arc<watch::Sender<Option<Cursor>>>,
}

impl World {
    pub fn new(hubs: Vec<Api>) -> Self {
        Self {
            hubs: Arc::new(hubs.into_iter().map(RwLock::new).collect()),
            book: Arc::default(),
            writing: Arc::new(watch::Sender::new(true)),
            goal: Arc::new(watch::Sender::new(None)),
        }
    }

    pub fn hubs(&self) -> usize {
        self.hubs.len()
    }

    /// How to reach a hub at the moment.
    pub fn api(&self, hub: usize) -> Api {
        self.hubs[hub].read().clone()
    }

    /// A hub was started again and listens elsewhere.
    pub fn moved(&self, hub: usize, api: Api) {
        *self.hubs[hub].write() = api;
    }

    pub fn book<T>(&self, look: impl FnOnce(&mut Book) -> T) -> T {
        look(&mut self.book.lock())
    }

    /// Whole seconds, as the hubs have them.
    pub fn now() -> i64 {
        Clock::system().now()
    }

    pub fn is_writing(&self) -> bool {
        *self.writing.borrow()
    }

    pub fn stop_writing(&self) {
        self.writing.send_replace(false);
    }

    pub fn goal(&self) -> Goal {
        self.goal.subscribe()
    }

    /// Tells readers where to end: at the end of the log, on which all hubs agree.
    pub async fn stop_reading(&self) {
        let head = until("all hubs stand at the same place", async || {
            let first = self.api(0).try_snapshot().await?.cursor;
            for hub in 1..self.hubs() {
                if self.api(hub).try_snapshot().await?.cursor != first {
                    return None;
                }
            }
            Some(first)
        })
        .await;
        self.goal.send_replace(Some(head));
    }

    /// Everything that is to be asked at the end; what is wrong.
    pub async fn check(&self, maps: Vec<(String, Map)>) -> Vec<String> {
        // One moment for all, so that what is over is over for all; what is about to be is left out by all.
        let now = Self::now() + 5;
        for (who, map) in &maps {
            self.book(|book| book.check(who, map, now));
        }
        for hub in 0..self.hubs() {
            let snapshot = self.api(hub).snapshot().await;
            // What nobody knows the outcome of may still come.
            self.book(|book| book.check(&format!("hub {hub}"), &snapshot.map, now));
        }
        self.book(|book| {
            book.check_moves();
            book.check_order();
            book.check_life(READERS);
            book.losses()
        })
    }
}
