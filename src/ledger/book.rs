//! What the ledger's lock guards: the segments, the two indexes, and everything that has to agree with them.

use bytes::Bytes;
use tokio::time::Instant;

use super::entry::Entry;
use super::index::Index;
use super::recent::{self, Frames, Recent};
use super::segment::{self, Item, Segment};
use crate::revocation::{Epoch, Id, Kind, Lifted, Row, Wire};

/// The entries and all that leads to them.
#[derive(Default)]
pub struct Book {
    pub epoch: Option<Epoch>,
    pub head: u64,
    pub loaded: bool,
    pub confirmed: Option<Instant>,
    pub bookmark: Option<Bookmark>,
    pub segments: Vec<Segment>,
    pub ids: Index,
    pub claims: Index,
    pub recent: Recent,
    pub live: [usize; Kind::ALL.len()],
    pub keyless: [usize; Kind::ALL.len()],
    pub tombstones: usize,
}

/// What was last read of the store, for streams.
pub struct Bookmark {
    /// Where the log stood.
    pub head: u64,
    /// When, NumericDate seconds.
    pub time: i64,
    /// For those that stand there.
    pub frame: Bytes,
}

/// The wire forms of some rows, one after the other.
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// What a usual wire form takes, bytes; only saves growing.
const USUAL_TEXT: usize = 192;

impl Texts {
    pub fn of(rows: &[Row]) -> Self {
        let mut bytes = Vec::with_capacity(rows.len() * USUAL_TEXT);
        let write = |row: &Row| {
            let r = &row.revocation;
            let written = if row.lifted {
                serde_json::to_writer(&mut bytes, &Lifted { id: row.id, target: &r.target })
            } else {
                serde_json::to_writer(&mut bytes, &Wire { id: row.id, revocation: r })
            };
            written.expect("strings and numbers are JSON");
            bytes.len()
        };
        let ends = rows.iter().map(write).collect();
        Self { bytes, ends }
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
}

/// Keys of the two indexes are kept apart by a tag, so that a value cannot pose as an id.
const ID_TAG: u8 = 0;

impl Book {
    /// Takes rows in that follow the head, with their wire forms. While all of it is being loaded nobody needs frames.
    pub fn take(&mut self, rows: &[Row], texts: &Texts, head: u64, cutoff: i64, committed: Instant) {
        let Some(epoch) = self.epoch.clone() else { return };
        let mut room = texts.bytes.len() + texts.ends.len() * recent::AROUND;
        let mut frames = Frames::with_room(room);
        for (row, json) in rows.iter().zip(texts.iter()) {
            debug_assert!(row.seq > self.head && row.seq <= super::index::MAX_SEQ);
            self.remove(row.id);
            if row.revocation.exp.0 > cutoff {
                self.push(row, json);
            }
            self.head = row.seq;
            if self.loaded && frames.add(&epoch, row.seq, super::event(row.lifted), json) {
                room = room.saturating_sub(recent::PIECE);
                self.recent.push(std::mem::replace(&mut frames, Frames::with_room(room)), row.seq, committed);
            }
        }
        self.head = self.head.max(head);
        if self.loaded {
            self.recent.push(frames, self.head, committed);
        } else {
            self.recent.clear(self.head);
        }
    }

    pub fn locate(&self, id: Id) -> Option<(usize, usize)> {
        let hash = self.ids.hash(ID_TAG, &id.0);
        self.ids.candidates(hash).find_map(|seq| self.at(seq).filter(|(at, i)| self.segments[*at].data.id(*i) == id))
    }

    pub fn at(&self, seq: u64) -> Option<(usize, usize)> {
        let at = self.segments.partition_point(|s| s.first_seq() <= seq).checked_sub(1)?;
        self.segments[at].find(seq).map(|i| (at, i))
    }

    /// Calls `f` with every entry of this kind and value, of whichever issuer.
    pub fn group<'a>(&'a self, kind: Kind, value: &str, mut f: impl FnMut(usize, usize) + 'a) {
        let hash = self.claims.hash(kind as u8, value.as_bytes());
        for (at, i) in self.claims.candidates(hash).filter_map(|seq| self.at(seq)) {
            let data = &self.segments[at].data;
            if data.kind(i) == kind && Entry::read(data.json(i)).value(kind) == value {
                f(at, i);
            }
        }
    }

    pub fn push(&mut self, row: &Row, json: &[u8]) {
        if self.segments.last().is_none_or(Segment::is_full) {
            if let Some(last) = self.segments.last_mut() {
                last.seal();
            }
            self.segments.push(Segment::default());
        }
        let target = &row.revocation.target;
        let item = Item {
            seq: row.seq,
            json,
            kind: target.kind,
            lifted: row.lifted,
            exp: row.revocation.exp,
            wso2_key: row.revocation.wso2_key.as_deref().filter(|_| !row.lifted),
        };
        if let Some(last) = self.segments.last_mut() {
            last.push(&item);
        }
        self.ids.insert(self.ids.hash(ID_TAG, &row.id.0), row.seq);
        if row.lifted {
            self.tombstones += 1;
        } else {
            self.live[target.kind as usize - 1] += 1;
            self.keyless[target.kind as usize - 1] += usize::from(item.wso2_key.is_none());
            let hash = self.claims.hash(target.kind as u8, target.value.as_bytes());
            let alone = self.claims.candidates(hash).next().is_none();
            self.claims.insert(hash, row.seq);
            // The usual case: nobody else has the value, and a new entry is shown.
            if !alone {
                self.reshadow(target.kind, &target.value);
            }
        }
    }

    pub fn remove(&mut self, id: Id) {
        if let Some((at, i)) = self.locate(id) {
            self.kill(at, i);
            self.tidy(at);
        }
    }

    /// Takes entry `i` of segment `at` out of everything.
    pub fn kill(&mut self, at: usize, i: usize) {
        let segment = &mut self.segments[at];
        segment.kill(i);
        let data = segment.data.clone();
        let (seq, kind) = (data.seq(i), data.kind(i));
        self.ids.remove(self.ids.hash(ID_TAG, &data.id(i).0), seq);
        if data.is_lifted(i) {
            self.tombstones -= 1;
            return;
        }
        self.live[kind as usize - 1] -= 1;
        self.keyless[kind as usize - 1] -= usize::from(data.wso2_key(i).is_none());
        let entry = Entry::read(data.json(i));
        let value = entry.value(kind);
        self.claims.remove(self.claims.hash(kind as u8, value.as_bytes()), seq);
        self.reshadow(kind, value);
    }

    /// Lets exactly one of the entries of a kind and value stand in lists that know no issuers: the longest-lived.
    pub fn reshadow(&mut self, kind: Kind, value: &str) {
        let hash = self.claims.hash(kind as u8, value.as_bytes());
        let mut group = Vec::new();
        if self.claims.candidates(hash).nth(1).is_none() {
            // The usual case: at most one entry, which is shown.
            group.extend(self.claims.candidates(hash).filter_map(|seq| self.at(seq)));
        } else {
            self.group(kind, value, |at, i| group.push((at, i)));
        }
        let longest = group.iter().copied().max_by_key(|(at, i)| {
            let data = &self.segments[*at].data;
            (data.exp(*i), data.seq(*i))
        });
        for (at, i) in group {
            self.segments[at].shadow(i, Some((at, i)) != longest);
        }
    }

    /// Writes a segment anew when much of it is dead, together with a small neighbour. Returns whether the segment at
    /// `at` is now another one.
    pub fn tidy(&mut self, at: usize) -> bool {
        let segment = &self.segments[at];
        if segment.alive() == 0 {
            self.segments.remove(at);
            return true;
        }
        if !segment.is_sparse() {
            return false;
        }
        let joins =
            |other: Option<&Segment>| other.is_some_and(|s| s.alive() + segment.alive() <= segment::MAX_ENTRIES / 2);
        if at > 0 && joins(self.segments.get(at - 1)) {
            self.segments[at - 1] = Segment::merged(&[&self.segments[at - 1], segment]);
            self.segments.remove(at);
            return true;
        }
        self.segments[at] = Segment::merged(&[segment]);
        false
    }
}
