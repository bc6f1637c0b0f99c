//! What the socket of a connection takes. A reader is judged by the bytes that its side has acknowledged: one that moves,
//! however slowly, stays; one that takes nothing for a while although there is something to send is cut.
//!
//! It also tells bodies when the socket is full, so that they make nothing that would only lie about in memory. A reader
//! that stands still costs one piece of a body here and [`UNSENT`] bytes in the kernel.

use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    stalled: AtomicBool,
    body: AtomicWaker,
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

    /// Whether the connection was cut because its reader stood still.
    pub fn is_stalled(&self) -> bool {
        self.0.stalled.load(Ordering::Acquire)
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
    /// Bytes that the other side had not acknowledged when the timer was set.
    unacknowledged: Option<u32>,
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
        let waiting = self
            .waiting
            .get_or_insert_with(|| Waiting { unacknowledged: unacknowledged(fd), timer: Box::pin(sleep(patience)) });
        loop {
            ready!(waiting.timer.as_mut().poll(cx));
            // Nothing was written meanwhile, so fewer bytes mean that the other side has taken some.
            let left = unacknowledged(fd);
            if left >= waiting.unacknowledged {
                self.flow.0.stalled.store(true, Ordering::Release);
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            waiting.unacknowledged = left;
            waiting.timer.as_mut().reset(Instant::now() + patience);
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
