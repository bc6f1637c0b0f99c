//! Serving connections. Our own accept loop and not `axum::serve`, because a hub needs a time limit on request headers,
//! a limit on connections, and a way to close a connection without a byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::endless::{Asked, Takeover};
use super::flow::{Flow, Paced};
use super::via::Peer;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::tls::accept::Acceptor;
use crate::tls::certificate::ClientCertificate;

/// A response that is not sent: the connection is closed without a byte instead. For clients that take any HTTP answer
/// for success.
#[derive(Clone, Copy, Debug)]
pub struct HangUp;

impl IntoResponse for HangUp {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        response.extensions_mut().insert(self);
        response
    }
}

/// Why there is no answer by way of hyper.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("hung up on purpose")]
    HungUp,
    #[error("the connection is a stream from here on")]
    TakenOver,
}

/// The bytes of a request's header that are always accepted. How it arrives decides whether a little more is; twice as much
/// is always answered by 431.
const MAX_HEADER: usize = 64 << 10;

/// What a listener needs.
#[derive(Clone)]
pub struct Server {
    /// Answers requests.
    pub router: Router,
    /// Speaks TLS, where that is spoken.
    pub tls: Option<Arc<Acceptor>>,
    /// From the first byte of a connection or request to the end of its header.
    pub header_timeout: Duration,
    /// How long a reader may take nothing although there is something to send.
    pub stall_timeout: Duration,
    /// Shared by all listeners.
    pub connections: Arc<Semaphore>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Answers say from here on that the connection ends with them, so that clients ask another replica next.
    pub stopping: CancellationToken,
    /// No new connections or requests from here on; open ones finish.
    pub stop: CancellationToken,
    /// Connections that are still open are cut.
    pub cut: CancellationToken,
    /// Open connections.
    pub tasks: TaskTracker,
    /// Tells what time it is, to those who ask by HTTP.
    pub clock: Clock,
}

/// What requests may know of their connection.
#[derive(Clone)]
struct Known {
    flow: Flow,
    peer: SocketAddr,
    /// The certificate of the client.
    shown: Option<Arc<ClientCertificate>>,
}

/// An open connection: counted, and with a place among as many as there may be.
struct Open {
    metrics: Arc<Metrics>,
    flow: Flow,
    _place: OwnedSemaphorePermit,
}

impl Open {
    fn new(metrics: Arc<Metrics>, flow: Flow, place: OwnedSemaphorePermit) -> Self {
        metrics.connections.inc();
        Self { metrics, flow, _place: place }
    }

    /// It was still open when it had to end.
    fn cut(&self) {
        self.metrics.connections_cut.with_label_values(&["stopping"]).inc();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(cut) = self.flow.cut() {
            self.metrics.connections_cut.with_label_values(&[cut.name()]).inc();
        }
        self.metrics.connections.dec();
    }
}

impl Server {
    /// Accepts connections until `stop`.
    pub async fn run(self, listener: TcpListener) {
        let server = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                () = server.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => server.serve(stream, peer),
                // Out of descriptors or memory: others end before new ones can begin.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return;
        };
        let stream = Paced::new(stream, self.stall_timeout);
        let open = Open::new(self.metrics.clone(), stream.flow(), place);
        match &self.tls {
            None => drop(self.tasks.spawn(self.clone().talk(stream, peer, open, None))),
            Some(tls) => drop(self.tasks.spawn(self.clone().secure(tls.clone(), stream, peer, open))),
        }
    }

    /// The handshake. The place among the connections is taken already, so that handshakes are as limited as those.
    async fn secure(self: Arc<Self>, tls: Arc<Acceptor>, stream: Paced, peer: SocketAddr, open: Open) {
        let stream = tokio::select! {
            accepted = tls.accept(stream, peer) => accepted,
            // Nothing was asked yet.
            () = self.stop.cancelled() => return,
        };
        let Some(stream) = stream else { return };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| ClientCertificate::read(chain.first()?));
        // A task of its own, because this one keeps the room that the handshake had for as long as it lives.
        self.tasks.spawn(self.clone().talk(stream, peer, open, shown.map(Arc::new)));
    }

    /// Requests and answers, one after the other, until the end or until the connection becomes a stream.
    async fn talk<S>(self: Arc<Self>, stream: S, peer: SocketAddr, open: Open, shown: Option<Arc<ClientCertificate>>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let taken = Arc::new(Mutex::new(None));
        // Boxed, because hyper keeps room for this future as long as the connection lives.
        let service = {
            let known = Known { flow: open.flow.clone(), peer, shown };
            let (server, taken) = (self.clone(), taken.clone());
            service_fn(move |request: hyper::Request<Incoming>| {
                Box::pin(answer(server.clone(), known.clone(), taken.clone(), request))
            })
        };
        let mut connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_HEADER)
            // Answers are small or come in large pieces; copying the small ones together costs less than a vectored write.
            .writev(false)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            _ = &mut connection => {}
            () = self.stop.cancelled() => {
                Pin::new(&mut connection).graceful_shutdown();
                tokio::select! {
                    _ = &mut connection => {}
                    () = self.cut.cancelled() => open.cut(),
                }
            }
        }
        let taken = taken.lock().take();
        if let Some(stream) = taken {
            let io = connection.into_parts().io.into_inner();
            // A task of its own, because this one keeps the room that hyper had for as long as it lives.
            let cut = self.cut.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    _ = stream.send(io) => {}
                    () = cut.cancelled() => open.cut(),
                }
            });
        }
    }
}

async fn answer(
    server: Arc<Server>,
    known: Known,
    taken: Arc<Mutex<Option<Takeover>>>,
    request: hyper::Request<Incoming>,
) -> Result<Response, NoAnswer> {
    let (mut parts, body) = request.into_parts();
    let asked = Asked::of(&parts);
    parts.extensions.insert(known.flow.clone());
    parts.extensions.insert(Peer(known.peer.ip()));
    if let Some(shown) = known.shown {
        parts.extensions.insert(shown);
    }
    let request = Request::from_parts(parts, Body::new(body));
    let mut response = server.router.clone().oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
    if server.stopping.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.extensions().get::<HangUp>().is_some() {
        return Err(NoAnswer::HungUp);
    }
    if let Some(stream) = Takeover::of(&mut response, &asked, &server.clock) {
        // An answer to an earlier request of the same connection may still be on its way.
        known.flow.open().await;
        *taken.lock() = Some(stream);
        return Err(NoAnswer::TakenOver);
    }
    Ok(response)
}
