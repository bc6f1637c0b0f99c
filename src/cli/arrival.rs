//! Whether a revocation arrives: an event stream that is open before it is sent, and that is read until it brings it.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{Method, Response};

use super::client::{Client, RequestError};
use super::promise::{Promise, Seen, Start};
use super::sse::{Item, Parser};

/// An open event stream of which something is expected. What it brings is new: it starts with what comes next.
pub struct Arrival<'a> {
    client: &'a Client,
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    parser: Parser,
    promise: Promise,
    items: std::vec::IntoIter<Item>,
}

impl<'a> Arrival<'a> {
    /// Opens the stream and waits for its `hello`: from then on nothing that is committed passes it by.
    pub async fn open(client: &'a Client, limit: Duration) -> anyhow::Result<Self> {
        within(limit, "the event stream does not begin", async {
            let request = client.endless(Method::GET, "/v1/events").header(ACCEPT, "text/event-stream");
            let response = client.send(request).await?;
            let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
            let is_stream = kind.to_ascii_lowercase().starts_with("text/event-stream");
            anyhow::ensure!(is_stream, "{} answers with {kind:?} instead of an event stream", client.base());
            let mut arrival = Self {
                client,
                body: Response::bytes_stream(response).boxed(),
                parser: Parser::new(),
                promise: Promise::new(Start::Now),
                items: Vec::new().into_iter(),
            };
            while !matches!(arrival.next().await?, Seen::Hello { .. }) {}
            Ok(arrival)
        })
        .await
    }

    /// Reads until the revocation with this id comes.
    pub async fn of(mut self, id: &str, limit: Duration) -> anyhow::Result<()> {
        within(limit, &format!("{id} was committed, but the event stream does not bring it"), async {
            loop {
                match self.next().await? {
                    Seen::Revoked(value) if value["id"] == id => return Ok(()),
                    Seen::Reset { reason } => return Err(away(format!("the log was replaced meanwhile: {reason}"))),
                    _ => {}
                }
            }
        })
        .await
    }

    async fn next(&mut self) -> anyhow::Result<Seen> {
        loop {
            for item in self.items.by_ref() {
                if let Item::Event(event) = item {
                    return Ok(self.promise.check(&event)?);
                }
            }
            let Some(bytes) = self.body.next().await else {
                return Err(away("the event stream ended before it came".into()));
            };
            let mut items = Vec::new();
            self.parser.push(&bytes.map_err(|e| self.client.unreachable(&e))?, &mut items)?;
            self.items = items.into_iter();
        }
    }
}

async fn within<T>(limit: Duration, what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let limit = humantime::format_duration(limit);
        Err(away(format!("{what} within {limit}; something between that holds streams back looks like this")))
    })
}

fn away(message: String) -> anyhow::Error {
    RequestError::Unavailable { message, retry_after: None }.into()
}
