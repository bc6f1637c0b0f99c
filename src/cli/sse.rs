//! A parser for server-sent events, as the HTML standard (§9.2.6 "Interpreting an event stream") has it.
//!
//! Bytes go in as they come from the network; where they were cut makes no difference.

use std::time::Duration;

/// One dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The `event` field; `message` when there was none.
    pub name: String,
    /// The `data` fields, with a line feed between them.
    pub data: String,
    /// The `id` field of this very frame, if it had one. (The standard's "last event ID" goes on from frame to frame;
    /// see [`Parser::last_event_id`].)
    pub id: Option<String>,
}

/// What a stream says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// An event.
    Event(Event),
    /// How long to wait before connecting again.
    Retry(Duration),
    /// A comment: a sign of life.
    Comment,
}

/// The stream has a line or an event that is larger than any of ours; reading on would only fill the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event on the stream is larger than {} MiB", Parser::MAX >> 20)]
pub struct TooLarge;

/// The state between two pieces of a stream.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    /// The last byte was CR: a LF that follows belongs to the same line end.
    after_cr: bool,
    /// The first line is over, where a byte order mark could have been.
    started: bool,
    name: String,
    data: String,
    /// `data` is empty both without a `data` field and with one empty field; only the first is no event.
    has_data: bool,
    id: Option<String>,
    last_event_id: String,
}

impl Parser {
    const MAX: usize = 4 << 20;

    /// A parser at the begin of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a browser would send as `Last-Event-ID`.
    pub fn last_event_id(&self) -> &str {
        &self.last_event_id
    }

    /// Takes the next bytes and appends what they complete to `items`. An event that is cut off by the end of the
    /// stream never comes out, as the standard demands.
    pub fn push(&mut self, bytes: &[u8], items: &mut Vec<Item>) -> Result<(), TooLarge> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_cr => self.after_cr = false,
                b'\n' | b'\r' => {
                    self.after_cr = byte == b'\r';
                    self.end_of_line(items);
                }
                _ => {
                    self.after_cr = false;
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > Self::MAX {
                        return Err(TooLarge);
                    }
                }
            }
        }
        Ok(())
    }

    fn end_of_line(&mut self, items: &mut Vec<Item>) {
        let bytes = std::mem::take(&mut self.line);
        let mut line = bytes.as_slice();
        if !self.started {
            self.started = true;
            line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
        }
        let line = String::from_utf8_lossy(line);
        if line.is_empty() {
            return self.dispatch(items);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" => items.push(Item::Comment),
            "event" => self.name = value.into(),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = Some(value.into()),
            "retry" if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => {
                if let Ok(millis) = value.parse() {
                    items.push(Item::Retry(Duration::from_millis(millis)));
                }
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, items: &mut Vec<Item>) {
        let (name, data, id) =
            (std::mem::take(&mut self.name), std::mem::take(&mut self.data), std::mem::take(&mut self.id));
        if let Some(id) = &id {
            self.last_event_id.clone_from(id);
        }
        if std::mem::take(&mut self.has_data) {
            let name = if name.is_empty() { "message".into() } else { name };
            items.push(Item::Event(Event { name, data, id }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(stream: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        Parser::new().push(stream, &mut items).unwrap();
        items
    }

    fn event(name: &str, data: &str, id: Option<&str>) -> Item {
        Item::Event(Event { name: name.into(), data: data.into(), id: id.map(Into::into) })
    }

    #[test]
    fn all_three_line_ends_end_a_line() {
        for stream in
            ["event:a\ndata:1\n\n", "event:a\rdata:1\r\r", "event:a\r\ndata:1\r\n\r\n", "event:a\rdata:1\n\r\n"]
        {
            assert_eq!(parse(stream.as_bytes()), [event("a", "1", None)], "{stream:?}");
        }
    }

    #[test]
    fn data_of_several_lines_is_joined_and_one_space_is_taken_off() {
        assert_eq!(parse(b"data: a\ndata:b\ndata:  c\ndata\n\n"), [event("message", "a\nb\n c\n", None)]);
        assert_eq!(parse(b"data\n\ndata:\n\n"), [event("message", "", None), event("message", "", None)]);
        assert_eq!(parse(b"data: a:b\n\n"), [event("message", "a:b", None)]);
    }

    #[test]
    fn an_event_without_data_is_none_but_its_id_counts() {
        let mut parser = Parser::new();
        let mut items = Vec::new();
        parser.push(b"id: 7\nevent: x\n\ndata: a\n\n", &mut items).unwrap();
        assert_eq!(items, [event("message", "a", None)]);
        assert_eq!(parser.last_event_id(), "7");
        parser.push(b"id\n\n", &mut items).unwrap();
        assert_eq!(parser.last_event_id(), "");
    }

    #[test]
    fn an_id_with_nul_is_ignored() {
        assert_eq!(parse(b"id: a\0b\ndata: 1\n\n"), [event("message", "1", None)]);
        assert_eq!(parse(b"id: a\nid: b\0\ndata: 1\n\n"), [event("message", "1", Some("a"))]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped_once_and_at_the_begin_only() {
        assert_eq!(parse(b"\xEF\xBB\xBFdata: 1\n\n"), [event("message", "1", None)]);
        assert_eq!(parse(b"\xEF\xBB\xBF\xEF\xBB\xBFdata: 1\n\n"), []);
        assert_eq!(parse(b"\n\xEF\xBB\xBFdata: 1\n\n"), []);
    }

    #[test]
    fn comments_retry_and_unknown_fields() {
        let items = parse(b": hi\nretry: 1500\nretry: 1s\nretry:\nretry: -1\nfoo: bar\n data: x\ndata: 1\n\ndata: cut");
        assert_eq!(items, [Item::Comment, Item::Retry(Duration::from_millis(1500)), event("message", "1", None)]);
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut parser = Parser::new();
        let piece = vec![b'a'; 1 << 20];
        let mut items = Vec::new();
        assert!((0..8).any(|_| parser.push(&piece, &mut items) == Err(TooLarge)));
    }

    proptest! {
        /// Where the network cuts the bytes makes no difference.
        #[test]
        fn chunk_boundaries_do_not_matter(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "\n", "\r", "\r\n", "\u{feff}", "data", "id", "event", "retry", ":", " ", "1", "ä", "\0", "é日", "\n\n",
                ]),
                0..60,
            ),
            cuts in proptest::collection::vec(1..5usize, 1..40),
        ) {
            let stream: String = parts.concat();
            let mut parser = Parser::new();
            let mut items = Vec::new();
            let mut rest = stream.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                parser.push(now, &mut items).unwrap();
                rest = later;
            }
            prop_assert_eq!(items, parse(stream.as_bytes()));
        }

        /// What is written as the standard says is read back.
        #[test]
        fn what_a_server_writes_is_what_comes_out(
            events in proptest::collection::vec(("[a-z]{1,5}", "[ -~\n]{0,20}", "[ -9;-~]{0,5}"), 0..10),
            end in proptest::sample::select(vec!["\n", "\r", "\r\n"]),
        ) {
            let mut stream = String::new();
            let mut expected = Vec::new();
            for (name, data, id) in events {
                stream.push_str(&format!("event: {name}{end}id: {id}{end}"));
                for line in data.split('\n') {
                    stream.push_str(&format!("data: {line}{end}"));
                }
                stream.push_str(end);
                expected.push(event(&name, &data, Some(&id)));
            }
            prop_assert_eq!(parse(stream.as_bytes()), expected);
        }
    }
}
