//! The list of revoked tokens of a WSO2 API Manager (`GET …/revokedjwt`), pulled: at the start, whenever a broker was
//! connected again or an event said that there is more, and again and again, so that a lost event heals.
//!
//! An answer that is not a list in either shape changes nothing: an empty 200, an HTML page and half a body are what
//! these servers send when they do not know. And a list only ever adds: these servers answer an error of their database
//! with an empty one.
//!
//! What somebody has taken back here stays so, though it stands in the list; a new event about it revokes it again.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::start::Running;
use crate::config::Source;
use crate::formats::wso2::{snapshot, translate};
use crate::intake::{NewRevocation, NewTarget};
use crate::link::State;
use crate::revocation::{Epoch, Id};

/// How often, when the configuration does not say.
const INTERVAL: Duration = Duration::from_secs(600);
/// How long the other side may be silent, when the configuration does not say.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long a pull may take that is not silent.
const WHOLE: Duration = Duration::from_secs(1800);
/// How often it is looked whether the hub has loaded its own list, which comes first.
const LOADING: Duration = Duration::from_millis(50);
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
        .read_timeout(source.timeout.unwrap_or(TIMEOUT))
        .timeout(WHOLE)
        // The credentials are for that address and no other.
        .redirect(reqwest::redirect::Policy::none());
    source.tls().http(builder)?.build().context("cannot make an HTTP client")
}

/// What the last list said, as digests: only what is new goes on, so that a list of a million that changes by one costs
/// one. It holds for one incarnation of the log: another may have lost what this one had.
#[derive(Default)]
struct Seen {
    epoch: Option<Epoch>,
    hasher: RandomState,
    items: HashSet<u64>,
}

async fn pull(running: &Arc<Running>, client: &reqwest::Client, seen: &mut Seen) -> anyhow::Result<()> {
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

async fn take(running: &Arc<Running>, list: snapshot::Snapshot, seen: &mut Seen) -> anyhow::Result<()> {
    let inbox = &running.inbox;
    let epoch = loop {
        match running.known.cursor() {
            Some(cursor) => break cursor.epoch,
            None => tokio::time::sleep(LOADING).await,
        }
    };
    let hasher = seen.hasher.clone();
    let before = if seen.epoch.as_ref() == Some(&epoch) { std::mem::take(&mut seen.items) } else { HashSet::new() };
    let here = running.clone();
    // A million entries take a second of processor time.
    let sifted = tokio::task::spawn_blocking(move || sift(&here, list, &hasher, &before)).await?;
    for (reason, count) in sifted.refused {
        inbox.link.set_aside(count, reason);
    }
    let mut new = sifted.new;
    for (id, item) in sifted.lifted {
        if !lifted_for_good(inbox, id, &item).await? {
            new.push(item);
        }
    }
    let count = new.len();
    while !new.is_empty() {
        let rest = new.split_off(new.len().min(CHUNK));
        inbox.revoke_patiently(&inbox.sender, std::mem::replace(&mut new, rest)).await?;
    }
    (seen.epoch, seen.items) = (Some(epoch), sifted.all);
    if count > 0 {
        tracing::info!(source = &*inbox.sender.name, new = count, "pulled the list");
    }
    inbox.link.delivered(1, "pulled");
    Ok(())
}

/// What a list says, after looking at what is known.
#[derive(Default)]
struct Sifted {
    /// Digests of everything.
    all: HashSet<u64>,
    /// What goes on.
    new: Vec<NewRevocation>,
    /// What somebody has taken back.
    lifted: Vec<(Id, NewRevocation)>,
    /// What intake would refuse, by reason.
    refused: HashMap<&'static str, u64>,
}

fn sift(running: &Running, list: snapshot::Snapshot, hasher: &RandomState, before: &HashSet<u64>) -> Sifted {
    let inbox = &running.inbox;
    let mut sifted = Sifted::default();
    if list.unnamed > 0 {
        sifted.refused.insert("no_token", list.unnamed as u64);
    }
    let mut items = translate::snapshot(list, running.source.untyped);
    inbox.address(&mut items);
    for item in items {
        let digest = digest(hasher, &item);
        if !sifted.all.insert(digest) || before.contains(&digest) {
            continue;
        }
        match inbox.intake.foresee(&inbox.sender, item.clone()) {
            // These lists hold the whole history.
            Ok((_, true)) => {}
            Ok((id, false)) if running.known.is_lifted(id) => sifted.lifted.push((id, item)),
            Ok(_) => sifted.new.push(item),
            Err(invalid) => *sifted.refused.entry(invalid.reason.code()).or_default() += 1,
        }
    }
    sifted
}

/// Whether an item of the list says nothing that was not known when it was taken back. A token is named once and for all;
/// a rule comes again with a later time.
async fn lifted_for_good(inbox: &Inbox, id: Id, item: &NewRevocation) -> anyhow::Result<bool> {
    let row = inbox.intake.find(id).await?;
    Ok(row.is_some_and(|row| row.lifted && row.revocation.issued_before >= item.issued_before))
}

fn digest(hasher: &RandomState, item: &NewRevocation) -> u64 {
    let times = (format!("{:?}", item.lifetime), item.issued_before);
    match &item.target {
        NewTarget::Named(target) => hasher.hash_one((target, times)),
        NewTarget::Raw { token, .. } => hasher.hash_one((token, times)),
    }
}
