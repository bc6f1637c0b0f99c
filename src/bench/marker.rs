//! The names of our events: a UUID-shaped `jti` that carries the run and a number, and the search for it in raw bytes.
//!
//! A stream of 10,000 × 100 events/s is too much to parse as JSON beside the server that is measured. So a subscriber
//! only looks for the 24 bytes all names of this run begin with, and reads the number behind them.

/// The bytes of a whole name.
pub const NAME: usize = 36;
const PREFIX: usize = 24;
const DIGITS: usize = NAME - PREFIX;

/// One run of a cell: 48 random bits that no other run shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run(u64);

impl Run {
    pub fn new() -> Self {
        Self(rand::random::<u64>() >> 16)
    }

    /// Name of event `number`.
    pub fn name(self, number: u64) -> String {
        format!("{}{number:012x}", self.prefix())
    }

    /// A name without visible order, for what is compressed: real tokens do not count upwards. Still made of run and
    /// number alone, so that no two are alike.
    pub fn scattered_name(self, number: u64) -> String {
        let a = mix(self.0 ^ mix(number));
        let b = mix(a ^ number.rotate_left(32));
        // The middle holds the number itself (hidden by a bijection), which keeps names distinct without a look-up.
        let low = mix(number ^ (self.0 << 16));
        let tail = b & 0xfff;
        format!("{:08x}-{:04x}-4{tail:03x}-{:04x}-{:012x}", a >> 32, (a & 0xffff), low >> 48, low & 0xffff_ffff_ffff)
    }

    fn prefix(self) -> String {
        format!("{:08x}-{:04x}-4000-8000-", self.0 >> 16, self.0 & 0xffff)
    }
}

/// A bijection of 64 bits (the finaliser of SplitMix64).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A short text to look for in many bytes (Horspool: most bytes are never looked at).
#[derive(Clone, Debug)]
pub struct Needle {
    text: Vec<u8>,
    skip: [u8; 256],
}

impl Needle {
    /// `text` is 1 to 255 bytes long.
    pub fn new(text: &[u8]) -> Self {
        debug_assert!((1..=255).contains(&text.len()));
        let mut skip = [text.len() as u8; 256];
        for (i, b) in text[..text.len() - 1].iter().enumerate() {
            skip[usize::from(*b)] = (text.len() - 1 - i) as u8;
        }
        Self { text: text.to_vec(), skip }
    }

    /// Where the text begins, at `at` or behind it.
    pub fn find(&self, hay: &[u8], mut at: usize) -> Option<usize> {
        let end = self.text.len() - 1;
        while at + end < hay.len() {
            let last = hay[at + end];
            if last == self.text[end] && hay[at..=at + end] == self.text {
                return Some(at);
            }
            at += usize::from(self.skip[usize::from(last)]);
        }
        None
    }
}

/// Finds the names of one run.
#[derive(Clone, Debug)]
pub struct Finder(Needle);

/// The beginning of a name that the last piece ended with.
#[derive(Debug)]
pub struct Carry {
    bytes: [u8; NAME],
    len: usize,
}

impl Default for Carry {
    fn default() -> Self {
        Self { bytes: [0; NAME], len: 0 }
    }
}

impl Finder {
    pub fn new(run: Run) -> Self {
        Self(Needle::new(run.prefix().as_bytes()))
    }

    /// Takes the next piece of a stream and calls `found` with the number of each name that ends in it.
    pub fn feed(&self, carry: &mut Carry, piece: &[u8], mut found: impl FnMut(u64)) {
        if carry.len > 0 {
            // Whatever starts in the carry ends within NAME - 1 bytes of the piece.
            let mut seam = [0; 2 * NAME];
            let take = piece.len().min(NAME - 1);
            seam[..carry.len].copy_from_slice(&carry.bytes[..carry.len]);
            seam[carry.len..carry.len + take].copy_from_slice(&piece[..take]);
            let seam = &seam[..carry.len + take];
            self.search(seam, carry.len, &mut found);
            if take == piece.len() {
                carry.keep(seam);
                // A name that lies wholly in so short a piece does not exist: it would not fit.
                return;
            }
        }
        self.search(piece, piece.len(), &mut found);
        carry.keep(piece);
    }

    /// Names that start before `limit`.
    fn search(&self, hay: &[u8], limit: usize, found: &mut impl FnMut(u64)) {
        let mut from = 0;
        while let Some(at) = self.0.find(hay, from)
            && at < limit
            && at + NAME <= hay.len()
        {
            let n = number(&hay[at + PREFIX..at + NAME]);
            from = at + if n.is_some() { NAME } else { 1 };
            n.into_iter().for_each(&mut *found);
        }
    }
}

impl Carry {
    /// Keeps what could be the beginning of a name. No name has a line break in it, and events end with one, so there
    /// is usually nothing to keep.
    fn keep(&mut self, bytes: &[u8]) {
        let tail = &bytes[bytes.len() - bytes.len().min(NAME - 1)..];
        let tail = tail.iter().rposition(|b| *b == b'\n').map_or(tail, |i| &tail[i + 1..]);
        self.bytes[..tail.len()].copy_from_slice(tail);
        self.len = tail.len();
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    debug_assert_eq!(digits.len(), DIGITS);
    digits.iter().try_fold(0u64, |n, d| Some(n << 4 | u64::from(char::from(*d).to_digit(16)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(run: Run, numbers: &[u64]) -> Vec<u8> {
        let mut out = Vec::from("id: x-0\nevent: hello\ndata: {}\n\n");
        for n in numbers {
            let name = run.name(*n);
            out.extend(format!("id: x-{n}\nevent: revoked\ndata: {{\"jti\":\"{name}\",\"exp\":1}}\n\n").bytes());
        }
        out
    }

    #[test]
    fn a_name_looks_like_a_uuid() {
        for name in [Run::new().name(77), Run::new().scattered_name(77)] {
            assert_eq!(name.len(), NAME);
            let dashes: Vec<usize> = name.match_indices('-').map(|(i, _)| i).collect();
            assert_eq!(dashes, [8, 13, 18, 23]);
        }
    }

    #[test]
    fn scattered_names_do_not_repeat() {
        let run = Run::new();
        let all: std::collections::HashSet<String> = (0..50_000).map(|n| run.scattered_name(n)).collect();
        assert_eq!(all.len(), 50_000);
    }

    #[test]
    fn found_once_wherever_the_stream_is_cut() {
        let run = Run::new();
        let numbers = [0, 1, 2, 0xffff_ffff_ffff, 3];
        let bytes = stream(run, &numbers);
        let finder = Finder::new(run);
        for first in 0..bytes.len() {
            for second in [first, first + 1, first + 7, first + NAME, bytes.len()] {
                let second = second.min(bytes.len());
                let (mut carry, mut got) = (Carry::default(), Vec::new());
                for piece in [&bytes[..first], &bytes[first..second], &bytes[second..]] {
                    finder.feed(&mut carry, piece, |n| got.push(n));
                }
                assert_eq!(got, numbers, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn found_byte_by_byte_and_without_any_line_break() {
        let run = Run::new();
        let text: String = (0..5).map(|n| run.name(n)).collect();
        let finder = Finder::new(run);
        let (mut carry, mut got) = (Carry::default(), Vec::new());
        for b in text.as_bytes().chunks(1) {
            finder.feed(&mut carry, b, |n| got.push(n));
        }
        assert_eq!(got, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn other_runs_are_not_ours() {
        let (ours, mut got) = (Finder::new(Run(1)), Vec::new());
        let mut bytes = stream(Run(2), &[1, 2, 3]);
        bytes.extend(stream(Run(1), &[9]));
        bytes.extend(b"00000000-0001-4000-8000-not-a-number");
        ours.feed(&mut Carry::default(), &bytes, |n| got.push(n));
        assert_eq!(got, [9]);
    }
}
