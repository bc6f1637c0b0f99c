//! What the socket of a connection takes. A reader is judged by the bytes that its side has acknowledged: one that moves,
//! however slowly, stays; one that takes nothing for a while although there is something to send is cut. So is one that moves
//! and has not come to the end of a first load by a certain moment, because it keeps a place that others need.
//!
//! It also tells bodies when the socket is full, so that they make nothing that would only lie about in memory. A reader
//! that stands still costs one piece of a body here and [`UNSENT`] bytes in the kernel.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// Bytes that the kernel may hold of a connection before they are on their way (TCP_NOTSENT_LOWAT, tcp(7)). What is on its
/// way is not limited, so a long fat line is filled all the same; a limit of the whole buffer (SO_SNDBUF) would slow it.
const UNSENT: u32 = 64 << 10;

/// What bodies and handlers know of the connection they answer on.
#[derive(Clone, Default)]
pub struct Flow(Arc<State>);

#[derive(Default)]
struct State {
    full: AtomicBool,
    cut: AtomicU8,
    /// Until when a first load may last, in [`ticks`]; 0 while there is none.
    due: AtomicU64,
    body: AtomicWaker,
}

/// Why a connection was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Its reader stood still.
    Stalled = 1,
    /// Its first load took too long.
    Overdue = 2,
}

impl Cut {
    /// The label in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Cut::Stalled => "stalled",
            Cut::Overdue => "first_load",
        }
    }
}

/// Milliseconds from the first time that somebody asked, plus one. A connection has room for a number and not for two.
fn ticks(at: Instant) -> u64 {
    static BEGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(at.saturating_duration_since(*BEGIN).as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

impl Flow {
    /// Waits until the socket has taken what it was given. A body that asks before each piece never has two under way.
    pub async fn open(&self) {
        poll_fn(|cx| {
            if self.0.full.load(Ordering::Acquire) {
                self.0.body.register(cx.waker());
                // It may have become free between the look and the registration.
                if self.0.full.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Why the connection was cut, if it was for what its reader did.
    pub fn cut(&self) -> Option<Cut> {
        [Cut::Stalled, Cut::Overdue].into_iter().find(|cut| *cut as u8 == self.0.cut.load(Ordering::Acquire))
    }

    /// From now on the connection is sending a first load, which has to have ended by then.
    pub fn begin_load(&self, limit: Duration) {
        // An end in a thousand years is none.
        let due = Instant::now().checked_add(limit).map_or(0, ticks);
        self.0.due.store(due, Ordering::Release);
    }

    /// The first load has ended.
    pub fn end_load(&self) {
        self.0.due.store(0, Ordering::Release);
    }

    /// How long the first load may still last; `None` when there is none.
    fn time_left(&self) -> Option<Duration> {
        match self.0.due.load(Ordering::Acquire) {
            0 => None,
            due => Some(Duration::from_millis(due.saturating_sub(ticks(Instant::now())))),
        }
    }

    /// The connection is to end.
    fn set_cut(&self, cut: Cut) -> io::Error {
        self.0.cut.store(cut as u8, Ordering::Release);
        io::ErrorKind::TimedOut.into()
    }

    fn set_full(&self, full: bool) {
        if self.0.full.swap(full, Ordering::AcqRel) && !full {
            self.0.body.wake();
        }
    }
}

/// A connection whose reader has to move.
pub struct Paced {
    stream: TcpStream,
    flow: Flow,
    patience: Duration,
    waiting: Option<Waiting>,
}

/// A write that waits for room.
struct Waiting {
    /// Bytes that the other side had not acknowledged when this was last looked at.
    unacknowledged: Option<u32>,
    /// When it is looked at again.
    judged: Instant,
    // Boxed, because ten thousand connections at rest have none.
    timer: Pin<Box<Sleep>>,
}

impl Paced {
    /// A connection that fails with [`io::ErrorKind::TimedOut`] when its reader takes nothing for `patience`.
    pub fn new(stream: TcpStream, patience: Duration) -> Self {
        // Events are small and must not wait for more to come. Where an option does not exist the kernel decides.
        let _ = stream.set_nodelay(true);
        let _ = SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT);
        Self { stream, flow: Flow::default(), patience, waiting: None }
    }

    /// The first byte that the other side sends, which stays where it is; `None` when it sends none.
    pub async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        Ok((self.stream.peek(&mut byte).await? == 1).then_some(byte[0]))
    }

    /// What bodies and handlers may know.
    pub fn flow(&self) -> Flow {
        self.flow.clone()
    }

    /// The write has to wait: for room, or until the reader has stood still for too long.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (fd, patience) = (self.stream.as_raw_fd(), self.patience);
        let pause = |left: Option<Duration>| left.map_or(patience, |left| left.min(patience));
        let (flow, now) = (&self.flow, Instant::now());
        let waiting = self.waiting.get_or_insert_with(|| Waiting {
            unacknowledged: unacknowledged(fd),
            judged: now + patience,
            timer: Box::pin(sleep(pause(flow.time_left()))),
        });
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            let left = flow.time_left();
            if left.is_some_and(|left| left.is_zero()) {
                return Poll::Ready(Err(flow.set_cut(Cut::Overdue)));
            }
            let now = Instant::now();
            if now >= waiting.judged {
                // Nothing was written meanwhile, so fewer bytes mean that the other side has taken some.
                let unacknowledged = unacknowledged(fd);
                if unacknowledged >= waiting.unacknowledged {
                    return Poll::Ready(Err(flow.set_cut(Cut::Stalled)));
                }
                (waiting.unacknowledged, waiting.judged) = (unacknowledged, now + patience);
            }
            let next = left.map_or(waiting.judged, |left| waiting.judged.min(now + left));
            waiting.timer.as_mut().reset(next);
        }
    }
}

/// Bytes of a socket's send queue that the other side has not acknowledged (SIOCOUTQ, tcp(7)).
fn unacknowledged(fd: RawFd) -> Option<u32> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the request writes one int, and the descriptor belongs to a stream that the caller holds.
    let result = unsafe { libc::ioctl(fd, libc::TIOCOUTQ, &mut bytes) };
    (result == 0).then(|| u32::try_from(bytes).unwrap_or(0))
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        // One that moves is never waited for as long as the timer of those that do not.
        if this.flow.time_left().is_some_and(|left| left.is_zero()) {
            return Poll::Ready(Err(this.flow.set_cut(Cut::Overdue)));
        }
        match Pin::new(&mut this.stream).poll_write(cx, bytes) {
            Poll::Pending => {
                this.flow.set_full(true);
                this.wait(cx)
            }
            written => {
                this.waiting = None;
                this.flow.set_full(false);
                written
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
