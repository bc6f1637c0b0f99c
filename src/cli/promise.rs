//! What an event stream promises, and a checker that notices when it is broken.
//!
//! The checker sees every event of a client's life, across streams and replicas, and knows nothing of the network, so
//! that `watch`, `bench` and the tests can all use it.

use serde::Deserialize;
use serde_json::Value;

use super::sse::Event;
use crate::revocation::Cursor;

/// Where a client asked its stream to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// With what comes next.
    Now,
    /// With all live revocations.
    Earliest,
    /// After what it has already seen.
    After(Cursor),
}

/// A promise that was not kept. The process that sees one ends with exit code 70.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The first event was something else.
    #[error("`{0}` came before `hello`")]
    BeforeHello(String),
    /// One stream said it twice.
    #[error("`{0}` came twice on one stream")]
    Twice(&'static str),
    /// The stream starts elsewhere, and no `reset` said so.
    #[error("asked to start at {asked}, but `hello` says {got} and no `reset` follows")]
    NotResumed {
        /// Where the client asked to start.
        asked: String,
        /// Where the stream starts.
        got: Cursor,
    },
    /// There is no cursor to resume from.
    #[error("`{0}` came without an id")]
    NoId(String),
    /// The id is no cursor.
    #[error("`{name}` came with the id {id:?}, which is not a cursor")]
    BadId {
        /// The event.
        name: String,
        /// Its id.
        id: String,
    },
    /// The data is not what this event has.
    #[error("the data of `{name}` cannot be read: {why}")]
    BadData {
        /// The event.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The id and the data of `hello` name different places.
    #[error("`hello` has the id {id} and the cursor {cursor}")]
    TwoCursors {
        /// The frame's id.
        id: Cursor,
        /// The cursor in its data.
        cursor: Cursor,
    },
    /// The log went on under another name without a `reset`.
    #[error("`{name}` is of epoch {got}, but this stream is of epoch {expected}, and there was no `reset`")]
    OtherEpoch {
        /// The event.
        name: String,
        /// The epoch of the stream.
        expected: String,
        /// The epoch of the event.
        got: String,
    },
    /// A position came again, or an earlier one.
    #[error("`{name}` has position {got} after position {last}")]
    NotAfter {
        /// The event.
        name: String,
        /// The last position.
        last: u64,
        /// The position of this event.
        got: u64,
    },
    /// The stream says it is current at a place before what it has delivered.
    #[error("`{name}` says the head is {head}, but position {delivered} was already delivered")]
    HeadBehind {
        /// The event.
        name: String,
        /// What it says.
        head: u64,
        /// What was there already.
        delivered: u64,
    },
}

/// An event that kept every promise.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A stream begins.
    Hello {
        /// Where it starts.
        cursor: Cursor,
        /// The newest position at that moment.
        head: u64,
    },
    /// A revocation.
    Revoked(Value),
    /// A revocation was taken back.
    Lifted(Value),
    /// The replay is over.
    Synced {
        /// The newest position at that moment.
        head: u64,
    },
    /// The stream is current.
    Bookmark {
        /// The newest position.
        head: u64,
    },
    /// The client's cursor means nothing here: load the snapshot, then call [`Promise::restart`].
    Reset {
        /// Why, in words.
        reason: String,
    },
    /// An event of a newer hub; clients ignore it.
    Unknown,
}

/// The checker.
#[derive(Debug)]
pub struct Promise {
    start: Start,
    /// The last position of this stream or, before its `hello`, of the one before.
    cursor: Option<Cursor>,
    greeted: bool,
    synced: bool,
    /// `hello` was not where we asked; only a `reset` makes that right.
    needs_reset: Option<Cursor>,
}

#[derive(Deserialize)]
struct HelloData {
    cursor: String,
    head: Value,
    resumed: bool,
}

#[derive(Deserialize)]
struct HeadData {
    head: Value,
}

#[derive(Deserialize)]
struct ResetData {
    #[serde(default)]
    reason: String,
}

impl Promise {
    /// A checker for a client that starts here.
    pub fn new(start: Start) -> Self {
        let cursor = match &start {
            Start::After(cursor) => Some(cursor.clone()),
            Start::Now | Start::Earliest => None,
        };
        Self { start, cursor, greeted: false, synced: false, needs_reset: None }
    }

    /// The cursor to resume from, once there is one.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.cursor.as_ref()
    }

    /// Where the next stream has to be asked to start.
    pub fn start(&self) -> Start {
        self.cursor.clone().map_or_else(|| self.start.clone(), Start::After)
    }

    /// Whether the replay of the current stream is over.
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// A new stream begins, asked to start at [`Promise::start`].
    pub fn reconnect(&mut self) {
        *self = Self::new(self.start());
    }

    /// A new stream begins, asked to start after a snapshot: the way on from [`Seen::Reset`].
    pub fn restart(&mut self, snapshot: Cursor) {
        *self = Self::new(Start::After(snapshot));
    }

    /// Looks at the next event of the stream.
    pub fn check(&mut self, event: &Event) -> Result<Seen, Broken> {
        let name = event.name.as_str();
        if !self.greeted && name != "hello" {
            return Err(Broken::BeforeHello(name.into()));
        }
        if name == "reset" {
            let ResetData { reason } = data(event)?;
            // The stream goes on from where its `hello` said, if it goes on at all.
            if let Some(cursor) = self.needs_reset.take() {
                self.cursor = Some(cursor);
            }
            return Ok(Seen::Reset { reason });
        }
        if let Some(got) = self.needs_reset.take() {
            return Err(Broken::NotResumed { asked: self.asked(), got });
        }
        match name {
            "hello" => self.hello(event),
            "revoked" | "lifted" => {
                let cursor = self.cursor_of(event)?;
                if let Some(last) = &self.cursor
                    && cursor.seq <= last.seq
                {
                    return Err(Broken::NotAfter { name: name.into(), last: last.seq, got: cursor.seq });
                }
                self.cursor = Some(cursor);
                let value = data(event)?;
                Ok(if name == "revoked" { Seen::Revoked(value) } else { Seen::Lifted(value) })
            }
            "synced" => {
                let head = self.current(event)?;
                if std::mem::replace(&mut self.synced, true) {
                    return Err(Broken::Twice("synced"));
                }
                Ok(Seen::Synced { head })
            }
            "bookmark" => Ok(Seen::Bookmark { head: self.current(event)? }),
            _ => Ok(Seen::Unknown),
        }
    }

    fn hello(&mut self, event: &Event) -> Result<Seen, Broken> {
        if std::mem::replace(&mut self.greeted, true) {
            return Err(Broken::Twice("hello"));
        }
        let HelloData { cursor, head, resumed } = data(event)?;
        let cursor = parse_cursor(event, &cursor)?;
        let id = id_of(event)?;
        if id != cursor {
            return Err(Broken::TwoCursors { id, cursor });
        }
        let head = head_of(event, &head, &cursor)?;
        let as_asked = match &self.start {
            Start::Now => true,
            Start::Earliest => cursor.seq == 0,
            Start::After(asked) => *asked == cursor,
        };
        if as_asked {
            self.cursor = Some(cursor.clone());
        } else if resumed {
            return Err(Broken::NotResumed { asked: self.asked(), got: cursor });
        } else {
            // The cursor stays what it was until the `reset` is there: the stream may be cut in between.
            self.needs_reset = Some(cursor.clone());
        }
        Ok(Seen::Hello { cursor, head })
    }

    /// `synced` and `bookmark`: the stream is at the id, and the log is at the head.
    fn current(&mut self, event: &Event) -> Result<u64, Broken> {
        let cursor = self.cursor_of(event)?;
        let HeadData { head } = data(event)?;
        let head = head_of(event, &head, &cursor)?;
        let last = self.cursor.as_ref().map_or(0, |c| c.seq);
        if cursor.seq < last {
            return Err(Broken::NotAfter { name: event.name.clone(), last, got: cursor.seq });
        }
        if head < cursor.seq {
            return Err(Broken::HeadBehind { name: event.name.clone(), head, delivered: cursor.seq });
        }
        self.cursor = Some(cursor);
        Ok(head)
    }

    /// The id of a frame after `hello`, which must be of the stream's epoch.
    fn cursor_of(&self, event: &Event) -> Result<Cursor, Broken> {
        let cursor = id_of(event)?;
        match &self.cursor {
            Some(last) => same_epoch(event, last, cursor),
            None => Ok(cursor),
        }
    }

    fn asked(&self) -> String {
        match &self.start {
            Start::Now => "now".into(),
            Start::Earliest => "earliest".into(),
            Start::After(cursor) => cursor.to_string(),
        }
    }
}

fn data<T: for<'de> Deserialize<'de>>(event: &Event) -> Result<T, Broken> {
    serde_json::from_str(&event.data).map_err(|e| Broken::BadData { name: event.name.clone(), why: e.to_string() })
}

fn id_of(event: &Event) -> Result<Cursor, Broken> {
    let id = event.id.as_deref().ok_or_else(|| Broken::NoId(event.name.clone()))?;
    parse_cursor(event, id)
}

fn parse_cursor(event: &Event, text: &str) -> Result<Cursor, Broken> {
    text.parse().map_err(|_| Broken::BadId { name: event.name.clone(), id: text.into() })
}

fn same_epoch(event: &Event, expected: &Cursor, got: Cursor) -> Result<Cursor, Broken> {
    if got.epoch == expected.epoch {
        return Ok(got);
    }
    let (expected, got) = (expected.epoch.to_string(), got.epoch.to_string());
    Err(Broken::OtherEpoch { name: event.name.clone(), expected, got })
}

/// The head is a position; as a cursor it must be of the same epoch.
fn head_of(event: &Event, head: &Value, cursor: &Cursor) -> Result<u64, Broken> {
    if let Some(text) = head.as_str() {
        return Ok(same_epoch(event, cursor, parse_cursor(event, text)?)?.seq);
    }
    head.as_u64().ok_or_else(|| Broken::BadData {
        name: event.name.clone(),
        why: format!("the head is {head}, which is not a position"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaa";
    const B: &str = "bbbbbbbb";

    fn event(name: &str, id: &str, data: &str) -> Event {
        Event { name: name.into(), data: data.into(), id: (!id.is_empty()).then(|| id.into()) }
    }

    fn hello(epoch: &str, seq: u64, head: u64, resumed: bool) -> Event {
        let data = format!(r#"{{"cursor":"{epoch}-{seq}","head":{head},"resumed":{resumed}}}"#);
        event("hello", &format!("{epoch}-{seq}"), &data)
    }

    fn revoked(epoch: &str, seq: u64) -> Event {
        event("revoked", &format!("{epoch}-{seq}"), r#"{"id":"x"}"#)
    }

    fn bookmark(epoch: &str, seq: u64, head: u64) -> Event {
        event("bookmark", &format!("{epoch}-{seq}"), &format!(r#"{{"head":{head},"time":1}}"#))
    }

    fn synced(seq: u64) -> Event {
        event("synced", &format!("{A}-{seq}"), &format!(r#"{{"head":{seq}}}"#))
    }

    fn after(epoch: &str, seq: u64) -> Start {
        Start::After(format!("{epoch}-{seq}").parse().unwrap())
    }

    /// Feeds all events; the last decides.
    fn run(promise: &mut Promise, events: &[Event]) -> Result<Seen, Broken> {
        let (last, first) = events.split_last().unwrap();
        for event in first {
            promise.check(event).unwrap();
        }
        promise.check(last)
    }

    #[test]
    fn a_good_life() {
        let mut p = Promise::new(Start::Earliest);
        let stream =
            [hello(A, 0, 9, false), revoked(A, 3), revoked(A, 9), synced(9), bookmark(A, 9, 9), revoked(A, 10)];
        assert_eq!(run(&mut p, &stream), Ok(Seen::Revoked(serde_json::json!({"id": "x"}))));
        assert!(p.is_synced());
        p.reconnect();
        assert_eq!(p.start(), after(A, 10));
        // A replica that lags may say hello with an older head; nothing wrong is delivered.
        assert!(run(&mut p, &[hello(A, 10, 8, true), revoked(A, 11), bookmark(A, 12, 12), revoked(A, 13)]).is_ok());
        assert_eq!(p.check(&event("news", "", "x")), Ok(Seen::Unknown));
    }

    #[test]
    fn hello_comes_first_and_once() {
        let mut p = Promise::new(Start::Now);
        assert_eq!(p.check(&revoked(A, 1)), Err(Broken::BeforeHello("revoked".into())));
        assert_eq!(run(&mut p, &[hello(A, 1, 1, false), hello(A, 1, 1, false)]), Err(Broken::Twice("hello")));
    }

    #[test]
    fn positions_only_rise() {
        for (next, got) in [(revoked(A, 5), 5), (revoked(A, 4), 4)] {
            let mut p = Promise::new(after(A, 4));
            let result = run(&mut p, &[hello(A, 4, 9, true), revoked(A, 5), next]);
            assert_eq!(result, Err(Broken::NotAfter { name: "revoked".into(), last: 5, got }));
        }
        // Also across streams, and against what a bookmark has passed.
        let mut p = Promise::new(Start::Now);
        assert!(run(&mut p, &[hello(A, 4, 4, false), bookmark(A, 7, 7)]).is_ok());
        p.reconnect();
        assert!(matches!(run(&mut p, &[hello(A, 7, 7, true), revoked(A, 7)]), Err(Broken::NotAfter { .. })));
        assert!(matches!(p.check(&bookmark(A, 6, 9)), Err(Broken::NotAfter { .. })));
    }

    #[test]
    fn every_frame_has_an_id_that_is_a_cursor() {
        let mut p = Promise::new(Start::Now);
        assert_eq!(
            p.check(&event("hello", "", r#"{"cursor":"aaaaaaaa-1","head":1,"resumed":false}"#)),
            Err(Broken::NoId("hello".into()))
        );
        let mut p = Promise::new(Start::Now);
        let result = run(&mut p, &[hello(A, 1, 1, false), event("revoked", "", "{}")]);
        assert_eq!(result, Err(Broken::NoId("revoked".into())));
        assert!(matches!(p.check(&event("revoked", "2", "{}")), Err(Broken::BadId { .. })));
        assert!(matches!(p.check(&event("revoked", "aaaaaaaa-2", "{")), Err(Broken::BadData { .. })));
    }

    #[test]
    fn a_stream_starts_where_it_was_asked_to() {
        let mut p = Promise::new(after(A, 5));
        assert!(matches!(p.check(&hello(A, 6, 9, true)), Err(Broken::NotResumed { .. })));
        let mut p = Promise::new(after(A, 5));
        assert!(matches!(run(&mut p, &[hello(A, 6, 9, false), revoked(A, 7)]), Err(Broken::NotResumed { .. })));
        let mut p = Promise::new(Start::Earliest);
        assert!(matches!(p.check(&hello(A, 1, 9, true)), Err(Broken::NotResumed { .. })));
        let two = event("hello", "aaaaaaaa-2", r#"{"cursor":"aaaaaaaa-1","head":1,"resumed":false}"#);
        assert!(matches!(Promise::new(Start::Now).check(&two), Err(Broken::TwoCursors { .. })));
    }

    #[test]
    fn a_bookmark_is_never_behind_what_was_delivered() {
        let mut p = Promise::new(Start::Now);
        let stream = [hello(A, 4, 4, false), revoked(A, 5), bookmark(A, 5, 4)];
        assert_eq!(run(&mut p, &stream), Err(Broken::HeadBehind { name: "bookmark".into(), head: 4, delivered: 5 }));
    }

    #[test]
    fn another_epoch_needs_a_reset() {
        let mut p = Promise::new(Start::Now);
        assert!(matches!(run(&mut p, &[hello(A, 4, 4, false), revoked(B, 5)]), Err(Broken::OtherEpoch { .. })));
        let mut p = Promise::new(after(A, 5));
        let reset = event("reset", "", r#"{"reason":"another epoch","snapshot":"/v1/revocations"}"#);
        assert!(run(&mut p, &[hello(B, 2, 2, false)]).is_ok());
        // Cut before the reset arrived: the next stream is asked for the same again.
        assert_eq!(p.start(), after(A, 5));
        assert_eq!(p.check(&reset), Ok(Seen::Reset { reason: "another epoch".into() }));
        assert!(p.check(&revoked(B, 3)).is_ok());
        p.restart(format!("{B}-9").parse().unwrap());
        assert!(run(&mut p, &[hello(B, 9, 9, true), revoked(B, 10)]).is_ok());
    }
}
