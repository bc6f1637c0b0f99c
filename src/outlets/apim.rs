//! An operation of an Azure API Management (or any) gateway that is called for each revocation: `POST` of the native wire form
//! with `event` and `ttl` (seconds left). A policy there keeps it in the gateway's cache; see `integrations/azure-apim`.
//!
//! Only 2xx is a delivery. Anything else ends the session, and the same revocation comes again until it is delivered or has
//! expired: order is kept, so what the gateway refuses holds up what follows, which the lag shows. What was delivered before
//! is written down first, and so it is every moment on the way: a restart repeats a few calls at the most.

use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::publisher::{Connect, Sent, Session};
use crate::clock::Clock;
use crate::config::Outlet;
use crate::revocation::{Lifted, Row, Wire};

const CONNECT: Duration = Duration::from_secs(5);
/// Of one call.
const LIMIT: Duration = Duration::from_secs(10);
/// How often at the least it is written down how far the calls have come: less than a hub has to finish when it stops.
const NOTE: Duration = Duration::from_millis(200);
/// How much of an answer is read: only its status counts, and the connection is used again.
const ANSWER: usize = 16 << 10;

/// The way to the operation.
pub struct Connector {
    outlet: Outlet,
    clock: Clock,
}

impl Connector {
    /// Calls as configured.
    pub fn new(outlet: Outlet, clock: Clock) -> Self {
        Self { outlet, clock }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        let outlet = &self.outlet;
        let builder = Client::builder()
            .connect_timeout(CONNECT)
            .timeout(LIMIT)
            // The credentials are for that address and no other.
            .redirect(reqwest::redirect::Policy::none());
        let client = outlet.tls().http(builder)?.build().context("cannot make an HTTP client")?;
        let urls = outlet.url.iter().map(|url| url.expose().parse().context("the url cannot be read"));
        let urls: Vec<Url> = urls.collect::<anyhow::Result<_>>()?;
        Ok(Box::new(Operation { client, urls, at: 0, outlet: outlet.clone(), clock: self.clock.clone() }))
    }
}

struct Operation {
    client: Client,
    urls: Vec<Url>,
    /// The one that answered last.
    at: usize,
    outlet: Outlet,
    clock: Clock,
}

#[async_trait]
impl Session for Operation {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
        let began = Instant::now();
        let mut sent = Sent::default();
        for row in rows {
            // It may have expired since it was read; then nobody needs it.
            let now = self.clock.now();
            if !row.revocation.exp.is_over(now, 0)
                && let Err(error) = self.deliver(&body(row, now)).await
            {
                return sent.or(error);
            }
            sent.add(1, 0);
            if began.elapsed() >= NOTE {
                break;
            }
        }
        Ok(sent)
    }
}

impl Operation {
    /// Calls every address once, until one takes it; the next one is tried when one cannot be reached or does not.
    async fn deliver(&mut self, body: &Value) -> anyhow::Result<()> {
        let mut result = Ok(());
        for _ in 0..self.urls.len() {
            result = self.call(body).await;
            if result.is_ok() {
                break;
            }
            self.at = (self.at + 1) % self.urls.len();
        }
        result
    }

    async fn call(&self, body: &Value) -> anyhow::Result<()> {
        let mut request = self.client.post(self.urls[self.at].clone()).json(body);
        if !self.outlet.bearer.is_empty() {
            request = request.bearer_auth(self.outlet.bearer.expose());
        } else if let Some(user) = &self.outlet.username {
            request = request.basic_auth(user, Some(self.outlet.password.expose()));
        }
        // Never the URL: it may hold a key.
        let mut response = request.send().await.map_err(reqwest::Error::without_url)?;
        let status = response.status();
        let mut read = 0;
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            read += chunk.len();
            if read > ANSWER {
                break;
            }
        }
        anyhow::ensure!(status.is_success(), "the answer is {status}");
        Ok(())
    }
}

/// The wire form with `event`, and for what is revoked `ttl`: the seconds that are left, at least 1; none when it is kept until
/// it is lifted.
fn body(row: &Row, now: i64) -> Value {
    let wire = if row.lifted {
        serde_json::to_value(Lifted { id: row.id, target: &row.revocation.target })
    } else {
        serde_json::to_value(Wire { id: row.id, revocation: &row.revocation })
    };
    let mut body = wire.unwrap_or_else(|_| json!({}));
    body["event"] = if row.lifted { "lifted" } else { "revoked" }.into();
    if let (false, Some(exp)) = (row.lifted, row.revocation.exp.seconds()) {
        body["ttl"] = exp.saturating_sub(now).max(1).into();
    }
    body
}
