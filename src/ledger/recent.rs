//! The newest events as the event stream sends them, so that streams which are up to date share one copy.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use crate::revocation::Epoch;

/// How many bytes of frames are kept. A stream that is further behind reads from the segments instead, which costs it
/// a copy and nobody else anything.
const MAX_BYTES: usize = 8 << 20;

/// How long frames are kept. What they say may be over before anybody needs them again.
const MAX_AGE: Duration = Duration::from_secs(30);

/// Writes one event of the stream. `json` must not contain a line end; JSON text as `serde_json` writes it has none.
pub fn frame(out: &mut BytesMut, epoch: &Epoch, seq: u64, event: &str, json: &[u8]) {
    let mut number = [0; 20];
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(epoch.as_str().as_bytes());
    out.extend_from_slice(b"-");
    out.extend_from_slice(decimal(seq, &mut number));
    out.extend_from_slice(b"\nevent: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    out.extend_from_slice(json);
    out.extend_from_slice(b"\n\n");
}

fn decimal(mut n: u64, buffer: &mut [u8; 20]) -> &[u8] {
    let mut at = buffer.len();
    loop {
        at -= 1;
        buffer[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buffer[at..];
        }
    }
}

/// Frames of one batch are kept in pieces of about this many bytes, each by itself: a slow stream holds the piece that it is
/// being sent, and a batch can have megabytes.
pub const PIECE: usize = 64 << 10;

/// What the event stream writes around a wire form takes, bytes, with some to spare; only saves growing.
pub const AROUND: usize = 80;

/// Frames on their way into [`Recent`].
#[derive(Default)]
pub struct Frames {
    starts: Vec<(u64, u32)>,
    bytes: BytesMut,
}

impl Frames {
    /// With room for about so many bytes, a piece at the most.
    pub fn with_room(bytes: usize) -> Self {
        Self { starts: Vec::new(), bytes: BytesMut::with_capacity(bytes.min(PIECE + 1024)) }
    }

    /// Adds one; whether it is time to hand them over.
    pub fn add(&mut self, epoch: &Epoch, seq: u64, event: &str, json: &[u8]) -> bool {
        self.starts.push((seq, u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)));
        frame(&mut self.bytes, epoch, seq, event, json);
        self.bytes.len() >= PIECE
    }
}

struct Chunk {
    /// The positions of the frames and where each starts, in order.
    starts: Vec<(u64, u32)>,
    /// The head that is reached after the chunk.
    head: u64,
    frames: Bytes,
    added: Instant,
    committed: Instant,
}

/// A bounded run of the newest frames.
#[derive(Default)]
pub struct Recent {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// The position just before the first chunk.
    floor: u64,
}

impl Recent {
    /// Forgets everything; the log now stands at `head`.
    pub fn clear(&mut self, head: u64) {
        *self = Self { floor: head, ..Self::default() };
    }

    /// Adds the next frames, which bring the log to `head`.
    pub fn push(&mut self, frames: Frames, head: u64, committed: Instant) {
        let Frames { starts, bytes } = frames;
        if starts.is_empty() && self.chunks.back().map_or(self.floor, |last| last.head) == head {
            return;
        }
        self.bytes += bytes.len();
        self.chunks.push_back(Chunk { starts, head, frames: bytes.freeze(), added: Instant::now(), committed });
        while self.bytes > MAX_BYTES && self.chunks.len() > 1 {
            self.drop_first();
        }
    }

    /// Drops what is too old.
    pub fn age(&mut self) {
        while self.chunks.front().is_some_and(|chunk| chunk.added.elapsed() > MAX_AGE) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(old) = self.chunks.pop_front() {
            self.bytes -= old.frames.len();
            self.floor = old.head;
        }
    }

    /// The frames after position `after` (at least one piece, and about `limit` bytes at the most when there are several), the position they lead to, and when the
    /// first of them was committed. `None` when that is longer ago than what is kept.
    pub fn after(&self, after: u64, limit: usize) -> Option<(Bytes, u64, Option<Instant>)> {
        if after < self.floor {
            return None;
        }
        let first = self.chunks.partition_point(|chunk| chunk.head <= after);
        let mut chunks = self.chunks.range(first..);
        let Some(chunk) = chunks.next() else { return Some((Bytes::new(), after, None)) };
        let skip = chunk.starts.partition_point(|(seq, _)| *seq <= after);
        let frames = match chunk.starts.get(skip) {
            Some((_, start)) => chunk.frames.slice(*start as usize..),
            None => Bytes::new(),
        };
        let (mut head, committed) = (chunk.head, Some(chunk.committed));
        let rest: Vec<&Chunk> = {
            let mut size = frames.len();
            chunks
                .take_while(|chunk| {
                    size += chunk.frames.len();
                    size <= limit
                })
                .collect()
        };
        // One piece is shared as it is; only a stream that has several waiting pays for joining them.
        let Some(last) = rest.last() else { return Some((frames, head, committed)) };
        head = head.max(last.head);
        let mut joined = BytesMut::with_capacity(frames.len() + rest.iter().map(|c| c.frames.len()).sum::<usize>());
        joined.extend_from_slice(&frames);
        for chunk in rest {
            joined.extend_from_slice(&chunk.frames);
        }
        Some((joined.freeze(), head, committed))
    }
}
