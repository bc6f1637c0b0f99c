//! AMQP 1.0: what the source and the outlet share, which is how to get a session with a broker.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::{Connection, Session};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::dial::{Route, Wire};

/// Without TLS and with.
const PORTS: (u16, u16) = (5672, 5671);
/// How long the broker may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// After so long without a sign of life the broker is gone; it has to give one twice as often. Milliseconds.
const IDLE: u32 = 20_000;
/// The largest frame that we take; messages may be of several.
const MAX_FRAME: u32 = 64 << 10;
/// The most bytes of one message that are kept; what is longer is set aside.
pub const MAX_BODY: usize = 4 << 20;

/// A session. When it is dropped the wire is cut, see [`Severable`]; whoever has a link on it drops the session first.
pub struct Open {
    _cut: DropGuard,
    /// Where links are attached.
    pub session: SessionHandle<()>,
    _connection: ConnectionHandle<()>,
}

/// Connects, signs in and begins a session.
pub async fn open(route: &Route, container_id: &str) -> anyhow::Result<Open> {
    let dialled = route.dial(PORTS).await?;
    // RabbitMQ's way to name a virtual host; others ignore the path, and so there is none.
    let host = if dialled.path.is_empty() { dialled.host } else { format!("vhost:{}", dialled.path) };
    let profile = match dialled.login {
        Some((username, password)) => SaslProfile::Plain { username, password: password.expose().to_owned() },
        None => SaslProfile::Anonymous,
    };
    let cut = CancellationToken::new();
    let wire = Severable { wire: dialled.wire, cut: Box::pin(cut.clone().cancelled_owned()), severed: false };
    let cut = cut.drop_guard();
    let connect = async {
        let mut connection = Connection::builder()
            .container_id(container_id)
            .hostname(host.as_str())
            .scheme("amqp") // TLS, if any, is there already
            .sasl_profile(profile)
            .max_frame_size(MAX_FRAME)
            .idle_time_out(IDLE)
            .open_with_stream(wire)
            .await
            .context("the broker does not let us in")?;
        let session = Session::begin(&mut connection).await.context("the broker refuses a session")?;
        anyhow::Ok(Open { _cut: cut, session, _connection: connection })
    };
    tokio::time::timeout(PATIENCE, connect).await.context("the broker takes too long to let us in")?
}

/// A wire that can be cut without a word.
///
/// A link that ends in good order says so, and a broker takes that for the end of a durable subscription. But a hub that
/// stops, or has lost its store, wants it to go on. So nothing is said any more: the broker sees a connection that is gone.
#[derive(Debug)]
struct Severable {
    wire: Box<dyn Wire>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    severed: bool,
}

impl Severable {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.severed = self.severed || self.cut.as_mut().poll(cx).is_ready();
        if self.severed { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Severable {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.wire).poll_read(cx, buf)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.wire).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.wire).poll_shutdown(cx)
    }
}
