//! `GET /v1/events`: server-sent events (HTML Living Standard §9.2).
//!
//! The whole life of a stream is in `stream`: place the cursor, greet, replay, follow. A stream is one cursor and a
//! wake-up; what it has not read yet waits in the ledger, so a slow client delays nobody and loses nothing. What it is
//! being sent is handed over in small pieces, each when the socket has taken the one before.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use prometheus::local::LocalHistogram;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::{CURSOR, Load, Outlets, SharedOutlets, Standing};
use crate::clock::Clock;
use crate::config::Scope;
use crate::http::admission::Work;
use crate::http::budget::Permit;
use crate::http::endless::endless;
use crate::http::flow::Flow;
use crate::http::{Caller, Code, Problem};
use crate::ledger::Pulse;
use crate::metrics::Metrics;
use crate::revocation::Cursor;

/// About how many bytes a stream takes from the ledger at once.
const BATCH: usize = 64 << 10;

/// How many of them the connection gets at once. What it has got it copies, and the room for that stays with the stream for
/// as long as it lives: one request can make a batch of megabytes, and ten thousand streams get it.
const PIECE: usize = 16 << 10;

/// The query of the stream.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsQuery {
    since: Option<String>,
}

/// Where a stream starts.
struct Start {
    cursor: Cursor,
    /// Why the client's own cursor could not be resumed.
    reset: Option<&'static str>,
    /// Whether the client continues from what it has, or from nothing at all with everything replayed.
    resumed: bool,
    /// Whether the client has nothing, so that tombstones tell it nothing.
    empty: bool,
}

/// `GET /v1/events`.
pub async fn events(
    State(outlets): State<SharedOutlets>,
    caller: Caller,
    flow: Option<Extension<Flow>>,
    headers: HeaderMap,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    let Query(query) = query?;
    // The header wins: a browser repeats the address it was given at first but brings its own progress.
    let last = headers.get("last-event-id").filter(|v| !v.is_empty());
    let since = match last {
        Some(value) => Some(value.to_str().map_err(|_| invalid("Last-Event-ID is not a cursor"))?.to_owned()),
        None => query.since,
    };
    if outlets.stopping.is_cancelled() {
        return Err(Problem::new(Code::Stopping, "the hub is stopping; another replica has the same events"));
    }
    let place = outlets.admission.take(Work::Stream, Some(&caller))?;
    let start = start(&outlets, since.as_deref()).await?;
    let flow = flow.map(|Extension(flow)| flow).unwrap_or_default();
    let load = outlets.load(&caller, start.cursor.seq, &flow)?;
    let cursor = HeaderValue::try_from(start.cursor.to_string());
    let counted = Counted::new(&outlets, flow, place);
    let mut response = endless(stream(outlets, start, load, caller, counted));
    let own = response.headers_mut();
    own.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    own.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx and those that follow it would otherwise hold events back.
    own.insert("x-accel-buffering", HeaderValue::from_static("no"));
    if let Ok(cursor) = cursor {
        own.insert(CURSOR, cursor);
    }
    Ok(response)
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(Code::InvalidCursor, detail)
}

async fn start(outlets: &Outlets, since: Option<&str>) -> Result<Start, Problem> {
    let now = outlets.cursor()?;
    match since {
        None => Ok(Start { cursor: now, reset: None, resumed: false, empty: false }),
        Some("earliest") => Ok(Start { cursor: Cursor { seq: 0, ..now }, reset: None, resumed: false, empty: true }),
        Some(text) => {
            let cursor: Cursor = text.parse().map_err(|e| invalid(format!("{e}")))?;
            match outlets.place(&cursor).await? {
                Standing::At(_) => Ok(Start { cursor, reset: None, resumed: true, empty: false }),
                Standing::Reset(reason) => {
                    Ok(Start { cursor: outlets.cursor()?, reset: Some(reason), resumed: false, empty: false })
                }
            }
        }
    }
}

/// Counts a stream for as long as it lives, in the metrics and in the budget, and why it ended.
struct Counted {
    metrics: Arc<Metrics>,
    /// Kept apart until the next bookmark: thousands of streams that count the same event in one place wait for each other.
    written: LocalHistogram,
    flow: Flow,
    ended: &'static str,
    place: Option<Permit>,
    _open: TaskTrackerToken,
}

impl Counted {
    fn new(outlets: &Outlets, flow: Flow, place: Permit) -> Self {
        outlets.metrics.streams.inc();
        let (metrics, open) = (outlets.metrics.clone(), outlets.drain.enter());
        let written = metrics.committed_to_written.local();
        Self { metrics, written, flow, ended: "client", place: Some(place), _open: open }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(cut) = self.flow.cut() {
            self.ended = cut.name();
        }
        // In this order: whoever sees the number finds the place free.
        drop(self.place.take());
        self.written.flush();
        self.metrics.streams.dec();
        self.metrics.streams_ended.with_label_values(&[self.ended]).inc();
    }
}

/// The credential of a stream, if it is one that ends.
struct Credential {
    /// In the time that paces work; never later than the expiry, which whole seconds of the clock cannot tell better.
    ends: Option<Instant>,
    caller: Caller,
}

impl Credential {
    fn new(caller: Caller, clock: &Clock) -> Self {
        let left = |at: i64| u64::try_from(at.saturating_sub(clock.now()).saturating_sub(1)).unwrap_or(0);
        // An expiry in a thousand years is none to wait for.
        let ends = caller.expires_at.and_then(|at| Instant::now().checked_add(Duration::from_secs(left(at))));
        Self { ends, caller }
    }

    /// Whether it has expired.
    fn has_expired(&self, outlets: &Outlets) -> bool {
        self.caller.expires_at.is_some_and(|at| at <= outlets.clock.now())
            || self.ends.is_some_and(|at| at <= Instant::now())
    }

    /// Whether nothing more may be sent: it has expired, its client is gone, or the token was revoked meanwhile.
    fn is_over(&self, outlets: &Outlets) -> bool {
        self.has_expired(outlets)
            || self.caller.is_withdrawn()
            || self.caller.token.as_ref().is_some_and(|claims| outlets.ledger.check(claims).is_some())
    }

    /// Waits for news, for the end of the credential, or until the stream has to leave; false when there will be no news
    /// any more.
    async fn news(&self, pulse: &mut watch::Receiver<Pulse>, leaves: Option<Instant>) -> bool {
        match self.ends.into_iter().chain(leaves).min() {
            None => pulse.changed().await.is_ok(),
            Some(at) => tokio::select! {
                changed = pulse.changed() => changed.is_ok(),
                () = tokio::time::sleep_until(at) => true,
            },
        }
    }
}

fn stream(
    outlets: SharedOutlets,
    start: Start,
    load: Load,
    caller: Caller,
    counted: Counted,
) -> impl Stream<Item = Bytes> {
    // A fleet that connected together must not come back together.
    let age = outlets.max_stream_age.mul_f64(0.8 + 0.2 * rand::random::<f64>());
    let deadline = Instant::now() + age;
    let credential = Credential::new(caller, &outlets.clock);
    async_stream::stream! {
        // All of it: a closure would otherwise take a copy of the one field that it writes.
        let mut counted = counted;
        // Until it is synced a long replay is a first load.
        let mut load = Some(load);
        let mut leaves = None;
        let ledger = &outlets.ledger;
        let mut pulse = ledger.subscribe();
        let Cursor { mut epoch, mut seq } = start.cursor;
        let Pulse { tick: mut last_tick, mut resets, .. } = *pulse.borrow_and_update();
        let head = ledger.cursor().map_or(seq, |c| c.seq);
        yield greeting(&outlets, &Cursor { epoch: epoch.clone(), seq }, head, start.resumed, start.reset);
        // After a reset the client is complete only when it has loaded the snapshot, which the stream cannot know.
        let mut synced = start.reset.is_some();
        loop {
            let now = *pulse.borrow_and_update();
            if now.closing && *leaves.get_or_insert_with(|| outlets.drain.moment()) <= Instant::now() {
                counted.ended = "shutdown";
                return;
            }
            if credential.is_over(&outlets) {
                counted.ended = "credential";
                return;
            }
            let frames = if now.resets == resets { ledger.frames(&epoch, seq, BATCH, start.empty && !synced) } else { None };
            let Some(frames) = frames else {
                // The log has become another one. When that is loaded, say so and follow it.
                if let Some(cursor) = ledger.cursor() {
                    resets = now.resets;
                    (epoch, seq) = (cursor.epoch, cursor.seq);
                    synced = true;
                    yield reset(&Cursor { epoch: epoch.clone(), seq }, "epoch");
                } else if !credential.news(&mut pulse, leaves).await {
                    return;
                }
                continue;
            };
            let caught_up = frames.seq >= frames.head;
            // A replay says nothing of how fast events are.
            let committed = frames.committed.filter(|_| synced && !frames.bytes.is_empty());
            seq = frames.seq;
            let mut bytes = frames.bytes;
            while !bytes.is_empty() {
                counted.flow.open().await;
                // In the middle of a frame, which a client does not take for an event (HTML Living Standard §9.2.6).
                if credential.has_expired(&outlets) {
                    counted.ended = "credential";
                    return;
                }
                let piece = bytes.split_to(bytes.len().min(PIECE));
                counted.metrics.stream_bytes.inc_by(piece.len() as u64);
                yield piece;
                if !(bytes.is_empty() && caught_up) {
                    // It is sent before there is more, and the other streams have their turn.
                    yield_now().await;
                }
            }
            // The stream goes on when the socket has taken what it was given.
            if let Some(committed) = committed {
                counted.written.observe(committed.elapsed().as_secs_f64());
            }
            if !synced && seq >= head {
                synced = true;
                drop(load.take());
                // More may have come in during the replay, and the log does not end before what was sent.
                let data = format!(r#"{{"head":{}}}"#, head.max(seq));
                yield frame(&Cursor { epoch: epoch.clone(), seq }, "synced", &data);
            }
            if Instant::now() >= deadline {
                counted.ended = "age";
                return;
            }
            if !caught_up {
                continue;
            }
            if now.tick != last_tick {
                last_tick = now.tick;
                counted.written.flush();
                // Without a read of the store there is no bookmark, but proxies still see that the stream lives.
                let bookmark = ledger.bookmark(&epoch, seq);
                let is_one = bookmark.is_some();
                yield bookmark.unwrap_or_else(|| Bytes::from_static(b":\n\n"));
                if is_one {
                    counted.metrics.bookmarks.inc();
                }
            }
            if !credential.news(&mut pulse, leaves).await {
                return;
            }
        }
    }
}

fn frame(cursor: &Cursor, event: &str, data: &str) -> Bytes {
    let mut out = BytesMut::new();
    crate::ledger::frame(&mut out, &cursor.epoch, cursor.seq, event, data.as_bytes());
    out.freeze()
}

fn reset(cursor: &Cursor, reason: &str) -> Bytes {
    frame(cursor, "reset", &format!(r#"{{"reason":"{reason}","snapshot":"/v1/revocations"}}"#))
}

fn greeting(outlets: &Outlets, cursor: &Cursor, head: u64, resumed: bool, why: Option<&str>) -> Bytes {
    let mut out = BytesMut::from(format!("retry: {}\n", outlets.retry.as_millis()).as_str());
    let data = format!(r#"{{"cursor":"{cursor}","head":{head},"resumed":{resumed}}}"#);
    out.extend_from_slice(&frame(cursor, "hello", &data));
    if let Some(reason) = why {
        out.extend_from_slice(&reset(cursor, reason));
    }
    out.freeze()
}
