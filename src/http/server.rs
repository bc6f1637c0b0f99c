//! Serving connections. Our own accept loop and not `axum::serve`, because a hub needs a time limit on request headers,
//! a limit on connections, and a way to close a connection without a byte.

use std::convert::Infallible;
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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::flow::{Flow, Paced};
use crate::metrics::Metrics;

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

#[derive(Debug, thiserror::Error)]
#[error("hung up on purpose")]
struct HungUp;

/// The bytes of a request's header that are always accepted. How it arrives decides whether a little more is; twice as much
/// is always answered by 431.
const MAX_HEADER: usize = 64 << 10;

/// What a listener needs.
#[derive(Clone)]
pub struct Server {
    /// Answers requests.
    pub router: Router,
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
}

impl Server {
    /// Accepts connections until `stop`.
    pub async fn run(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream),
                // Out of descriptors or memory: others end before new ones can begin.
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream) {
        let Ok(permit) = self.connections.clone().try_acquire_owned() else {
            self.metrics.connections_refused.inc();
            return;
        };
        let stream = Paced::new(stream, self.stall_timeout);
        let flow = stream.flow();
        let (router, metrics) = (self.router.clone(), self.metrics.clone());
        let (stopping, stop, cut) = (self.stopping.clone(), self.stop.clone(), self.cut.clone());
        let header_timeout = self.header_timeout;
        self.tasks.spawn(async move {
            metrics.connections.inc();
            // Boxed, because hyper keeps room for this future as long as the connection lives, and a stream lives long.
            let known = flow.clone();
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                Box::pin(answer(router.clone(), known.clone(), stopping.clone(), request))
            });
            let mut connection = std::pin::pin!(
                http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(header_timeout)
                    .max_buf_size(MAX_HEADER)
                    // An event is a few hundred bytes in three pieces; copying them together costs less than a vectored
                    // write of each, and nothing measurable for large lists.
                    .writev(false)
                    .serve_connection(TokioIo::new(stream), service)
            );
            tokio::select! {
                _ = &mut connection => {}
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        _ = &mut connection => {}
                        () = cut.cancelled() => metrics.connections_cut.with_label_values(&["stopping"]).inc(),
                    }
                }
            }
            if flow.is_stalled() {
                metrics.connections_cut.with_label_values(&["stalled"]).inc();
            }
            metrics.connections.dec();
            drop(permit);
        });
    }
}

async fn answer(
    router: Router,
    flow: Flow,
    stopping: CancellationToken,
    request: hyper::Request<Incoming>,
) -> Result<Response, HungUp> {
    let mut request: Request = request.map(Body::new);
    request.extensions_mut().insert(flow);
    let mut response = router.oneshot(request).await.unwrap_or_else(|never: Infallible| match never {});
    if stopping.is_cancelled() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    if response.extensions().get::<HangUp>().is_some() { Err(HungUp) } else { Ok(response) }
}
