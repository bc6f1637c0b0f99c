//! The ledger: every live revocation in memory, in the order of the log. All outlets read it and nothing else.
//!
//! **Pattern.** An ordered, compacted log in segments. Each entry is kept as its wire form, encoded once; compressed
//! lists are put together from pieces that are cached per segment. Two hash indexes (by id, and by kind and value) lead
//! to positions. A `watch` channel tells the head: an outlet waits for it and then *pulls* from its own cursor, so a
//! slow client is one number and no queue exists that could overflow.
//!
//! **Concurrency.** One writer, the feed. Readers take a read lock for as long as it takes to copy references, or at
//! most 64 KiB of frames. Removal of what has expired works segment by segment and lets go of the lock in between.
//!
//! **Invariants.**
//! * Only committed rows get in, in `seq` order, and each id has at most one entry.
//! * Everything up to `head` that is still in force is here. While that is not known to be so (before the first load)
//!   [`Ledger::is_loaded`] is false and outlets refuse to answer. A log that takes another one's place is loaded beside it,
//!   and outlets read the old one until all of it is there, as they do while the store is away.
//! * An entry goes when it was moved or lifted, or when `exp + clock_skew` has passed; at the latest
//!   `prune_interval` after that, and then from everywhere at once: order, indexes, lists.

mod book;
mod entry;
mod index;
mod pieces;
mod query;
mod recent;
mod rows;
mod segment;
mod view;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;
use tokio::time::Instant;

use book::{Book, Bookmark, Texts};
pub use pieces::{Coding, Organization, Piece, Shape};
pub use recent::frame;
pub use rows::Rows;
pub use view::{Part, View};

use crate::revocation::{Claims, Cursor, Epoch, Id, Kind, Row};

/// Bytes that are copied from the segments at once for one stream.
const REPLAYED: usize = 16 << 10;

/// What the ledger tells those who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// The newest position.
    pub head: u64,
    /// Counts the bookmark intervals since the start.
    pub tick: u64,
    /// Counts the times the log became another one.
    pub resets: u64,
    /// The hub is stopping, and streams end. It is part of the pulse so that a stream waits for one thing only.
    pub closing: bool,
}

/// Numbers for metrics and for people.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Live revocations by kind, in the order of [`Kind::ALL`].
    pub live: [usize; Kind::ALL.len()],
    /// Those of them that have no `wso2_key`, in the same order.
    pub keyless: [usize; Kind::ALL.len()],
    /// Tombstones.
    pub tombstones: usize,
    /// The newest position.
    pub head: u64,
    /// How long ago the last successful read of the store began.
    pub age: Option<Duration>,
}

/// Whether the log has a position, see [`Ledger::reach`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// It has.
    Here,
    /// It is of this epoch but does not go so far: it has lost rows. The feed has been told.
    Beyond,
    /// Its epoch is another one.
    OtherEpoch,
}

/// Events for one stream.
#[derive(Debug)]
pub struct Frames {
    /// The frames, ready to send; empty when there is nothing (left).
    pub bytes: Bytes,
    /// Where the stream stands when it has sent them.
    pub seq: u64,
    /// Where the log stood.
    pub head: u64,
    /// When the oldest of them was committed, if they are among the newest events.
    pub committed: Option<Instant>,
}

/// See the module's documentation.
pub struct Ledger {
    inner: RwLock<Book>,
    /// The log that is being loaded to take the place of the one in `inner`. Locked before `inner`.
    next: Mutex<Option<Book>>,
    pulse: watch::Sender<Pulse>,
    /// Counts the successful reads of the store. Not part of the pulse: it moves once a second even when nothing happens,
    /// and nobody but [`Ledger::reach`] has to wake for it.
    reads: watch::Sender<u64>,
    poke: tokio::sync::Notify,
    /// The farthest position that somebody says the log of this epoch once gave, and that it does not reach.
    claim: Mutex<Option<(Epoch, u64)>>,
    organization: Organization,
}

impl Ledger {
    /// An empty ledger that is not loaded. `organization` is what WSO2's lists say of every rule's tenant.
    pub fn new(organization: &str) -> Arc<Self> {
        Arc::new(Self {
            inner: RwLock::default(),
            next: Mutex::default(),
            pulse: watch::Sender::new(Pulse::default()),
            reads: watch::Sender::new(0),
            poke: tokio::sync::Notify::new(),
            claim: Mutex::default(),
            organization: organization.into(),
        })
    }

    // ---- for the feed ------------------------------------------------------------------------------------------

    /// Begins anew, because the log is now that of `epoch`. What was loaded stays until the new one is.
    pub fn begin(&self, epoch: Epoch) {
        let book = Book { epoch: Some(epoch), ..Book::default() };
        let mut next = self.next.lock();
        let mut inner = self.inner.write();
        if inner.loaded {
            inner.bookmark = None;
            *next = Some(book);
        } else {
            *inner = book;
        }
    }

    /// Whether a log is being loaded, the first one or another one.
    pub fn is_loading(&self) -> bool {
        self.next.lock().is_some() || !self.is_loaded()
    }

    /// The epoch of what is loaded.
    pub fn epoch(&self) -> Option<Epoch> {
        let inner = self.inner.read();
        inner.epoch.clone().filter(|_| inner.loaded)
    }

    /// Takes rows in, which follow the present head in `seq` order, and moves the head to `head`. A row is left out when
    /// its `exp` is at or before `cutoff` (it is over), which changes nothing for anybody.
    pub fn apply(&self, rows: &[Row], head: u64, cutoff: i64) {
        self.apply_committed(rows, head, cutoff, Instant::now());
    }

    /// The same; `committed` is when that was, as far as it is known here.
    pub fn apply_committed(&self, rows: &[Row], head: u64, cutoff: i64, committed: Instant) {
        // Encoding needs no lock.
        let texts = Texts::of(rows);
        if let Some(book) = self.next.lock().as_mut() {
            return book.take(rows, &texts, head, cutoff, committed);
        }
        let mut inner = self.inner.write();
        inner.take(rows, &texts, head, cutoff, committed);
        let head = inner.head;
        drop(inner);
        self.pulse.send_if_modified(|p| std::mem::replace(&mut p.head, head) != head);
    }

    /// Says that a read of the store, begun at `began`, showed that there is nothing after the present head.
    pub fn confirm(&self, began: Instant) {
        let mut next = self.next.lock();
        let mut inner = self.inner.write();
        // What it held is freed after the locks.
        let old = next.take().map(|book| std::mem::replace(&mut *inner, book));
        inner.confirmed = inner.confirmed.max(Some(began));
        inner.loaded = true;
        let head = inner.head;
        drop((inner, next));
        if old.is_some() {
            self.pulse.send_modify(|p| (p.head, p.resets) = (head, p.resets + 1));
        }
        self.reads.send_modify(|n| *n += 1);
    }

    /// Ends one bookmark interval. With `time` (NumericDate seconds of a successful read in it) streams get a bookmark.
    pub fn tick(&self, time: Option<i64>) {
        let next = self.next.lock();
        let mut inner = self.inner.write();
        let tick = self.pulse.borrow().tick + 1;
        inner.bookmark = match (&inner.epoch, time) {
            // What was read of another log says nothing of this one.
            (Some(epoch), Some(time)) if inner.loaded && next.is_none() => {
                Some(Bookmark { head: inner.head, time, frame: bookmark(epoch, inner.head, time) })
            }
            _ => None,
        };
        drop((inner, next));
        self.pulse.send_modify(|p| p.tick = tick);
    }

    /// Removes what is over when everything with `exp <= cutoff` is, and returns the ids of that. Lets go of the lock between
    /// segments.
    pub fn sweep(&self, cutoff: i64) -> Vec<Id> {
        self.inner.write().recent.age();
        let mut removed = Vec::new();
        let mut at = 0;
        loop {
            let mut inner = self.inner.write();
            let Some(segment) = inner.segments.get(at) else { break };
            for i in segment.over(cutoff) {
                removed.push(inner.segments[at].data.id(i));
                inner.kill(at, i);
            }
            at += usize::from(!inner.tidy(at));
        }
        removed
    }

    /// Drops the cached pieces, which nobody has asked for in a while.
    pub fn forget_pieces(&self) {
        let mut inner = self.inner.write();
        for segment in inner.segments.iter_mut().filter(|s| !s.pieces.is_empty()) {
            segment.pieces = Arc::default();
        }
    }

    /// Tells all streams to end.
    pub fn close(&self) {
        self.pulse.send_modify(|p| p.closing = true);
    }

    /// Takes the position that a client was once given by an epoch, and that its log did not reach when it was last read.
    pub fn claim(&self) -> Option<(Epoch, u64)> {
        self.claim.lock().take()
    }

    /// Resolves when an outlet would like the store to be read now; see [`Ledger::reach`].
    pub async fn poked(&self) {
        self.poke.notified().await;
    }

    // ---- for the outlets ---------------------------------------------------------------------------------------

    /// Whether everything in force is here. False before the first load and while another epoch is being loaded.
    pub fn is_loaded(&self) -> bool {
        self.inner.read().loaded
    }

    /// The present end of the log, `None` while not loaded.
    pub fn cursor(&self) -> Option<Cursor> {
        let inner = self.inner.read();
        inner.epoch.clone().filter(|_| inner.loaded).map(|epoch| Cursor { epoch, seq: inner.head })
    }

    /// A receiver that wakes when the head moves or a bookmark interval ends.
    pub fn subscribe(&self) -> watch::Receiver<Pulse> {
        self.pulse.subscribe()
    }

    /// Waits until the ledger has reached `seq` of `epoch`, or until a read of the store that began after the call showed
    /// that the log does not. Another replica may have given the cursor out before this one read the store, so being behind
    /// it is normal for a moment, and so is not to have heard of its epoch.
    pub async fn reach(&self, epoch: &Epoch, seq: u64) -> Reach {
        let (mut pulse, mut reads) = (self.pulse.subscribe(), self.reads.subscribe());
        let asked = Instant::now();
        let mut poked = false;
        loop {
            {
                let inner = self.inner.read();
                let same = inner.epoch.as_ref() == Some(epoch);
                if same && inner.loaded && inner.head >= seq {
                    return Reach::Here;
                }
                if inner.loaded && inner.confirmed.is_some_and(|began| began > asked) {
                    if !same {
                        return Reach::OtherEpoch;
                    }
                    drop(inner);
                    let mut claim = self.claim.lock();
                    let farther = claim.take().filter(|(other, at)| other == epoch && *at > seq);
                    *claim = Some(farther.unwrap_or_else(|| (epoch.clone(), seq)));
                    drop(claim);
                    self.poke.notify_one();
                    return Reach::Beyond;
                }
            }
            if !std::mem::replace(&mut poked, true) {
                self.poke.notify_one();
            }
            // The senders live as long as the ledger, so neither can fail.
            tokio::select! {
                _ = pulse.changed() => {}
                _ = reads.changed() => {}
            }
        }
    }

    /// Events after `after`, from the newest ones or from the segments; about `limit` bytes at the most unless one batch
    /// is larger. With `skip_lifted` (for a client that has nothing yet) there are no tombstones. `None` while not loaded, or when the epoch is no longer `epoch`.
    pub fn frames(&self, epoch: &Epoch, after: u64, limit: usize, skip_lifted: bool) -> Option<Frames> {
        let inner = self.inner.read();
        if !inner.loaded || inner.epoch.as_ref() != Some(epoch) {
            return None;
        }
        // For a client that has nothing the segments say less: only what is still in force.
        if !skip_lifted && let Some((bytes, seq, committed)) = inner.recent.after(after, limit) {
            return Some(Frames { bytes, seq, head: inner.head, committed });
        }
        let mut out = BytesMut::new();
        // A copy for this stream alone: when all of a fleet come back at once, there are as many.
        let limit = limit.min(REPLAYED);
        let first = inner.segments.partition_point(|s| s.first_seq() <= after).saturating_sub(1);
        for segment in &inner.segments[first.min(inner.segments.len())..] {
            let alive = (segment.first_after(after)..segment.data.len()).filter(|i| !segment.marks.is_dead(*i));
            for i in alive {
                let lifted = segment.data.is_lifted(i);
                if !(lifted && skip_lifted) {
                    recent::frame(&mut out, epoch, segment.data.seq(i), event(lifted), segment.data.json(i));
                }
                if out.len() >= limit {
                    let seq = segment.data.seq(i);
                    return Some(Frames { bytes: out.freeze(), seq, head: inner.head, committed: None });
                }
            }
        }
        Some(Frames { bytes: out.freeze(), seq: inner.head, head: inner.head, committed: None })
    }

    /// The bookmark of the last interval, for a stream of `epoch` that stands at `seq`; `None` when the store did not answer in
    /// it or the stream has not come so far. A stream that has got more since then stands where it does, and its client has
    /// everything as of the same time.
    pub fn bookmark(&self, epoch: &Epoch, seq: u64) -> Option<Bytes> {
        let inner = self.inner.read();
        let Bookmark { head, time, frame } = inner.bookmark.as_ref()?;
        if inner.epoch.as_ref() != Some(epoch) || seq < *head {
            return None;
        }
        Some(if seq == *head { frame.clone() } else { bookmark(epoch, seq, *time) })
    }

    /// Everything after position `after` (0: everything) as it stands now. `None` while not loaded.
    pub fn view(&self, after: u64) -> Option<View> {
        let inner = self.inner.read();
        let epoch = inner.epoch.clone().filter(|_| inner.loaded)?;
        let first = inner.segments.partition_point(|s| s.first_seq() <= after).saturating_sub(1);
        Some(View {
            cursor: Cursor { epoch, seq: inner.head },
            live: inner.live.iter().sum(),
            parts: inner.segments[first.min(inner.segments.len())..]
                .iter()
                .map(|segment| Part::new(segment, after, &self.organization))
                .collect(),
        })
    }

    /// The wire form of one live revocation.
    pub fn get(&self, id: Id) -> Option<Vec<u8>> {
        let inner = self.inner.read();
        let (at, i) = inner.locate(id)?;
        let data = &inner.segments[at].data;
        (!data.is_lifted(i)).then(|| data.json(i).to_vec())
    }

    /// Whether there is a tombstone of this id: the revocation was taken back, and would not be over yet.
    pub fn is_lifted(&self, id: Id) -> bool {
        let inner = self.inner.read();
        inner.locate(id).is_some_and(|(at, i)| inner.segments[at].data.is_lifted(i))
    }

    /// The wire form of a revocation that hits a token with these claims, if there is one.
    pub fn check(&self, claims: &Claims) -> Option<Vec<u8>> {
        let inner = self.inner.read();
        query::check(claims, |kind, value| {
            let mut hits = Vec::new();
            inner.group(kind, value, |at, i| hits.push(inner.segments[at].data.json(i)));
            hits
        })
        .map(<[u8]>::to_vec)
    }

    /// Numbers as of now.
    pub fn stats(&self) -> Stats {
        let inner = self.inner.read();
        Stats {
            live: inner.live,
            keyless: inner.keyless,
            tombstones: inner.tombstones,
            head: inner.head,
            age: inner.confirmed.map(|at| at.elapsed()),
        }
    }
}

fn event(lifted: bool) -> &'static str {
    if lifted { "lifted" } else { "revoked" }
}

#[cfg(test)]
mod tests;

fn bookmark(epoch: &Epoch, head: u64, time: i64) -> Bytes {
    let mut out = BytesMut::new();
    let json = format!(r#"{{"head":{head},"time":{time}}}"#);
    recent::frame(&mut out, epoch, head, "bookmark", json.as_bytes());
    out.freeze()
}
