//! The least hub that the bench can measure, for its own tests: keeps names in memory, and can be told to lie.

use crate::bench::http::Target;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::routing::get;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::watch;

/// What a stream does to the event at this position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    None,
    Drop(usize),
    Double(usize),
}

#[derive(Clone)]
struct Hub {
    names: Arc<Mutex<Vec<String>>>,
    head: watch::Sender<usize>,
    lie: Lie,
}

/// Runs for as long as the test process does.
pub fn start(lie: Lie) -> Target {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("settable");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let hub = Hub { names: Arc::default(), head: watch::Sender::new(0), lie };
    let app = Router::new()
        .route("/readyz", get(|| async { "ready" }))
        .route("/metrics", get(|| async { "process_resident_memory_bytes 1000\n" }))
        .route("/v1/revocations", get(all).post(write))
        .route("/v1/revocations/{id}", get(one))
        .route("/v1/events", get(events))
        .with_state(hub);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(serve(listener, app));
    });
    Target::new(&url, None).expect("an address")
}

async fn serve(listener: std::net::TcpListener, app: Router) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    while let Ok((stream, _)) = listener.accept().await {
        let service = hyper_util::service::TowerToHyperService::new(app.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

async fn write(State(hub): State<Hub>, body: String) -> (StatusCode, String) {
    let names = body.lines().map(|l| {
        let v: serde_json::Value = serde_json::from_str(l).expect("JSON");
        v["jti"].as_str().expect("a jti").to_owned()
    });
    let mut all = hub.names.lock();
    all.extend(names);
    hub.head.send_replace(all.len());
    let (id, head) = (all.last().expect("one"), all.len());
    (StatusCode::CREATED, format!("{{\"id\":\"{id}\",\"cursor\":\"toy-{head}\"}}"))
}

async fn one(State(hub): State<Hub>, Path(id): Path<String>) -> StatusCode {
    if hub.names.lock().contains(&id) { StatusCode::OK } else { StatusCode::NOT_FOUND }
}

async fn all(State(hub): State<Hub>, headers: HeaderMap) -> Response<Body> {
    let encoding = headers.get("accept-encoding").and_then(|v| v.to_str().ok()).unwrap_or("identity").to_owned();
    let text = hub.names.lock().iter().map(|n| format!("{n}\n")).collect::<String>();
    Response::builder().header("content-encoding", encoding).body(Body::from(text)).expect("a response")
}

async fn events(State(hub): State<Hub>, Query(query): Query<HashMap<String, String>>) -> Response<Body> {
    let since = query.get("since").and_then(|c| c.strip_prefix("toy-")?.parse().ok());
    let mut at = since.unwrap_or_else(|| hub.names.lock().len());
    let mut head = hub.head.subscribe();
    let stream = async_stream::stream! {
        yield Ok::<_, Infallible>(Bytes::from_static(b"event: hello\ndata: {}\n\n"));
        let mut synced = false;
        loop {
            let mut out = String::new();
            for (i, name) in hub.names.lock().iter().enumerate().skip(at) {
                let times = match hub.lie {
                    Lie::Drop(n) if n == i => 0,
                    Lie::Double(n) if n == i => 2,
                    _ => 1,
                };
                out += &format!("id: toy-{i}\nevent: revoked\ndata: {{\"jti\":\"{name}\"}}\n\n").repeat(times);
                at = i + 1;
            }
            if !synced {
                out += "event: synced\ndata: {}\n\n";
                synced = true;
            }
            if !out.is_empty() {
                yield Ok(Bytes::from(out));
            }
            if head.wait_for(|h| *h > at).await.is_err() {
                return;
            }
        }
    };
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(stream)).expect("a response")
}
