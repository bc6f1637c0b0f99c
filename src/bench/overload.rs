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

/// Fills the hub, opens streams, lets readers stand still, publishes, and waits until the hub has cut them.
pub fn run(
    server: &Server,
    plan: &Plan,
    stop: &Stop,
    progress: Progress,
    rows: &mut Vec<Row>,
) -> anyhow::Result<Faults> {
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
    Ok(faults)
}

/// Connections that the hub has cut because nothing was taken.
fn cut_so_far(target: &Target) -> anyhow::Result<u64> {
    let answer = Client::new(target).get("/metrics", &[])?;
    let text = String::from_utf8_lossy(&answer.body);
    let name = "revocation_hub_connections_cut_total{reason=\"stalled\"} ";
    Ok(text.lines().find_map(|line| line.strip_prefix(name)?.parse().ok()).unwrap_or(0))
}
