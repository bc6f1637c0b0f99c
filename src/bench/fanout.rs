//! From publish to receive, over many streams at once.
//!
//! Open loop: events are due on a fixed schedule and latency counts from when an event was due, not from when it was
//! sent. A hub (or publisher) that stalls thus delays what is measured instead of hiding it ("coordinated omission").
//! Closed loop: at most [`WINDOW`] events are under way, which gives the most deliveries per second.

use crate::bench::args::Plan;
use crate::bench::http::{Client, Target};
use crate::bench::post;
use crate::bench::progress::Progress;
use crate::bench::stop::Stop;
use crate::bench::streams::{Board, Pool};
use crate::bench::table::{Figure, Row};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECTION: &str = "fan-out";
/// Events published and not yet received by all streams, in the closed loop.
const WINDOW: u64 = 32;
/// Publisher connections of the open loop.
const PUBLISHERS: usize = 32;
/// The most events of a closed loop.
const CLOSED_MOST: u64 = 50_000;
/// Later than this behind the schedule is "not sustained".
const SLACK: Duration = Duration::from_secs(1);
/// Publishing ends so long after the schedule, done or not.
const OVERTIME: Duration = Duration::from_secs(5);
/// No delivery for so long: the rest is missing.
const SILENCE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// Nobody waits longer than this for the last delivery.
const DRAIN: Duration = Duration::from_secs(60);

/// Deliveries that a hub owes: the bench fails when there are any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub missing: u64,
    pub duplicates: u64,
}

pub fn run(
    target: &Target,
    plan: &Plan,
    sockets: u64,
    stop: &Stop,
    progress: Progress,
    rows: &mut Vec<Row>,
) -> anyhow::Result<Faults> {
    let mut faults = Faults::default();
    for &streams in &plan.streams {
        if streams as u64 + 256 > sockets {
            let why = format!("needs {} file descriptors, the limit is {sockets}", streams + 256);
            rows.push(Row::missing(SECTION, format!("{streams} streams"), "deliveries", &why));
            continue;
        }
        progress.say(format!("fan-out: opening {streams} streams"));
        let seconds = plan.cell.as_secs();
        let events = plan.rates.iter().map(|r| r * seconds).sum::<u64>() + CLOSED_MOST;
        let pool = match Pool::open(target, streams, events, stop) {
            Ok(pool) => pool,
            Err(e) => {
                stop.check()?;
                rows.push(Row::missing(SECTION, format!("{streams} streams"), "deliveries", &format!("{e:#}")));
                continue;
            }
        };
        let mut first = 0;
        for &rate in &plan.rates {
            progress.say(format!("fan-out: {streams} streams, {rate} events/s"));
            let cell = Cell { target, board: &pool.board, stop, first };
            let row = cell.open_loop(rate, rate * seconds, &mut faults);
            rows.push(row);
            first += rate * seconds;
            stop.check()?;
        }
        progress.say(format!("fan-out: {streams} streams, closed loop"));
        let cell = Cell { target, board: &pool.board, stop, first };
        rows.push(cell.closed_loop(plan.cell, &mut faults));
        stop.check()?;
    }
    Ok(faults)
}

/// Events of one rate on open streams, beginning with number `first`.
pub fn steady(
    target: &Target,
    board: &Board,
    stop: &Stop,
    first: u64,
    rate: u64,
    events: u64,
    faults: &mut Faults,
) -> Row {
    Cell { target, board, stop, first }.open_loop(rate, events, faults)
}

/// A measurement on open streams, with events from number `first` on.
struct Cell<'a> {
    target: &'a Target,
    board: &'a Board,
    stop: &'a Stop,
    first: u64,
}

/// What the publishers did.
#[derive(Default)]
struct Published {
    acknowledged: Vec<u64>,
    errors: u64,
    first_error: Option<String>,
}

/// Counters at the beginning of a cell.
struct Before {
    delivered: u64,
    duplicates: u64,
    closed: u64,
}

impl Cell<'_> {
    fn before(&self, measured_from: u64) -> Before {
        let board = self.board;
        board.begin_cell(self.first, measured_from);
        Before { delivered: board.delivered(), duplicates: board.duplicates(), closed: board.closed() }
    }

    fn open_loop(&self, rate: u64, events: u64, faults: &mut Faults) -> Row {
        let load = format!("{} streams, {rate} events/s", self.board.streams);
        let warm_up = (events / 10).min(rate);
        let before = self.before(self.first + warm_up);
        let begin = Instant::now() + Duration::from_millis(200);
        let due = |i: u64| begin + Duration::from_secs_f64(i as f64 / rate as f64);
        (0..events).for_each(|i| self.board.set_due(self.first + i, due(i)));
        let (next, give_up) = (AtomicU64::new(0), due(events) + OVERTIME);
        let published = self.publish(PUBLISHERS, || {
            let i = next.fetch_add(1, Relaxed);
            if i >= events || self.stop.asked() || Instant::now() > give_up {
                return None;
            }
            std::thread::sleep(due(i).saturating_duration_since(Instant::now()));
            Some(self.first + i)
        });
        let drained = self.drain(&published, &before);
        let late = self.board.last_delivery().saturating_duration_since(due(events - 1));
        let sustained = late <= SLACK && published.acknowledged.len() as u64 == events;
        let name = if sustained { "deliveries" } else { "not sustained:" };
        // The schedule's last event is due one interval before its end.
        let row = self.row(load, name, (begin, due(events) - begin), &published, &before);
        self.judge(row, drained, &published, &before, faults)
    }

    fn closed_loop(&self, length: Duration, faults: &mut Faults) -> Row {
        let load = format!("{} streams, closed loop", self.board.streams);
        let before = self.before(self.first);
        let (begin, board) = (Instant::now(), self.board);
        let issued = AtomicU64::new(0);
        let most = CLOSED_MOST.min(board.capacity() - self.first);
        let published = self.publish(usize::try_from(WINDOW).unwrap_or(1), || {
            let mut whole = board.whole.lock();
            loop {
                let i = issued.load(Relaxed);
                if i >= most || self.stop.asked() || begin.elapsed() > length {
                    return None;
                }
                if i < *whole + WINDOW {
                    issued.store(i + 1, Relaxed);
                    board.set_due(self.first + i, Instant::now());
                    return Some(self.first + i);
                }
                board.whole_moved.wait_for(&mut whole, Duration::from_millis(50));
            }
        });
        let drained = self.drain(&published, &before);
        let row = self.row(load, "deliveries", (begin, Duration::ZERO), &published, &before);
        self.judge(row, drained, &published, &before, faults)
    }

    /// Publishes what `next` names, on as many connections as `threads`, until it names nothing.
    fn publish(&self, threads: usize, next: impl Fn() -> Option<u64> + Sync) -> Published {
        let worker = || {
            let mut client = Client::new(self.target);
            let mut mine = Published::default();
            if let Err(e) = client.connect() {
                mine.first_error = Some(format!("{e:#}"));
            }
            while let Some(number) = next() {
                match post::single(&mut client, &self.board.run.name(number), number) {
                    Ok(_) => mine.acknowledged.push(number),
                    Err(e) => {
                        mine.errors += 1;
                        mine.first_error.get_or_insert_with(|| format!("{e:#}"));
                    }
                }
            }
            mine
        };
        let mut sum = Published::default();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
            for one in all.into_iter().filter_map(|t| t.join().ok()) {
                sum.acknowledged.extend(one.acknowledged);
                sum.errors += one.errors;
                sum.first_error = sum.first_error.take().or(one.first_error);
            }
        });
        sum
    }

    /// Waits for the last delivery of what was acknowledged. False when deliveries were still coming at the limit.
    fn drain(&self, published: &Published, before: &Before) -> bool {
        let want = published.acknowledged.len() as u64 * self.board.streams as u64;
        let (begin, mut last, mut moved) = (Instant::now(), 0, Instant::now());
        while begin.elapsed() < DRAIN {
            let got = self.board.delivered() - before.delivered;
            if got >= want || moved.elapsed() > SILENCE || self.stop.asked() {
                return true;
            }
            if got != last {
                (last, moved) = (got, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn row(
        &self,
        load: String,
        name: &'static str,
        (begin, least): (Instant, Duration),
        published: &Published,
        before: &Before,
    ) -> Row {
        let board = self.board;
        let delivered = board.delivered() - before.delivered;
        let span = board.last_delivery().saturating_duration_since(begin).max(least).as_secs_f64();
        let rate = (delivered > 0).then(|| delivered as f64 / span);
        let mut row = Row::new(SECTION, load, Figure::new(name, rate, "/s")).latency(&board.latency()).more(
            "events",
            published.acknowledged.len() as f64,
            "",
        );
        let closed = board.closed() - before.closed;
        if closed > 0 {
            row = row.remark(format!("{closed} streams were ended by the hub"));
        }
        if let Some(e) = &published.first_error {
            row = row.remark(format!("{} events not accepted, the first: {e}", published.errors));
        }
        row
    }

    /// Adds what is missing or doubled to the row and to the faults of the run.
    fn judge(&self, row: Row, drained: bool, published: &Published, before: &Before, faults: &mut Faults) -> Row {
        let (board, streams) = (self.board, self.board.streams as u64);
        let missing: u64 = published.acknowledged.iter().map(|n| streams - board.received(*n).min(streams)).sum();
        let duplicates = board.duplicates() - before.duplicates;
        if !self.stop.asked() {
            faults.duplicates += duplicates;
            faults.missing += if drained { missing } else { 0 };
        }
        let row = row.more("missing", drained.then_some(missing as f64), "").more("duplicates", duplicates as f64, "");
        // Late is not lost, but neither do we know that it would have come.
        let why = format!("{missing} deliveries still to come after {} s, not awaited", DRAIN.as_secs());
        if drained { row } else { row.remark(why) }
    }
}
