//! Everything at once: many live revocations, many streams, and readers that ask for everything and read nothing. What the
//! hub takes of the memory meanwhile, and whether the live streams notice.

use crate::bench::args::Plan;
use crate::bench::fanout::{Faults, steady};
use crate::bench::http::{Client, Target};
use crate::bench::memory;
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::server::Server;
use crate::bench::stop::Stop;
use crate::bench::streams::Pool;
use crate::bench::table::{Figure, Row};
use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const SECTION: &str = "overload";
/// Events per second meanwhile.
const RATE: u64 = 10;
/// What one large request brings to every stream.
const BATCH: u64 = 20_000;
/// The hub cuts those that stand still after 30 s by default, and some of the sockets take a while to fill.
const CUT_LIMIT: Duration = Duration::from_secs(120);

/// What has to hold beside the deliveries.
pub struct Outcome {
    /// The most that the hub ever took, bytes; `None` when it could not be read.
    pub peak: Option<u64>,
    /// Readers that stood still and were not cut.
    pub uncut: u64,
    /// Live streams that the hub has ended.
    pub ended: u64,
}

impl Outcome {
    /// What does not hold, with this ceiling for the memory (bytes).
    pub fn complaint(&self, ceiling: Option<u64>) -> Option<String> {
        let mib = |bytes: u64| bytes as f64 / 1048576.0;
        if let Some(ceiling) = ceiling {
            match self.peak {
                None => return Some("--max-memory: the hub's memory cannot be read".into()),
                Some(peak) if peak > ceiling => {
                    let (peak, ceiling) = (mib(peak), mib(ceiling));
                    return Some(format!("the hub took {peak:.0} MiB, which is above --max-memory {ceiling:.0}"));
                }
                Some(_) => {}
            }
        }
        if self.uncut > 0 {
            return Some(format!("{} readers that stand still were not cut", self.uncut));
        }
        (self.ended > 0).then(|| format!("{} streams that were current were ended", self.ended))
    }
}

/// Fills the hub, opens streams, lets readers stand still, publishes, and waits until the hub has cut them.
pub fn run(
    server: &Server,
    plan: &Plan,
    stop: &Stop,
    progress: Progress,
    rows: &mut Vec<Row>,
) -> anyhow::Result<(Faults, Outcome)> {
    let target = &server.target;
    let (streams, stalled) = (plan.idle_streams, plan.stalled);
    let load = format!("{} live revocations, {streams} streams, {stalled} stalled readers", plan.entries);
    let before = memory::rested(server, stop)?;
    let run = crate::bench::marker::Run::new();
    post::fill(target, stop, progress, plan.entries, |n| run.scattered_name(n))?;
    let filled = memory::rested(server, stop)?;
    progress.say(format!("{SECTION}: opening {streams} streams"));
    let events = RATE * plan.cell.as_secs();
    let pool = Pool::open(target, streams, 2 * events + 1, stop)?;
    let opened = memory::rested(server, stop)?;

    progress.say(format!("{SECTION}: {RATE} events/s, nobody stands still"));
    let mut faults = Faults::default();
    let calm = steady(target, &pool.board, stop, 0, RATE, events, &mut faults);
    progress.say(format!("{SECTION}: {stalled} readers stand still"));
    // Half of them want the stream and half the list, and none reads a byte.
    let mut dead = Vec::new();
    for i in 0..stalled {
        let path = if i % 2 == 0 { "/v1/events?since=earliest" } else { post::PATH };
        let mut socket = TcpStream::connect(target.addr)?;
        socket.write_all(target.head("GET", path, &[], None).as_bytes())?;
        dead.push(socket);
    }
    let began = Instant::now();
    let busy = steady(target, &pool.board, stop, events, RATE, events, &mut faults);
    // The worst that one request can do: every stream gets megabytes.
    let mut client = Client::new(target);
    let names = crate::bench::marker::Run::new();
    post::ndjson(&mut client, &post::batch(0..BATCH, |n| names.scattered_name(n)))?;
    let peak = memory::peak(server);
    progress.say(format!("{SECTION}: waiting until they are cut"));
    let mut cut = 0;
    while cut < stalled as u64 && began.elapsed() < CUT_LIMIT {
        stop.check()?;
        std::thread::sleep(Duration::from_millis(200));
        cut = cut_so_far(target)?;
    }
    let took = began.elapsed();
    let last = memory::peak(server).or(peak);
    drop(dead);
    let after = memory::rested(server, stop)?;
    let mib = |bytes: Option<u64>| bytes.map(|b| b as f64 / 1048576.0);
    rows.push(
        Row::new(SECTION, load, Figure::new("memory at its peak", mib(last), "MiB"))
            .more("empty", mib(before.bytes()), "MiB")
            .more("filled", mib(filled.bytes()), "MiB")
            .more("streams open", mib(opened.bytes()), "MiB")
            .more("all cut", mib(after.bytes()), "MiB")
            .more("cut", cut as f64, "")
            .more("after", took.as_secs_f64(), "s")
            .more("streams ended", pool.board.closed() as f64, ""),
    );
    rows.push(Row { section: SECTION, ..calm }.remark("nobody stands still"));
    rows.push(Row { section: SECTION, ..busy }.remark(format!("{stalled} readers stand still")));
    // Another hub may have other settings.
    let uncut = server.pid.map_or(0, |_| (stalled as u64).saturating_sub(cut));
    let outcome = Outcome { peak: last, uncut, ended: pool.board.closed() };
    Ok((faults, outcome))
}

/// Connections that the hub has cut because nothing was taken.
fn cut_so_far(target: &Target) -> anyhow::Result<u64> {
    let answer = Client::new(target).get("/metrics", &[])?;
    let text = String::from_utf8_lossy(&answer.body);
    let name = "revocation_hub_connections_cut_total{reason=\"stalled\"} ";
    Ok(text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_memory_than_the_ceiling_is_a_failure_and_so_is_none_that_can_be_read() {
        let good = Outcome { peak: Some(700 << 20), uncut: 0, ended: 0 };
        assert_eq!((good.complaint(None), good.complaint(Some(700 << 20))), (None, None));
        assert!(good.complaint(Some(699 << 20)).unwrap().contains("700 MiB"));
        let unread = Outcome { peak: None, ..good };
        assert_eq!(unread.complaint(None), None);
        assert!(unread.complaint(Some(1 << 40)).is_some());
    }

    #[test]
    fn streams_that_were_ended_and_readers_that_were_not_are_failures() {
        assert!(Outcome { peak: None, uncut: 1, ended: 0 }.complaint(None).is_some());
        assert!(Outcome { peak: None, uncut: 0, ended: 1 }.complaint(None).is_some());
    }
}
