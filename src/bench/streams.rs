//! Many subscribers, held open and read as cheaply as possible.
//!
//! They are tasks on threads of their own, each with a single-threaded runtime, and not a second process: the hub is
//! another process anyway, so nothing of the subscribers' work is done on its runtime, and in one address space the
//! publisher's schedule and the arrivals are read from one clock without any protocol between them. The publishers
//! have threads of their own too (see [`crate::bench::http`]), so a busy subscriber thread delays no publish.

use crate::bench::http::Target;
use crate::bench::marker::{Carry, Finder, Run};
use crate::bench::response::Reader;
use crate::bench::stats::Histogram;
use crate::bench::stop::Stop;
use anyhow::{Context as _, bail};
use parking_lot::{Condvar, Mutex};
use std::cell::RefCell;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

/// Connects under way per thread; more would overflow the hub's accept queue.
const RAMP: usize = 64;
const CONNECT_LIMIT: Duration = Duration::from_secs(60);

/// What subscribers and publishers share. Events are numbered from 0 up to the capacity.
#[derive(Debug)]
pub struct Board {
    pub run: Run,
    pub streams: usize,
    pub base: Instant,
    finder: Finder,
    /// When each event was due, in nanoseconds since `base`; its latency counts from there.
    due: Box<[AtomicU64]>,
    /// How many streams have each event.
    received: Box<[AtomicU32]>,
    /// The first event of this cell. Latecomers of the cell before count for nothing but duplicates.
    cell_from: AtomicU64,
    /// Events before this number count for loss, not for latency.
    measured_from: AtomicU64,
    /// Events of this cell that all streams have; the closed loop waits on it.
    pub whole: Mutex<u64>,
    pub whole_moved: Condvar,
    ready: AtomicU64,
    failed: AtomicU64,
    closed: AtomicU64,
    duplicates: AtomicU64,
    first_error: Mutex<Option<String>>,
    ended: AtomicBool,
    end: Notify,
    threads: Vec<Tally>,
}

/// What one thread has counted. Only that thread writes.
#[derive(Debug, Default)]
struct Tally {
    delivered: AtomicU64,
    last_ns: AtomicU64,
    latency: Mutex<Histogram>,
}

impl Board {
    fn new(streams: usize, capacity: usize, threads: usize) -> Self {
        let run = Run::new();
        Self {
            run,
            streams,
            base: Instant::now(),
            finder: Finder::new(run),
            due: (0..capacity).map(|_| AtomicU64::new(0)).collect(),
            received: (0..capacity).map(|_| AtomicU32::new(0)).collect(),
            cell_from: AtomicU64::new(0),
            measured_from: AtomicU64::new(0),
            whole: Mutex::new(0),
            whole_moved: Condvar::new(),
            ready: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            closed: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            first_error: Mutex::new(None),
            ended: AtomicBool::new(false),
            end: Notify::new(),
            threads: (0..threads).map(|_| Tally::default()).collect(),
        }
    }

    pub fn capacity(&self) -> u64 {
        self.due.len() as u64
    }

    pub fn set_due(&self, number: u64, at: Instant) {
        let ns = at.saturating_duration_since(self.base).as_nanos();
        self.due[number as usize].store(u64::try_from(ns).unwrap_or(u64::MAX), Relaxed);
    }

    /// Begins a cell with event `first`: everything is counted anew, latency for events from `measured` on.
    pub fn begin_cell(&self, first: u64, measured: u64) {
        self.cell_from.store(first, Relaxed);
        self.measured_from.store(measured, Relaxed);
        *self.whole.lock() = 0;
        self.threads.iter().for_each(|t| *t.latency.lock() = Histogram::default());
    }

    pub fn latency(&self) -> Histogram {
        let mut sum = Histogram::default();
        self.threads.iter().for_each(|t| sum.add(&t.latency.lock()));
        sum
    }

    pub fn delivered(&self) -> u64 {
        self.threads.iter().map(|t| t.delivered.load(Relaxed)).sum()
    }

    pub fn duplicates(&self) -> u64 {
        self.duplicates.load(Relaxed)
    }

    /// Streams that have ended although nobody asked them to.
    pub fn closed(&self) -> u64 {
        self.closed.load(Relaxed)
    }

    pub fn last_delivery(&self) -> Instant {
        let ns = self.threads.iter().map(|t| t.last_ns.load(Relaxed)).max().unwrap_or(0);
        self.base + Duration::from_nanos(ns)
    }

    /// How many streams have event `number`.
    pub fn received(&self, number: u64) -> u64 {
        u64::from(self.received[number as usize].load(Relaxed))
    }

    fn fail(&self, e: &anyhow::Error) {
        self.failed.fetch_add(1, Relaxed);
        self.first_error.lock().get_or_insert_with(|| format!("{e:#}"));
    }
}

/// Open streams; they close with this value.
#[derive(Debug)]
pub struct Pool {
    pub board: Arc<Board>,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Opens `streams` streams from now on and returns when each has been greeted by the hub.
    pub fn open(target: &Target, streams: usize, capacity: u64, stop: &Stop) -> anyhow::Result<Self> {
        // Half of the processors, so that on a small machine the hub keeps one.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() / 2).clamp(1, 8);
        let board = Arc::new(Board::new(streams, usize::try_from(capacity)?, threads));
        let mut pool = Self { board: board.clone(), handles: Vec::new() };
        for thread in 0..threads {
            let share = streams * (thread + 1) / threads - streams * thread / threads;
            let (board, target) = (board.clone(), target.clone());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || runtime.block_on(hold(board, target, thread, share));
            pool.handles.push(std::thread::Builder::new().name(format!("subscribers-{thread}")).spawn(work)?);
        }
        let deadline = Instant::now() + CONNECT_LIMIT;
        while board.ready.load(Relaxed) < streams as u64 {
            stop.check()?;
            let failed = board.failed.load(Relaxed);
            if failed > 0 || Instant::now() > deadline {
                let why = board.first_error.lock().clone().unwrap_or_else(|| "time is up".into());
                bail!("{} of {streams} streams open, {failed} failed: {why}", board.ready.load(Relaxed));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.board.ended.store(true, Relaxed);
        // A thread may be between its look at `ended` and its wait, so it is woken until it has gone.
        while self.handles.iter().any(|h| !h.is_finished()) {
            self.board.end.notify_waiters();
            std::thread::sleep(Duration::from_millis(1));
        }
        for h in self.handles.drain(..) {
            let _ = h.join();
        }
    }
}

/// The life of one subscriber thread.
async fn hold(board: Arc<Board>, target: Target, thread: usize, share: usize) {
    let ramp = Arc::new(Semaphore::new(RAMP));
    let head = target.head("GET", "/v1/events", &[("Accept", "text/event-stream")], None);
    let (head, addr): (Arc<str>, _) = (head.into(), target.addr);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..share {
        let (board, ramp, head) = (board.clone(), ramp.clone(), head.clone());
        tasks.spawn(async move {
            let open = async {
                let _permit = ramp.acquire().await?;
                let mut stream = TcpStream::connect(addr).await.context("connect")?;
                stream.set_nodelay(true)?;
                // Closing with a reset leaves no TIME_WAIT, which would use up the ports of 10,000 streams a cell.
                stream.set_zero_linger()?;
                stream.write_all(head.as_bytes()).await?;
                let mut subscriber = Subscriber::default();
                // The permit is held until the greeting, so that no more than RAMP are ever under way.
                while !subscriber.greeted {
                    subscriber.read(&mut stream, &board, thread).await?;
                }
                board.ready.fetch_add(1, Relaxed);
                anyhow::Ok((stream, subscriber))
            };
            match open.await {
                Ok((mut stream, mut subscriber)) => {
                    while subscriber.read(&mut stream, &board, thread).await.is_ok() {}
                    board.closed.fetch_add(1, Relaxed);
                }
                Err(e) => board.fail(&e),
            }
        });
    }
    while !board.ended.load(Relaxed) {
        board.end.notified().await;
    }
}

/// One stream's reading state.
#[derive(Default)]
struct Subscriber {
    reader: Reader,
    carry: Carry,
    greeted: bool,
    /// One bit for each event number.
    seen: Vec<u64>,
}

thread_local! {
    /// One buffer for all streams of a thread: a read is processed before the next one begins.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; 64 * 1024]);
}

impl Subscriber {
    /// Waits for bytes and takes them in.
    async fn read(&mut self, stream: &mut TcpStream, board: &Board, thread: usize) -> anyhow::Result<()> {
        poll_fn(|cx| {
            BUFFER.with_borrow_mut(|buffer| {
                let mut buffer = ReadBuf::new(buffer);
                match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(e)) => Poll::Ready(Err(e.into())),
                    Poll::Ready(Ok(())) => Poll::Ready(self.take(buffer.filled(), board, thread)),
                }
            })
        })
        .await
    }

    fn take(&mut self, bytes: &[u8], board: &Board, thread: usize) -> anyhow::Result<()> {
        if bytes.is_empty() || self.reader.is_done() {
            bail!("the stream has ended");
        }
        let now = u64::try_from(board.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let Self { reader, carry, greeted, seen } = self;
        let mut arrivals = Arrivals { board, tally: &board.threads[thread], now, seen, new: 0 };
        let mut greeting = false;
        let _ = reader.feed(bytes, |piece| {
            greeting = true;
            board.finder.feed(carry, piece, |n| arrivals.note(n));
            ControlFlow::Continue(())
        })?;
        arrivals.finish();
        if !*greeted && let Some(status) = reader.status() {
            if status != 200 {
                bail!("/v1/events answers {status}");
            }
            if greeting {
                *greeted = true;
                reader.forget_head();
            }
        }
        Ok(())
    }
}

/// The events of one read.
struct Arrivals<'a> {
    board: &'a Board,
    tally: &'a Tally,
    now: u64,
    seen: &'a mut Vec<u64>,
    new: u64,
}

impl Arrivals<'_> {
    fn note(&mut self, number: u64) {
        let board = self.board;
        if number >= board.capacity() {
            return;
        }
        let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            board.duplicates.fetch_add(1, Relaxed);
            return;
        }
        self.seen[word] |= bit;
        if number < board.cell_from.load(Relaxed) {
            return;
        }
        self.new += 1;
        if number >= board.measured_from.load(Relaxed) {
            let due = board.due[number as usize].load(Relaxed);
            self.tally.latency.lock().record_ns(self.now.saturating_sub(due));
        }
        let have = board.received[number as usize].fetch_add(1, Relaxed) + 1;
        if have as usize == board.streams {
            *board.whole.lock() += 1;
            board.whole_moved.notify_one();
        }
    }

    fn finish(self) {
        if self.new > 0 {
            self.tally.delivered.fetch_add(self.new, Relaxed);
            self.tally.last_ns.fetch_max(self.now, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscriber_of(streams: usize) -> (Board, Subscriber) {
        (Board::new(streams, 8, 1), Subscriber::default())
    }

    fn chunk(text: &str) -> String {
        format!("{:x}\r\n{text}\r\n", text.len())
    }

    #[test]
    fn an_event_counts_once_and_from_when_it_was_due() {
        let (board, mut s) = subscriber_of(1);
        let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        s.take(head.as_bytes(), &board, 0).expect("a head");
        assert!(!s.greeted, "the greeting is still to come");
        s.take(chunk("event: hello\n\n").as_bytes(), &board, 0).expect("a greeting");
        assert!(s.greeted);
        board.set_due(1, board.base);
        let event = chunk(&format!("data: {{\"jti\":\"{}\"}}\n\n", board.run.name(1)));
        for _ in 0..2 {
            s.take(event.as_bytes(), &board, 0).expect("an event");
        }
        assert_eq!((board.delivered(), board.duplicates(), board.received(1), *board.whole.lock()), (1, 1, 1, 1));
        assert!(board.latency().max_ms() > Some(0.0));
        board.begin_cell(3, 4);
        for number in [2, 3] {
            s.take(chunk(&format!("{}\n", board.run.name(number))).as_bytes(), &board, 0).expect("an event");
        }
        assert_eq!(board.delivered(), 2, "a latecomer of another cell is not counted");
        assert_eq!(board.latency().count(), 0, "a warm-up event has no latency");
    }

    #[test]
    fn a_refusal_and_an_end_are_errors() {
        let (board, mut s) = subscriber_of(1);
        assert!(s.take(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", &board, 0).is_err());
        let (board, mut s) = subscriber_of(1);
        assert!(s.take(b"", &board, 0).is_err());
    }

    #[test]
    fn a_hub_that_refuses_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        drop(listener);
        let target = Target::new(&url, None).expect("an address");
        let e = Pool::open(&target, 3, 1, &Stop::default()).expect_err("nobody listens");
        assert!(e.to_string().contains("0 of 3 streams"), "{e:#}");
    }
}
