//! A gateway that was away: how long until it has everything it missed.

use crate::bench::http::Target;
use crate::bench::marker::{Carry, Finder, Needle, Run};
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::response::Reader;
use crate::bench::stop::Stop;
use crate::bench::table::{Figure, Row};
use anyhow::{Context, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const SECTION: &str = "catch-up";
const LIMIT: Duration = Duration::from_secs(120);
const SYNCED: &[u8] = b"event: synced\n";

/// Returns the row and the number of events that did not come.
pub fn run(target: &Target, missed: u64, stop: &Stop, progress: Progress) -> anyhow::Result<(Row, u64)> {
    let cursor = post::settle(target, stop)?;
    let run = Run::new();
    post::fill(target, stop, progress, missed, |n| run.name(n))?;
    post::settle(target, stop)?;
    progress.say(format!("catch-up: {missed} events"));
    let replay = replay(target, &cursor, run, stop)?;
    let lost = missed - replay.events.min(missed);
    let row = Row::new(SECTION, format!("{missed} events missed"), Figure::new("until synced", replay.ms, "ms"))
        .more("events", replay.events as f64, "")
        .more("rate", replay.events as f64 / replay.ms * 1e3, "/s")
        .more("size", replay.bytes as f64, "bytes")
        .more("missing", lost as f64, "");
    Ok((row, lost))
}

struct Replay {
    ms: f64,
    events: u64,
    bytes: u64,
}

/// Connects with `cursor` and reads until the hub says `synced`.
fn replay(target: &Target, cursor: &str, run: Run, stop: &Stop) -> anyhow::Result<Replay> {
    let path = format!("/v1/events?since={cursor}");
    let request = target.head("GET", &path, &[("Accept", "text/event-stream")], None);
    let begin = Instant::now();
    let mut stream = TcpStream::connect_timeout(&target.addr, Duration::from_secs(10)).context("connect")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request.as_bytes())?;
    let (mut reader, mut buffer) = (Reader::default(), vec![0; 256 * 1024]);
    let mut scan = Scan::new(run);
    loop {
        stop.check()?;
        if begin.elapsed() > LIMIT {
            bail!("not synced after {} s, {} events", LIMIT.as_secs(), scan.events);
        }
        let n = stream.read(&mut buffer).context("no `synced` event")?;
        if n == 0 {
            bail!("the hub ended the stream before `synced`, after {} events", scan.events);
        }
        if reader.feed(&buffer[..n], |piece| scan.take(piece))?.is_break() {
            let ms = begin.elapsed().as_secs_f64() * 1e3;
            return Ok(Replay { ms, events: scan.events, bytes: scan.bytes });
        }
        if let Some(status) = reader.status()
            && status != 200
        {
            bail!("/v1/events answers {status}");
        }
    }
}

/// Counts our events up to `synced`.
struct Scan {
    finder: Finder,
    carry: Carry,
    synced: Needle,
    /// The end of the last piece, in which `synced` may have begun.
    tail: Vec<u8>,
    events: u64,
    bytes: u64,
}

impl Scan {
    fn new(run: Run) -> Self {
        let (finder, synced) = (Finder::new(run), Needle::new(SYNCED));
        Self { finder, carry: Carry::default(), synced, tail: Vec::new(), events: 0, bytes: 0 }
    }

    fn take(&mut self, piece: &[u8]) -> ControlFlow<()> {
        self.bytes += piece.len() as u64;
        let events = &mut self.events;
        self.finder.feed(&mut self.carry, piece, |_| *events += 1);
        let overlap = SYNCED.len() - 1;
        self.tail.extend_from_slice(&piece[..piece.len().min(overlap)]);
        let found = self.synced.find(&self.tail, 0).is_some() || self.synced.find(piece, 0).is_some();
        if piece.len() > overlap {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            self.tail.drain(..self.tail.len().saturating_sub(overlap));
        }
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_is_seen_wherever_the_stream_is_cut() {
        let run = Run::new();
        let mut text = String::from("event: hello\ndata: {}\n\n");
        (0..3).for_each(|n| text += &format!("event: revoked\ndata: {{\"jti\":\"{}\"}}\n\n", run.name(n)));
        let quiet = text.len();
        text += "id: a-9\nevent: synced\ndata: {}\n\n";
        for size in 1..text.len() {
            let mut scan = Scan::new(run);
            let mut pieces = text.as_bytes().chunks(size);
            assert!(pieces.any(|p| scan.take(p).is_break()), "pieces of {size}");
            assert_eq!(scan.events, 3, "pieces of {size}");
        }
        let mut scan = Scan::new(run);
        assert!(text.as_bytes()[..quiet].chunks(5).all(|p| scan.take(p).is_continue()));
    }
}
