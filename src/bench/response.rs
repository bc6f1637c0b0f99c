//! A minimal push parser for HTTP/1.1 responses: bytes in, payload out. It knows what the hub sends (a length, chunks,
//! or until the end) and refuses the rest.
//!
//! Not hyper, because 10,000 of these share a core with the server that is measured, and because the snapshot's bytes
//! must be counted as they come over the wire.

use std::ops::ControlFlow;

const HEAD_LIMIT: usize = 16 * 1024;

/// Reads one response.
#[derive(Debug)]
pub struct Reader {
    state: State,
    status: u16,
    head: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    UntilClose,
    /// The line that says how long the next chunk is; so far the number, and whether it is over (`;` or CR seen).
    ChunkSize(u64, bool),
    Chunk(u64),
    /// The line break behind a chunk: bytes still to come.
    ChunkEnd(u8),
    /// Trailer lines; true at the start of one.
    Trailer(bool),
    Done,
}

#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("the response's head is longer than {HEAD_LIMIT} bytes")]
    HeadTooLong,
    #[error("the response does not start like HTTP/1.1")]
    Status,
    #[error("a chunk size is not a number")]
    ChunkSize,
    #[error("a chunk is not followed by a line break")]
    ChunkEnd,
}

impl Default for Reader {
    fn default() -> Self {
        Self { state: State::Head, status: 0, head: Vec::new() }
    }
}

impl Reader {
    /// Takes the next bytes; `payload` gets each piece of the body and may stop the reading.
    pub fn feed(
        &mut self,
        mut input: &[u8],
        mut payload: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, Malformed> {
        while !input.is_empty() && self.state != State::Done {
            let (next, used) = match self.state {
                State::Head => {
                    let used = self.head_bytes(input)?;
                    (self.state, used)
                }
                State::Length(left) | State::Chunk(left) => {
                    let used = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    if payload(&input[..used]).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    let left = left - used as u64;
                    let next = match (self.state, left) {
                        (State::Length(_), 0) => State::Done,
                        (State::Length(_), _) => State::Length(left),
                        (_, 0) => State::ChunkEnd(2),
                        _ => State::Chunk(left),
                    };
                    (next, used)
                }
                State::UntilClose => {
                    if payload(input).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    (State::UntilClose, input.len())
                }
                State::ChunkSize(n, over) => (chunk_size(n, over, input[0])?, 1),
                State::ChunkEnd(left) => match (left, input[0]) {
                    (2, b'\r') => (State::ChunkEnd(1), 1),
                    (1, b'\n') => (State::ChunkSize(0, false), 1),
                    _ => return Err(Malformed::ChunkEnd),
                },
                State::Trailer(at_start) => match input[0] {
                    b'\n' if at_start => (State::Done, 1),
                    b'\r' => (State::Trailer(at_start), 1),
                    b'\n' => (State::Trailer(true), 1),
                    _ => (State::Trailer(false), 1),
                },
                State::Done => unreachable!("the loop ends here"),
            };
            self.state = next;
            input = &input[used..];
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Takes bytes of the head; returns how many.
    fn head_bytes(&mut self, input: &[u8]) -> Result<usize, Malformed> {
        let before = self.head.len();
        let room = input.len().min(HEAD_LIMIT + 4 - before.min(HEAD_LIMIT));
        self.head.extend_from_slice(&input[..room]);
        let from = before.saturating_sub(3);
        let Some(end) = self.head[from..].windows(4).position(|w| w == b"\r\n\r\n").map(|i| from + i + 4) else {
            return if self.head.len() > HEAD_LIMIT { Err(Malformed::HeadTooLong) } else { Ok(room) };
        };
        self.head.truncate(end);
        self.status = self
            .head
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|h| std::str::from_utf8(h.get(..3)?).ok()?.parse().ok())
            .ok_or(Malformed::Status)?;
        self.state = if matches!(self.status, 100..=199) {
            // An interim answer; the real one follows.
            self.head.clear();
            State::Head
        } else if self.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            State::ChunkSize(0, false)
        } else if matches!(self.status, 204 | 304) {
            State::Done
        } else {
            match self.header("content-length").and_then(|v| v.parse().ok()) {
                Some(0) => State::Done,
                Some(n) => State::Length(n),
                None => State::UntilClose,
            }
        };
        Ok(end - before)
    }

    /// The status, once the head is there.
    pub fn status(&self) -> Option<u16> {
        (self.state != State::Head).then_some(self.status)
    }

    /// A header of the response. Names are compared without regard to case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let text = std::str::from_utf8(&self.head).ok()?;
        text.split("\r\n").skip(1).find_map(|line| {
            let (n, v) = line.split_once(':')?;
            n.eq_ignore_ascii_case(name).then(|| v.trim())
        })
    }

    /// The response is over.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// The connection's end is this response's proper end.
    pub fn may_end_by_close(&self) -> bool {
        matches!(self.state, State::UntilClose | State::Done)
    }

    /// Drops the head to save memory, when nobody will ask for it any more.
    pub fn forget_head(&mut self) {
        self.head = Vec::new();
    }
}

fn chunk_size(n: u64, over: bool, byte: u8) -> Result<State, Malformed> {
    match byte {
        b'\n' if n == 0 => Ok(State::Trailer(true)),
        b'\n' => Ok(State::Chunk(n)),
        b'\r' | b';' | b' ' => Ok(State::ChunkSize(n, true)),
        _ if over => Ok(State::ChunkSize(n, true)),
        _ => {
            let digit = char::from(byte).to_digit(16).ok_or(Malformed::ChunkSize)?;
            let n = n.checked_mul(16).ok_or(Malformed::ChunkSize)?;
            Ok(State::ChunkSize(n + u64::from(digit), false))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRevocation-Cursor: a-1\r\n\r\n\
        5\r\nhello\r\n00c;x=1\r\n, wide world\r\n1\r\n!\r\n0\r\nTrailer: 1\r\n\r\n";

    fn read(pieces: &[&[u8]]) -> Result<(Reader, String), Malformed> {
        let (mut r, mut body) = (Reader::default(), Vec::new());
        for p in pieces {
            let _ = r.feed(p, |b| {
                body.extend_from_slice(b);
                ControlFlow::Continue(())
            })?;
        }
        Ok((r, String::from_utf8(body).expect("text")))
    }

    #[test]
    fn chunks_are_joined_wherever_the_bytes_are_cut() {
        for a in 0..CHUNKED.len() {
            for b in [a, a + 1, a + 3, CHUNKED.len()] {
                let b = b.min(CHUNKED.len());
                let (r, body) = read(&[&CHUNKED[..a], &CHUNKED[a..b], &CHUNKED[b..]]).expect("well-formed");
                assert_eq!(body, "hello, wide world!", "cut at {a} and {b}");
                assert!(r.is_done());
                assert_eq!((r.status(), r.header("revocation-cursor")), (Some(200), Some("a-1")));
            }
        }
    }

    #[test]
    fn a_stream_is_not_done_before_its_last_chunk() {
        let (r, body) = read(&[&CHUNKED[..CHUNKED.len() - 18]]).expect("well-formed");
        assert!(!r.is_done() && !r.may_end_by_close());
        assert_eq!(body, "hello, wide world!");
    }

    #[test]
    fn a_length_ends_the_body() {
        let (r, body) = read(&[b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{", b"}HTTP/1.1 "]).expect("fine");
        assert_eq!((r.status(), body.as_str(), r.is_done()), (Some(201), "{}", true));
    }

    #[test]
    fn no_length_reads_until_the_end() {
        let (r, body) = read(&[b"HTTP/1.1 200 OK\r\n\r\nab", b"c"]).expect("fine");
        assert_eq!((body.as_str(), r.is_done(), r.may_end_by_close()), ("abc", false, true));
    }

    #[test]
    fn an_interim_answer_is_passed_over() {
        let (r, _) = read(&[b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"]).expect("fine");
        assert_eq!((r.status(), r.is_done()), (Some(204), true));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(read(&[b"SSH-2.0-x\r\n\r\n"]).is_err());
        assert!(read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]).is_err());
        assert!(read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n"]).is_err());
        assert!(read(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"]).is_err());
        assert!(read(&[&[b'x'; HEAD_LIMIT + 1]]).is_err());
    }
}
