//! Frames of STOMP (1.2 §"Frames and Headers", "Augmented BNF") on their way in and out.
//!
//! **Invariants.** Decoding is total: any bytes give frames, a request for more, or an error, never a panic. What is kept
//! is bounded by [`MAX_HEADERS`] and the limit for bodies, whatever a frame announces of itself. A body that is too long is
//! read to its end and kept in part, so that one such message can be set aside and does not stop those behind it.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

/// The most bytes of a command and its headers together. Far more than a broker writes, because a message with more can
/// only end the connection: what would be acknowledged is in the headers.
pub const MAX_HEADERS: usize = 256 << 10;

/// A frame.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Frame {
    /// The command, such as `MESSAGE`.
    pub command: String,
    /// The headers in their order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// Whether the body was longer than the limit, so that this is only its beginning.
    pub cut: bool,
}

impl fmt::Debug for Frame {
    /// Never shows values: there are tokens and passwords in them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} headers and {} bytes", self.command, self.headers.len(), self.body.len())
    }
}

impl Frame {
    /// A frame without headers and body.
    pub fn new(command: &str) -> Self {
        Self { command: command.to_owned(), ..Self::default() }
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// The value of a header; the first one, if there are several (1.2 §"Repeated Header Entries").
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// Appends the frame as it travels. There is no `content-length` unless it was added, because ActiveMQ takes what has
    /// one for a BytesMessage; a body without it must have no NUL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.command.as_bytes());
        out.push(b'\n');
        // These two stay as they are, for brokers of 1.0 (1.2 §"Value Encoding").
        let plain = matches!(self.command.as_str(), "CONNECT" | "CONNECTED");
        for (name, value) in &self.headers {
            escape(name, plain, out);
            out.push(b':');
            escape(value, plain, out);
            out.push(b'\n');
        }
        out.push(b'\n');
        out.extend_from_slice(&self.body);
        out.push(0);
    }
}

fn escape(text: &str, plain: bool, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            // Would end the line or the frame; no name or password has them.
            b'\r' | b'\n' | 0 if plain => {}
            0 => {}
            b'\\' if !plain => out.extend_from_slice(b"\\\\"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b':' if !plain => out.extend_from_slice(b"\\c"),
            other => out.push(other),
        }
    }
}

/// Why bytes are not STOMP. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The headers are longer than [`MAX_HEADERS`].
    #[error("a frame has headers of more than {MAX_HEADERS} bytes")]
    Headers,
    /// A command or header is not UTF-8.
    #[error("a command or header is not UTF-8")]
    Utf8,
    /// A header has no colon.
    #[error("a header has no colon")]
    Colon,
    /// A header has an escape that does not exist.
    #[error("a header has an escape that does not exist")]
    Escape,
    /// The `content-length` is not a number.
    #[error("the content-length is not a number")]
    Length,
    /// There is no NUL after as many bytes as `content-length` says.
    #[error("a frame does not end where its content-length says")]
    End,
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A frame.
    Frame(Frame),
    /// A sign of life.
    Beat,
}

/// Takes frames off a stream of bytes.
pub struct Decoder {
    max_body: usize,
    /// How far the buffer was searched already, so that a frame in many pieces is not searched again with each.
    searched: usize,
    /// The frame whose body is being read.
    open: Option<Open>,
}

struct Open {
    frame: Frame,
    body: BytesMut,
    /// How many bytes of the body are still to come; `None`: up to the next NUL.
    left: Option<u64>,
}

impl Decoder {
    /// Keeps up to `max_body` bytes of each body.
    pub fn new(max_body: usize) -> Self {
        Self { max_body, searched: 0, open: None }
    }

    /// Takes the next item off `buffer`; `None` when there is not all of it yet. After an error there is nothing to come.
    pub fn decode(&mut self, buffer: &mut BytesMut) -> Result<Option<Item>, FrameError> {
        if self.open.is_none() {
            match buffer.as_ref() {
                [b'\n', ..] => {
                    buffer.advance(1);
                    return Ok(Some(Item::Beat));
                }
                [b'\r', b'\n', ..] => {
                    buffer.advance(2);
                    return Ok(Some(Item::Beat));
                }
                _ => {}
            }
            let Some(end) = self.end_of_headers(buffer)? else { return Ok(None) };
            let head = buffer.split_to(end);
            self.searched = 0;
            self.open = Some(open(&head)?);
        }
        if self.body(buffer)? {
            let open = self.open.take().expect("it was just read");
            return Ok(Some(Item::Frame(Frame { body: open.body.freeze(), ..open.frame })));
        }
        Ok(None)
    }

    /// Where the empty line after the headers ends.
    fn end_of_headers(&mut self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let window = &buffer[..buffer.len().min(MAX_HEADERS)];
        // An end may begin three bytes before what was searched.
        let mut at = self.searched.saturating_sub(3);
        while let Some(found) = window[at..].iter().position(|b| *b == b'\n') {
            let line = at + found + 1;
            match &window[line..] {
                [b'\n', ..] => return Ok(Some(line + 1)),
                [b'\r', b'\n', ..] => return Ok(Some(line + 2)),
                _ => at = line,
            }
        }
        self.searched = window.len();
        if window.len() == MAX_HEADERS { Err(FrameError::Headers) } else { Ok(None) }
    }

    /// Moves what there is of the body; whether it is complete.
    fn body(&mut self, buffer: &mut BytesMut) -> Result<bool, FrameError> {
        let Some(open) = &mut self.open else { return Ok(false) };
        let here = match open.left {
            Some(left) => usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len()),
            None => buffer.iter().position(|b| *b == 0).unwrap_or(buffer.len()),
        };
        let room = self.max_body - open.body.len();
        open.frame.cut |= here > room;
        open.body.extend_from_slice(&buffer[..here.min(room)]);
        buffer.advance(here);
        if let Some(left) = &mut open.left {
            *left -= here as u64;
            if *left > 0 {
                return Ok(false);
            }
        }
        match buffer.first() {
            None => Ok(false),
            Some(0) => {
                buffer.advance(1);
                Ok(true)
            }
            Some(_) => Err(FrameError::End),
        }
    }
}

/// Reads command and headers, the empty line included.
fn open(head: &[u8]) -> Result<Open, FrameError> {
    let text = str::from_utf8(head).map_err(|_| FrameError::Utf8)?;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let mut frame = Frame::new(lines.next().unwrap_or_default());
    let plain = matches!(frame.command.as_str(), "CONNECT" | "CONNECTED");
    for line in lines.take_while(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(FrameError::Colon)?;
        frame.headers.push((unescape(name, plain)?, unescape(value, plain)?));
    }
    let left = match frame.header("content-length") {
        Some(length) => Some(length.trim().parse().map_err(|_| FrameError::Length)?),
        None => None,
    };
    Ok(Open { frame, body: BytesMut::new(), left })
}

fn unescape(text: &str, plain: bool) -> Result<String, FrameError> {
    if plain || !text.contains('\\') {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        out.push(match char {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('c') => ':',
                Some('\\') => '\\',
                _ => return Err(FrameError::Escape),
            },
            other => other,
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes out of `bytes` when they arrive in pieces of these sizes, again and again.
    fn decode(bytes: &[u8], pieces: &[usize], max_body: usize) -> Result<Vec<Item>, FrameError> {
        let (mut decoder, mut buffer, mut items) = (Decoder::new(max_body), BytesMut::new(), Vec::new());
        let (mut rest, mut sizes) = (bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((*sizes.next().unwrap()).clamp(1, rest.len()));
            buffer.extend_from_slice(piece);
            rest = behind;
            while let Some(item) = decoder.decode(&mut buffer)? {
                items.push(item);
            }
            // Nothing piles up beyond what is allowed.
            assert!(buffer.len() <= MAX_HEADERS + piece.len());
            assert!(decoder.open.as_ref().is_none_or(|open| open.body.len() <= max_body));
        }
        Ok(items)
    }

    fn whole(bytes: &[u8]) -> Result<Vec<Item>, FrameError> {
        decode(bytes, &[usize::MAX], 1024)
    }

    #[test]
    fn what_activemq_writes_is_read() {
        let bytes = b"CONNECTED\nserver:ActiveMQ/5.17.2\nheart-beat:10000,10000\nsession:ID:x:3\nversion:1.2\n\n\0\n\
            \nMESSAGE\nack:ID\\cx-4\\c1\nerror:\\na\\\\b\\r\nack:second\n\n{\"jti\":\"a\"}\0\nMESSAGE\r\n\
            content-length:5\r\n\r\na\0b\n\0\0\n";
        let frames: Vec<Frame> = whole(bytes)
            .unwrap()
            .into_iter()
            .filter_map(|item| if let Item::Frame(frame) = item { Some(frame) } else { None })
            .collect();
        assert_eq!(frames[0].header("session"), Some("ID:x:3"), "not escaped in CONNECTED");
        assert_eq!(frames[1].header("ack"), Some("ID:x-4:1"), "the first of two");
        assert_eq!(frames[1].header("error"), Some("\na\\b\r"));
        assert_eq!(&frames[1].body[..], b"{\"jti\":\"a\"}");
        assert_eq!(&frames[2].body[..], b"a\0b\n\0");
        assert_eq!(frames.len(), 3);
    }

    #[test]
    fn what_is_not_stomp_is_an_error() {
        for (bytes, error) in [
            (&b"MESSAGE\nno colon\n\n\0"[..], FrameError::Colon),
            (b"MESSAGE\na:\\t\n\n\0", FrameError::Escape),
            (b"MESSAGE\na:\\", FrameError::Escape),
            (b"MESSAGE\na:\xff\n\n\0", FrameError::Utf8),
            (b"MESSAGE\ncontent-length:-1\n\n\0", FrameError::Length),
            (b"MESSAGE\ncontent-length:99999999999999999999\n\n\0", FrameError::Length),
            (b"MESSAGE\ncontent-length:1\n\nab\0", FrameError::End),
        ] {
            let mut bytes = bytes.to_vec();
            if bytes.ends_with(b"\\") {
                bytes.extend_from_slice(b"\n\n\0");
            }
            assert_eq!(whole(&bytes), Err(error));
        }
        assert_eq!(whole(&vec![b'a'; MAX_HEADERS]), Err(FrameError::Headers));
        assert_eq!(whole(&vec![b'a'; MAX_HEADERS - 1]), Ok(vec![]));
    }

    #[test]
    fn a_body_that_is_too_long_is_cut_and_the_next_frame_comes() {
        for length in ["content-length:3000\n", ""] {
            let mut bytes = format!("MESSAGE\n{length}\n{}", "x".repeat(3000)).into_bytes();
            bytes.extend_from_slice(b"\0NEXT\n\n\0");
            for pieces in [&[usize::MAX][..], &[1], &[1000, 7]] {
                let items = decode(&bytes, pieces, 1024).unwrap();
                let [Item::Frame(long), Item::Frame(next)] = &items[..] else { panic!("{items:?}") };
                assert!(long.cut && long.body.len() == 1024);
                assert!(!next.cut && next.command == "NEXT");
            }
        }
    }

    /// Text with everything that has a meaning in STOMP, but NUL, which no header can have.
    fn tricky() -> impl Strategy<Value = String> {
        proptest::collection::vec(
            prop_oneof![Just('\n'), Just('\r'), Just(':'), Just('\\'), Just('c'), Just(' '), Just('ü'), Just('a')],
            0..8,
        )
        .prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_however_it_is_cut(
            headers in proptest::collection::vec((tricky(), tricky()), 0..5),
            body in proptest::collection::vec(any::<u8>(), 0..50),
            pieces in proptest::collection::vec(1..40_usize, 1..5),
        ) {
            // A name of its own, because a tricky one could be empty and the line look like the end.
            let mut frame = Frame::new("MESSAGE").with("content-length", body.len().to_string());
            frame.headers.extend(headers.into_iter().map(|(name, value)| (format!("h{name}"), value)));
            frame.body = body.into();
            let mut bytes = Vec::new();
            frame.encode(&mut bytes);
            frame.encode(&mut bytes);
            prop_assert_eq!(decode(&bytes, &pieces, 1024), Ok(vec![Item::Frame(frame.clone()), Item::Frame(frame)]));
        }

        #[test]
        fn any_bytes_give_the_same_in_one_piece_and_in_many(
            bytes in proptest::collection::vec(
                prop_oneof![Just(b'\n'), Just(b'\r'), Just(0), Just(b':'), Just(b'\\'), any::<u8>()], 0..200),
            prefix in prop_oneof![Just(""), Just("MESSAGE\ncontent-length:9\n"), Just("\nM\na:b\n\n")],
            pieces in proptest::collection::vec(1..40_usize, 1..5),
        ) {
            let bytes = [prefix.as_bytes(), &bytes].concat();
            let (one, many) = (decode(&bytes, &[usize::MAX], 16), decode(&bytes, &pieces, 16));
            prop_assert_eq!(one, many);
        }
    }
}
