//! Segments: a run of the log in memory.
//!
//! A segment keeps its entries' wire forms one after the other in one text, each ended by a newline, and a few numbers
//! per entry beside it. What is shared with readers is never changed: the ledger copies on write, and a reader's view
//! stays what it was.

use std::sync::Arc;

use super::pieces::Pieces;
use crate::revocation::{Expiry, Id, Kind};

/// A segment is full at this many entries …
pub const MAX_ENTRIES: usize = 4096;
/// … or at this many bytes of text.
pub const MAX_TEXT: usize = 1 << 20;

const LIFTED: u8 = 0x80;

/// The entries of a segment. Positions ascend.
#[derive(Clone, Default)]
pub struct Data {
    seqs: Vec<u64>,
    ends: Vec<u32>,
    exps: Vec<i64>,
    kinds: Vec<u8>,
    text: Vec<u8>,
    /// The WSO2 keys of the few entries that have one, by index.
    wso2_keys: Vec<(u32, Box<str>)>,
}

impl Data {
    /// How many entries there are, dead ones included.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// The position of entry `i`.
    pub fn seq(&self, i: usize) -> u64 {
        self.seqs[i]
    }

    /// The wire form of entry `i`, without its newline.
    pub fn json(&self, i: usize) -> &[u8] {
        let line = self.line(i);
        &line[..line.len() - 1]
    }

    /// The wire form of entry `i` with its newline.
    pub fn line(&self, i: usize) -> &[u8] {
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        &self.text[start..self.ends[i] as usize]
    }

    /// The whole text: what NDJSON is when no entry is dead.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether entry `i` is a tombstone.
    pub fn is_lifted(&self, i: usize) -> bool {
        self.kinds[i] & LIFTED != 0
    }

    /// The kind of entry `i`.
    pub fn kind(&self, i: usize) -> Kind {
        Kind::from_number(i16::from(self.kinds[i] & !LIFTED)).expect("the ledger wrote the number itself")
    }

    /// When entry `i` is over.
    pub fn exp(&self, i: usize) -> Expiry {
        Expiry(self.exps[i])
    }

    /// What WSO2 gateways compare, when it is not the target's value.
    pub fn wso2_key(&self, i: usize) -> Option<&str> {
        let at = self.wso2_keys.binary_search_by_key(&(i as u32), |(i, _)| *i).ok()?;
        Some(&self.wso2_keys[at].1)
    }

    /// The id of entry `i`, which stands at a fixed place of the wire form: `{"id":"<32 digits>"`.
    pub fn id(&self, i: usize) -> Id {
        let mut id = [0; 16];
        hex::decode_to_slice(&self.line(i)[7..39], &mut id).expect("the ledger wrote the id itself");
        Id(id)
    }

    fn find(&self, seq: u64) -> Option<usize> {
        self.seqs.binary_search(&seq).ok()
    }

    fn first_after(&self, seq: u64) -> usize {
        self.seqs.partition_point(|s| *s <= seq)
    }

    fn push(&mut self, item: &Item<'_>) {
        let i = self.seqs.len();
        self.seqs.push(item.seq);
        self.text.extend_from_slice(item.json);
        self.text.push(b'\n');
        self.ends.push(u32::try_from(self.text.len()).expect("a segment's text is bounded"));
        self.exps.push(item.exp.0);
        self.kinds.push(item.kind as u8 | if item.lifted { LIFTED } else { 0 });
        if let Some(key) = item.wso2_key {
            self.wso2_keys.push((i as u32, key.into()));
        }
    }

    /// Room for a whole segment. Untouched pages cost nothing, and growing step by step would leave holes behind.
    fn roomy() -> Self {
        Self {
            seqs: Vec::with_capacity(MAX_ENTRIES),
            ends: Vec::with_capacity(MAX_ENTRIES),
            exps: Vec::with_capacity(MAX_ENTRIES),
            kinds: Vec::with_capacity(MAX_ENTRIES),
            text: Vec::with_capacity(MAX_TEXT + MAX_TEXT / 8),
            wso2_keys: Vec::new(),
        }
    }

    /// The same without slack. A copy and not `shrink_to_fit`: that would leave a hole behind every segment which is too
    /// small for the next one's room.
    fn fitted(&self) -> Self {
        self.clone()
    }
}

/// One entry on its way into a segment.
pub struct Item<'a> {
    /// Its position.
    pub seq: u64,
    /// Its wire form.
    pub json: &'a [u8],
    /// Its target's kind.
    pub kind: Kind,
    /// Whether it is a tombstone.
    pub lifted: bool,
    /// When it is over.
    pub exp: Expiry,
    /// See [`Data::wso2_key`].
    pub wso2_key: Option<&'a str>,
}

/// Which entries are dead (moved, lifted or over), and which are shadowed: there is another one of the same kind and
/// value (of another issuer) that lives longer, and lists that know no issuers show only that one.
#[derive(Clone, Default)]
pub struct Marks {
    dead: Bits,
    shadowed: Bits,
    gone: usize,
}

impl Marks {
    /// Whether entry `i` is no longer there.
    pub fn is_dead(&self, i: usize) -> bool {
        self.dead.get(i)
    }

    /// Whether lists without issuers leave entry `i` out.
    pub fn is_shadowed(&self, i: usize) -> bool {
        self.shadowed.get(i)
    }

    /// How many entries are dead.
    pub fn gone(&self) -> usize {
        self.gone
    }
}

#[derive(Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn get(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    /// Returns whether the bit was different before.
    fn set(&mut self, i: usize, value: bool) -> bool {
        if self.get(i) == value {
            return false;
        }
        if self.0.len() <= i / 64 {
            self.0.resize(i / 64 + 1, 0);
        }
        self.0[i / 64] ^= 1 << (i % 64);
        true
    }
}

/// A run of the log.
#[derive(Clone, Default)]
pub struct Segment {
    /// The entries; shared with readers.
    pub data: Arc<Data>,
    /// Which of them count; shared with readers.
    pub marks: Arc<Marks>,
    /// What of it is already encoded; belongs to exactly this data and these marks.
    pub pieces: Arc<Pieces>,
    min_exp: i64,
}

impl Segment {
    /// Whether the next entry belongs into a new segment.
    pub fn is_full(&self) -> bool {
        self.data.len() >= MAX_ENTRIES || self.data.text.len() >= MAX_TEXT
    }

    /// How many entries are not dead.
    pub fn alive(&self) -> usize {
        self.data.len() - self.marks.gone
    }

    /// The position of the first entry.
    pub fn first_seq(&self) -> u64 {
        self.data.seqs.first().copied().unwrap_or(u64::MAX)
    }

    /// The index of the entry at `seq`, if it is there and not dead.
    pub fn find(&self, seq: u64) -> Option<usize> {
        self.data.find(seq).filter(|i| !self.marks.is_dead(*i))
    }

    /// The index of the first entry after `seq`.
    pub fn first_after(&self, seq: u64) -> usize {
        self.data.first_after(seq)
    }

    /// Adds an entry behind the others.
    pub fn push(&mut self, item: &Item<'_>) {
        if self.data.len() == 0 {
            (self.data, self.min_exp) = (Arc::new(Data::roomy()), item.exp.0);
        }
        self.min_exp = self.min_exp.min(item.exp.0);
        Arc::make_mut(&mut self.data).push(item);
        self.changed();
    }

    /// Marks entry `i` dead.
    pub fn kill(&mut self, i: usize) {
        let marks = Arc::make_mut(&mut self.marks);
        if marks.dead.set(i, true) {
            marks.gone += 1;
            self.changed();
        }
    }

    /// Marks entry `i` shadowed or not.
    pub fn shadow(&mut self, i: usize, shadowed: bool) {
        if self.marks.is_shadowed(i) != shadowed {
            Arc::make_mut(&mut self.marks).shadowed.set(i, shadowed);
            self.changed();
        }
    }

    /// What is encoded, or what a reader is about to encode from the older state, no longer fits.
    fn changed(&mut self) {
        if Arc::strong_count(&self.pieces) > 1 || !self.pieces.is_empty() {
            self.pieces = Arc::default();
        }
    }

    /// The indices of the entries that are over when everything with `exp <= cutoff` is.
    pub fn over(&self, cutoff: i64) -> Vec<usize> {
        if self.min_exp > cutoff {
            return Vec::new();
        }
        (0..self.data.len()).filter(|i| self.data.exps[*i] <= cutoff && !self.marks.is_dead(*i)).collect()
    }

    /// Gives back the slack of growing; the segment takes no more entries.
    pub fn seal(&mut self) {
        self.data = Arc::new(self.data.fitted());
    }

    /// Whether so much of it is dead that it should be written anew.
    pub fn is_sparse(&self) -> bool {
        self.marks.gone * 3 > self.data.len()
    }

    /// One segment with what is alive in `parts`, which follow each other in the log.
    pub fn merged(parts: &[&Segment]) -> Segment {
        let mut whole = Segment::default();
        let mut data = Data::roomy();
        let mut marks = Marks::default();
        whole.min_exp = i64::MAX;
        for part in parts {
            for i in (0..part.data.len()).filter(|i| !part.marks.is_dead(*i)) {
                marks.shadowed.set(data.len(), part.marks.is_shadowed(i));
                whole.min_exp = whole.min_exp.min(part.data.exps[i]);
                data.push(&Item {
                    seq: part.data.seq(i),
                    json: part.data.json(i),
                    kind: part.data.kind(i),
                    lifted: part.data.is_lifted(i),
                    exp: part.data.exp(i),
                    wso2_key: part.data.wso2_key(i),
                });
            }
        }
        (whole.data, whole.marks) = (Arc::new(data.fitted()), Arc::new(marks));
        whole
    }
}
