//! `--url`: an event stream through the address that clients use, with whatever stands in front of the hub.
//!
//! A proxy that collects bytes before it passes them on is the fault that looks most like health: every request works, and
//! revocations come minutes late. So a stream is opened, and what should come at once and every few seconds is waited for.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::tls::TlsInfo;
use reqwest::{Method, Response};
use tokio::time::{Instant, timeout, timeout_at};

use super::Scene;
use super::certificates::soon;
use super::report::Check;
use crate::cli::client::{Client, Connection, RequestError};
use crate::cli::sse::{Item, Parser};
use crate::clock::Clock;
use crate::tls::certificate::Dates;

/// How long the first byte may take where an ordinary answer comes at once, beside a bookmark's interval.
const PATIENCE: Duration = Duration::from_secs(5);
/// An ordinary answer, and a first event, that takes longer than this is worth a word.
const SLOW: Duration = Duration::from_secs(2);
/// So many signs of life are waited for behind the first event.
const SIGNS: usize = 2;

const UNBUFFERED: &str = "have it pass event streams on as they come: in nginx `proxy_buffering off` and `proxy_http_version 1.1` \
                          for /v1/events, and no proxy_ignore_headers that drops X-Accel-Buffering; no compression of \
                          text/event-stream; elsewhere look for response buffering, and for a CDN or virus scanner in front \
                          (docs/troubleshooting.md)";

/// How long the whole may take.
pub fn limit(scene: &Scene) -> Duration {
    scene.limit + patience(scene) * 3
}

fn patience(scene: &Scene) -> Duration {
    scene.config.bookmark_interval + PATIENCE
}

/// Opens a stream and watches it for a few bookmarks.
pub async fn check(scene: &Scene, connection: &Connection, check: &mut Check) {
    let client = match connection.client_with(|builder| builder.tls_info(true)) {
        Ok(client) => client,
        Err(error) => return check.failed(format!("{error:#}"), "correct --url, and the options that go with it"),
    };
    // An ordinary answer, to tell a proxy that holds streams back from one that is slow or away. Whatever it says.
    let began = Instant::now();
    match client.anonymous(Method::GET, "/livez").send().await {
        Ok(answer) => {
            certificate(&answer, check);
            let seen = format!("{} answers in {:?}", client.base(), rounded(began.elapsed()));
            match began.elapsed() < SLOW {
                true => check.ok(seen),
                false => check.warning(seen, "see what takes so long on the way: name servers, proxies, the network"),
            }
        }
        Err(error) => {
            return check.failed(
                format!("{} cannot be reached: {}", client.base(), causes(&error.without_url())),
                "see that the address is right, that the proxy in front of the hub runs, and, with TLS, --ca-file",
            );
        }
    }
    stream(&client, patience(scene), check).await;
}

async fn stream(client: &Client, patience: Duration, check: &mut Check) {
    let began = Instant::now();
    let request = client.endless(Method::GET, "/v1/events").header(ACCEPT, "text/event-stream");
    let response = match timeout(patience, client.send(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(error @ RequestError::Refused(_))) => {
            return check.failed(
                format!("no event stream: {error}"),
                "with credentials: of a client with the scope read; a 404 may be a proxy that does not pass on /v1/events",
            );
        }
        Ok(Err(error)) => return check.failed(format!("no event stream: {error}"), "see whether the hub is ready"),
        Err(_) => return held_back(&format!("not a byte of it within {patience:?}"), check),
    };
    let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.starts_with("text/event-stream") {
        return check.failed(
            "what comes from /v1/events is no event stream",
            "somebody else answers there: see that --url is the address of a hub and that the proxy passes on /v1",
        );
    }
    let mut signs = Signs { body: response, parser: Parser::new(), items: Vec::new() };
    let hello = |item: &Item| matches!(item, Item::Event(event) if event.name == "hello");
    match signs.until(hello, began + patience).await {
        Next::Came => {}
        Next::Ended => return check.failed("the stream ends before its first event", UNBUFFERED),
        Next::Silence => return held_back(&format!("no event within {patience:?}"), check),
    }
    let first = began.elapsed();
    let mut longest = Duration::ZERO;
    for _ in 0..SIGNS {
        let before = Instant::now();
        // A bookmark, a comment while the store is away, or an event.
        match signs.until(|item| !matches!(item, Item::Retry(_)), before + patience).await {
            Next::Came => longest = longest.max(before.elapsed()),
            Next::Ended => {
                return check.failed(
                    format!("the stream was cut {:?} after its first event", rounded(began.elapsed())),
                    "raise the proxy's time limit for answers above streams.max_age (nginx: proxy_read_timeout)",
                );
            }
            Next::Silence => {
                let seen = format!("the first event after {:?}, then nothing for {patience:?}", rounded(first));
                return held_back(&seen, check);
            }
        }
    }
    if first > SLOW {
        return held_back(&format!("the first event only after {:?}", rounded(first)), check);
    }
    check.ok(format!(
        "an event stream comes as it is sent: the first event after {:?}, then a sign of life within {:?} each",
        rounded(first),
        rounded(longest)
    ));
}

fn held_back(seen: &str, check: &mut Check) {
    check.failed(format!("event streams are held back on the way, and revocations with them: {seen}"), UNBUFFERED);
}

/// Until when the certificate of the address is good, when there is one.
fn certificate(answer: &Response, check: &mut Check) {
    let info = answer.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
    if let Some(dates) = info.and_then(|der| Dates::of(&der.into())) {
        soon("the certificate shown there", Some(dates.until), Clock::system().now(), check);
    }
}

/// With what lies below: reqwest's own words are few.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text = format!("{text}: {cause}");
        below = cause.source();
    }
    text
}

fn rounded(time: Duration) -> Duration {
    Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// What a stream has said, and what is not looked at yet.
struct Signs {
    body: Response,
    parser: Parser,
    items: Vec<Item>,
}

enum Next {
    Came,
    Ended,
    Silence,
}

impl Signs {
    /// Reads until there is such an item. What came with it counts for the next time.
    async fn until(&mut self, wanted: impl Fn(&Item) -> bool, deadline: Instant) -> Next {
        loop {
            if let Some(at) = self.items.iter().position(&wanted) {
                self.items.drain(..=at);
                return Next::Came;
            }
            self.items.clear();
            match timeout_at(deadline, self.body.chunk()).await {
                Ok(Ok(Some(bytes))) => {
                    if self.parser.push(&bytes, &mut self.items).is_err() {
                        return Next::Ended;
                    }
                }
                Ok(_) => return Next::Ended,
                Err(_) => return Next::Silence,
            }
        }
    }
}
