//! A transmitter of Security Event Tokens by poll (RFC 8936 §2): it keeps every token until it is acknowledged or refused,
//! and delivers it again until then.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

/// How long it holds a request back.
const LONG_POLL: Duration = Duration::from_secs(20);

/// What it knows.
#[derive(Default)]
struct Known {
    waiting: BTreeMap<String, String>,
    acknowledged: Vec<String>,
    refused: BTreeMap<String, Value>,
    /// How often each token was delivered.
    delivered: BTreeMap<String, u32>,
    requests: Vec<(HeaderMap, Value)>,
}

#[derive(Clone)]
pub struct Transmitter {
    known: Arc<Mutex<Known>>,
    changed: watch::Sender<u64>,
    /// While false, a request with acknowledgements waits at the door, unread.
    acks: watch::Sender<bool>,
    bearer: Option<&'static str>,
    pub address: SocketAddr,
}

impl Transmitter {
    /// One that asks for this bearer token, if for any.
    pub async fn start(bearer: Option<&'static str>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (changed, acks) = (watch::Sender::new(0), watch::Sender::new(true));
        let transmitter = Self { known: Arc::default(), changed, acks, bearer, address };
        let router = axum::Router::new().route("/ssf/poll", post(poll)).with_state(transmitter.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        transmitter
    }

    pub fn url(&self) -> String {
        format!("http://{}/ssf/poll", self.address)
    }

    /// Has a token to deliver.
    pub fn offer(&self, jti: &str, token: String) {
        self.known.lock().waiting.insert(jti.to_owned(), token);
        self.changed.send_modify(|n| *n += 1);
    }

    /// Whether acknowledgements arrive.
    pub fn let_acks_through(&self, through: bool) {
        self.acks.send_replace(through);
    }

    pub fn acknowledged(&self) -> Vec<String> {
        self.known.lock().acknowledged.clone()
    }

    pub fn refused(&self) -> BTreeMap<String, Value> {
        self.known.lock().refused.clone()
    }

    pub fn delivered(&self, jti: &str) -> u32 {
        self.known.lock().delivered.get(jti).copied().unwrap_or(0)
    }

    pub fn requests(&self) -> Vec<(HeaderMap, Value)> {
        self.known.lock().requests.clone()
    }

    /// Waits until so many tokens are acknowledged.
    pub async fn until_acknowledged(&self, count: usize) {
        let what = format!("{count} acknowledgements");
        crate::harness::until(&what, async || (self.acknowledged().len() >= count).then_some(())).await;
    }
}

async fn poll(State(us): State<Transmitter>, headers: HeaderMap, Json(request): Json<Value>) -> Response {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    if us.bearer.is_some_and(|token| authorization != Some(format!("Bearer {token}"))) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let said = request.get("ack").is_some() || request.get("setErrs").is_some();
    if said && us.acks.subscribe().wait_for(|through| *through).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    {
        let mut known = us.known.lock();
        for jti in request["ack"].as_array().into_iter().flatten() {
            let jti = jti.as_str().unwrap().to_owned();
            known.waiting.remove(&jti);
            known.acknowledged.push(jti);
        }
        for (jti, error) in request["setErrs"].as_object().into_iter().flatten() {
            known.waiting.remove(jti);
            known.refused.insert(jti.clone(), error.clone());
        }
        known.requests.push((headers, request.clone()));
    }
    let max = request["maxEvents"].as_u64().unwrap_or(u64::MAX) as usize;
    let mut changed = us.changed.subscribe();
    let end = tokio::time::Instant::now() + LONG_POLL;
    loop {
        changed.borrow_and_update();
        {
            let mut known = us.known.lock();
            let sets: BTreeMap<_, _> = known.waiting.clone().into_iter().take(max.min(3)).collect();
            if !sets.is_empty() || request["returnImmediately"] == true {
                for jti in sets.keys() {
                    *known.delivered.entry(jti.clone()).or_default() += 1;
                }
                let more = sets.len() < known.waiting.len();
                return Json(json!({"sets": sets, "moreAvailable": more})).into_response();
            }
        }
        if tokio::time::timeout_at(end, changed.changed()).await.is_err() {
            return Json(json!({"sets": {}})).into_response();
        }
    }
}
