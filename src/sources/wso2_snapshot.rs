//! The list of revoked tokens of a WSO2 API Manager (`GET …/revokedjwt`), pulled: at the start, whenever a broker was
//! connected again or an event said that there is more, and again and again, so that a lost event heals.
//!
//! An answer that is not a list in either shape changes nothing: an empty 200, an HTML page and half a body are what
//! these servers send when they do not know (wso2.md §1).

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::start::Running;
use crate::config::Source;
use crate::formats::wso2::{snapshot, translate};
use crate::intake::NewRevocation;
use crate::link::State;

/// How often, when the configuration does not say.
const INTERVAL: Duration = Duration::from_secs(600);
/// How soon again after a pull that failed; the rest is [`crate::link::keep_up`]'s.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Two million tokens; more is not a list but an accident.
const MAX_BYTES: usize = 256 << 20;
/// What goes into one request to intake.
const CHUNK: usize = 1000;

/// Pulls until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    let link = running.inbox.link.clone();
    let mut seen = Seen::default();
    let interval = running.source.interval.unwrap_or(INTERVAL);
    let seen = tokio::sync::Mutex::new(&mut seen);
    crate::link::keep_up(&link, &stop, || async {
        let client = client(&running.source)?;
        let mut seen = seen.lock().await;
        loop {
            pull(&running, &client, &mut seen).await?;
            link.is(State::Connected);
            let pause = interval.mul_f64(0.9 + 0.2 * rand::random::<f64>());
            // What asked while we pulled has left its permit, and makes us pull once more.
            let _ = tokio::time::timeout(pause, running.inbox.pull.notified()).await;
        }
    })
    .await;
}

fn client(source: &Source) -> anyhow::Result<reqwest::Client> {
    let builder = reqwest::Client::builder()
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(TIMEOUT)
        // The credentials are for that address and no other.
        .redirect(reqwest::redirect::Policy::none());
    crate::tls::trust(builder, source.ca_file.as_deref())?.build().context("cannot make an HTTP client")
}

/// What the last list said, as digests: only what is new goes on, so that a list of a million that changes by one costs
/// one, and what an operator has lifted since stays lifted.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    items: HashSet<u64>,
}

async fn pull(running: &Running, client: &reqwest::Client, seen: &mut Seen) -> anyhow::Result<()> {
    let mut last = None;
    for url in &running.source.url {
        match fetch(running, client, url.expose()).await {
            Ok(bytes) => {
                let list = tokio::task::spawn_blocking(move || snapshot::decode(&bytes)).await?;
                return take(running, list.context("the answer is not a list of revoked tokens")?, seen).await;
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| anyhow::anyhow!("no url")))
}

/// The whole answer of one address. Errors never show the URL, which may hold a password.
async fn fetch(running: &Running, client: &reqwest::Client, url: &str) -> anyhow::Result<Vec<u8>> {
    let mut url: reqwest::Url = url.parse().context("the url cannot be read")?;
    if !url.path().ends_with("/revokedjwt") {
        let path = format!("{}/revokedjwt", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    let source = &running.source;
    let mut request = client.get(url);
    if let Some(user) = &source.username {
        request = request.basic_auth(user, Some(source.password.expose()));
    }
    let response = request.send().await.map_err(reqwest::Error::without_url)?;
    anyhow::ensure!(response.status() == 200, "the answer is {}", response.status());
    let expected = response.content_length();
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk.map_err(reqwest::Error::without_url)?);
        anyhow::ensure!(bytes.len() <= MAX_BYTES, "the list is larger than {MAX_BYTES} bytes");
    }
    anyhow::ensure!(expected.is_none_or(|n| n == bytes.len() as u64), "the answer ended before its end");
    Ok(bytes)
}

async fn take(running: &Running, list: snapshot::Snapshot, seen: &mut Seen) -> anyhow::Result<()> {
    if list.unnamed > 0 {
        running.inbox.link.set_aside(list.unnamed as u64, "no_token");
    }
    let mut items = translate::snapshot(list, running.source.untyped);
    running.inbox.address(&mut items);
    let mut all = HashSet::with_capacity(items.len());
    let mut new = Vec::new();
    for item in items {
        let digest = seen.digest(&item);
        if all.insert(digest) && !seen.items.contains(&digest) {
            new.push(item);
        }
    }
    let count = new.len();
    while !new.is_empty() {
        let rest = new.split_off(new.len().min(CHUNK));
        running.inbox.revoke_patiently(std::mem::replace(&mut new, rest)).await?;
    }
    seen.items = all;
    if count > 0 {
        tracing::info!(source = &*running.inbox.sender.name, new = count, "pulled the list");
    }
    running.inbox.link.delivered(1, "pulled");
    Ok(())
}

impl Seen {
    fn digest(&self, item: &NewRevocation) -> u64 {
        let expiry = format!("{:?} {:?}", item.lifetime, item.issued_before);
        match &item.target {
            crate::intake::NewTarget::Named(target) => self.hasher.hash_one((target, expiry)),
            crate::intake::NewTarget::Raw { token, .. } => self.hasher.hash_one((token, expiry)),
        }
    }
}
