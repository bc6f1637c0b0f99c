//! Security Event Tokens by poll (RFC 8936): the hub asks, and acknowledges only after the commit.
//!
//! **Invariants.**
//! * A token is in `ack` only when what it asks for is on disk, and in `setErrs` only when it never can be. Whatever is in
//!   neither comes again, also to another replica and after a crash; again changes nothing.
//! * Acknowledgements that may not have arrived are not kept: the transmitter delivers again, and is answered again.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ssf::{Err as Code, NotTaken, Receiver};
use super::ssf_push::LANGUAGE;
use super::start::Running;
use crate::config::Source;
use crate::formats::set::Set;
use crate::intake::IntakeError;
use crate::link::State;

/// The most tokens in one answer.
const MAX_EVENTS: usize = 100;
/// A hundred tokens are a few hundred kilobytes.
const MAX_BYTES: usize = 16 << 20;
/// How long a transmitter may hold a request back while it has nothing to say. A dead peer is noticed sooner, by the
/// keep-alive of TCP.
const LONGEST_POLL: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// From one request to the next when a transmitter answers at once that it has nothing, or has only what could not be
/// taken yet.
const BREATH: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// RFC 8936 §2.4.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    max_events: usize,
    return_immediately: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ack: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    set_errs: BTreeMap<String, SetErr>,
}

/// RFC 8936 §2.6.
#[derive(Debug, Serialize)]
struct SetErr {
    err: &'static str,
    description: String,
}

/// RFC 8936 §2.5. Other members are passed over; `moreAvailable` too, because a request that may wait is answered at once
/// when there is more.
#[derive(Debug, Deserialize)]
struct Answer {
    sets: BTreeMap<String, String>,
}

/// Polls until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    let link = &running.inbox.link;
    let attempts = AtomicUsize::new(0);
    crate::link::keep_up(link, &stop, || session(&running, attempts.fetch_add(1, Ordering::Relaxed))).await;
}

/// Asks one of the addresses again and again, until that fails.
async fn session(running: &Running, attempt: usize) -> anyhow::Result<Infallible> {
    let urls = &running.source.url;
    let url = urls.get(attempt % urls.len().max(1)).context("no url")?.expose();
    let url: reqwest::Url = url.parse().context("the url cannot be read")?;
    let client = client(&running.source)?;
    let receiver = Receiver::new(running, running.inbox.sender.clone(), true);
    // The first request does not wait, so that it is soon known whether there is anybody.
    let mut request = Request { max_events: MAX_EVENTS, return_immediately: true, ..Request::default() };
    let mut settled = BTreeSet::new();
    loop {
        let asked = Instant::now();
        let answer = ask(running, &client, url.clone(), &request).await?;
        running.inbox.link.is(State::Connected);
        let first = request.return_immediately;
        let count = answer.sets.len();
        request = take(&receiver, running, answer.sets).await?;
        let now: BTreeSet<String> = request.ack.iter().chain(request.set_errs.keys()).cloned().collect();
        // A transmitter that cannot wait, or that brings again what was settled, must not be asked without end.
        let idle = now.is_empty() && !(first && count == 0);
        if idle || !now.is_disjoint(&settled) {
            tokio::time::sleep_until(asked + BREATH).await;
        }
        settled = now;
    }
}

fn client(source: &Source) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .timeout(LONGEST_POLL)
        .tcp_keepalive(KEEP_ALIVE)
        // The token is for that address and no other.
        .redirect(reqwest::redirect::Policy::none());
    source.tls().http(builder)?.build().context("cannot make an HTTP client")
}

/// One request and its whole answer. Errors never show the URL, which may hold a password.
async fn ask(
    running: &Running,
    client: &reqwest::Client,
    url: reqwest::Url,
    request: &Request,
) -> anyhow::Result<Answer> {
    let mut post = client.post(url).header(reqwest::header::ACCEPT, "application/json").json(request);
    if !running.source.bearer.is_empty() {
        post = post.bearer_auth(running.source.bearer.expose());
    }
    if !request.set_errs.is_empty() {
        post = post.header(reqwest::header::CONTENT_LANGUAGE, LANGUAGE);
    }
    let response = post.send().await.map_err(reqwest::Error::without_url)?;
    anyhow::ensure!(response.status() == 200, "the answer is {}", response.status());
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(reqwest::Error::without_url)?);
        anyhow::ensure!(bytes.len() <= MAX_BYTES, "the answer is larger than {MAX_BYTES} bytes");
    }
    // What serde says may quote a token.
    serde_json::from_slice(&bytes).map_err(|_| anyhow::anyhow!("the answer is not one to a poll (RFC 8936 §2.5)"))
}

/// Takes the tokens of an answer; returns the request that says so.
async fn take(receiver: &Receiver<'_>, running: &Running, sets: BTreeMap<String, String>) -> anyhow::Result<Request> {
    let mut request = Request { max_events: MAX_EVENTS, ..Request::default() };
    let mut verified: Vec<(String, Set)> = Vec::new();
    for (jti, token) in sets {
        match receiver.verify(&token).await {
            Ok(set) if set.jti == jti => verified.push((jti, set)),
            Ok(_) => {
                let description = "the token has another jti than it was delivered under".to_owned();
                let refused = NotTaken::Refused { err: Code::InvalidRequest, reason: "malformed_set", description };
                refuse(receiver, running, &mut request, jti, refused);
            }
            Err(error) => refuse(receiver, running, &mut request, jti, error),
        }
    }
    // They come in no order (RFC 8936 §2.5), and what was enabled after it was disabled should end so.
    verified.sort_by_key(|(_, set)| set.iat);
    for (jti, set) in verified {
        let mut pause = FIRST_PAUSE;
        loop {
            match receiver.take(&set).await {
                Ok(()) => {
                    request.ack.push(jti);
                    break;
                }
                Err(NotTaken::Intake(IntakeError::Stopping)) => anyhow::bail!("the hub is stopping"),
                Err(error @ NotTaken::Intake(_)) => {
                    hold(running, &error, &mut pause).await;
                }
                Err(error) => {
                    refuse(receiver, running, &mut request, jti, error);
                    break;
                }
            }
        }
        running.inbox.link.is(State::Connected);
    }
    Ok(request)
}

/// Says that a token cannot be accepted; one whose issuer cannot be asked now is left to come again.
fn refuse(receiver: &Receiver<'_>, running: &Running, request: &mut Request, jti: String, error: NotTaken) {
    receiver.count(&error);
    if let NotTaken::Refused { err, description, .. } = error {
        let (source, err) = (&*running.source.name, err.code());
        tracing::warn!(source, err, description, "a security event token was refused; its transmitter is told");
        request.set_errs.insert(jti, SetErr { err, description });
    }
}

/// Waits before the next attempt at a store that does not answer. The hub's stop ends it with the session.
async fn hold(running: &Running, error: &NotTaken, pause: &mut Duration) {
    if *pause == FIRST_PAUSE {
        running.inbox.link.failed(&error.to_string());
        running.inbox.link.is(State::Holding);
    }
    tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}
