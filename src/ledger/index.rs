//! A hash index from a key to positions in the log, at eleven bytes a bucket.
//!
//! The keys themselves stand in the entries' text and are not stored again: a slot holds 32 bits of a keyed hash and
//! 48 bits of `seq`, and the caller compares the candidates. The stored hash makes growing cheap: nothing has to be
//! read again. (48 bits of `seq` last 178 years at 50,000 revocations a second.)

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher;

/// The largest position an index can hold.
pub const MAX_SEQ: u64 = (1 << 48) - 1;

#[derive(Clone, Copy)]
struct Slot([u8; 10]);

impl Slot {
    fn new(hash: u32, seq: u64) -> Self {
        debug_assert!(seq <= MAX_SEQ);
        let mut bytes = [0; 10];
        bytes[..4].copy_from_slice(&hash.to_le_bytes());
        bytes[4..].copy_from_slice(&seq.to_le_bytes()[..6]);
        Self(bytes)
    }

    fn hash(self) -> u32 {
        u32::from_le_bytes([self.0[0], self.0[1], self.0[2], self.0[3]])
    }

    fn seq(self) -> u64 {
        let mut bytes = [0; 8];
        bytes[..6].copy_from_slice(&self.0[4..]);
        u64::from_le_bytes(bytes)
    }
}

/// Spreads 32 bits over 64, because the table takes its bucket from the low bits and its tag from the high ones.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A multimap from hashed keys to positions.
#[derive(Default)]
pub struct Index {
    table: HashTable<Slot>,
    hasher: DefaultHashBuilder,
}

impl Index {
    /// The hash of a key in this index. Keyed at random, so that nobody can choose colliding keys.
    pub fn hash(&self, tag: u8, key: &[u8]) -> u32 {
        (self.hasher.hash_one((tag, key)) >> 32) as u32
    }

    /// Adds a position under a hash.
    pub fn insert(&mut self, hash: u32, seq: u64) {
        self.table.insert_unique(spread(hash), Slot::new(hash, seq), |slot| spread(slot.hash()));
    }

    /// Takes a position away again.
    pub fn remove(&mut self, hash: u32, seq: u64) {
        let wanted = Slot::new(hash, seq);
        if let Ok(entry) = self.table.find_entry(spread(hash), |slot| slot.0 == wanted.0) {
            entry.remove();
        }
        // A set that has shrunk gives its memory back, but not at every removal.
        if self.table.capacity() > 4096 && self.table.len() < self.table.capacity() / 8 {
            self.table.shrink_to(self.table.len() * 2, |slot| spread(slot.hash()));
        }
    }

    /// The positions under a hash. Some may belong to another key: compare.
    pub fn candidates(&self, hash: u32) -> impl Iterator<Item = u64> + '_ {
        self.table.iter_hash(spread(hash)).filter(move |slot| slot.hash() == hash).map(|slot| slot.seq())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_put_in_and_nothing_that_was_taken_out() {
        let mut index = Index::default();
        for seq in 0..10_000u64 {
            index.insert(index.hash(1, &seq.to_le_bytes()), seq);
        }
        index.insert(index.hash(1, &7u64.to_le_bytes()), MAX_SEQ);
        let hash = index.hash(1, &7u64.to_le_bytes());
        let mut found: Vec<u64> = index.candidates(hash).filter(|s| *s == 7 || *s == MAX_SEQ).collect();
        found.sort_unstable();
        assert_eq!(found, [7, MAX_SEQ]);
        for seq in 0..10_000u64 {
            index.remove(index.hash(1, &seq.to_le_bytes()), seq);
        }
        assert_eq!(index.candidates(hash).collect::<Vec<_>>(), [MAX_SEQ]);
    }
}
