//! The inbox on a real store: what a source may acknowledge, and when.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use revocation_hub::clock::Clock;
use revocation_hub::feed::{Feed, Pace};
use revocation_hub::formats::message::Options;
use revocation_hub::intake::{Bounds, Intake, Lifetime, NewRevocation, NewTarget, Sender};
use revocation_hub::ledger::Ledger;
use revocation_hub::link::{Direction, Link, State};
use revocation_hub::metrics::Metrics;
use revocation_hub::revocation::{Kind, Target};
use revocation_hub::sources::inbox::{Inbox, Message, Stopping};
use revocation_hub::store::{self, Store};
use serde_json::json;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::harness::*;

/// Everything behind a source, and no source.
struct Bench {
    store: Arc<dyn Store>,
    inbox: Inbox,
    rest: CancellationToken,
}

impl Bench {
    async fn new(url: &str) -> Self {
        Self::impatient(url, PATIENCE).await
    }

    /// With this time limit for every call of the store.
    async fn impatient(url: &str, timeout: Duration) -> Self {
        let options = store::Options { max_connections: 4, timeout, listen_notify: false, beat_interval: timeout };
        let store = store::connect(url, &options).await.unwrap();
        store.prepare(true).await.unwrap();
        let (clock, metrics, ledger) = (Clock::manual(NOW), Metrics::new(), Ledger::new("carbon.super"));
        let bounds = Bounds { max_text: 100, max_reason: 100, clock_skew: 60 };
        let (intake, committer) = Intake::new(store.clone(), clock.clone(), bounds, metrics.clone());
        let second = Duration::from_secs(1);
        let pace = Pace {
            poll_interval: second,
            bookmark_interval: second,
            sweep_interval: second,
            clock_skew: 60,
            migrate: true,
            max_clock_offset: second,
        };
        let feed = Feed::new(store.clone(), ledger, clock.clone(), pace, metrics.clone(), mpsc::unbounded_channel().0);
        let (commits, committed) = mpsc::channel(256);
        let rest = CancellationToken::new();
        tokio::spawn(committer.run(commits, feed.applied()));
        tokio::spawn(feed.run(committed, rest.clone()));
        let link = Link::new(Direction::In, "broker", "amqp", State::Connected, clock.clone(), metrics.clone());
        let sender = Sender {
            name: "broker".into(),
            may_rules: false,
            issuers: None,
            keep_opaque: true,
            keep_signature: false,
            max_token_lifetime: 3600,
            actor: Default::default(),
        };
        let inbox = Inbox {
            intake,
            sender,
            options: Options { max_items: 10_000, untyped: Default::default() },
            parking: store.clone(),
            max_parked: 1000,
            link,
            metrics,
            clock,
            usual: State::Connected,
            stop: CancellationToken::new(),
            default_issuer: None,
            pull: Arc::default(),
            pulls: Arc::default(),
        };
        Self { store, inbox, rest }
    }

    /// The tokens that are committed.
    async fn committed(&self) -> BTreeSet<String> {
        let rows = self.store.read_after(0, 1_000_000).await.unwrap().rows;
        rows.into_iter().map(|row| row.revocation.target.value).collect()
    }

    /// What is parked, as reason and body, in its order.
    async fn parked(&self) -> Vec<(String, Vec<u8>)> {
        let mut all = Vec::new();
        for head in self.store.parked(0, 10_000).await.unwrap() {
            assert_eq!(head.source, "broker");
            all.push((head.reason, self.store.parked_one(head.number).await.unwrap().unwrap().message.body));
        }
        all
    }

    async fn end(self) {
        self.rest.cancel();
        self.store.close().await;
    }
}

fn message(body: impl Into<Bytes>) -> Message {
    Message { content_type: Some("application/json".into()), body: body.into(), own: false }
}

/// What a broker can bring.
#[derive(Clone, Debug)]
enum Brings {
    /// So many tokens in one message.
    Tokens(u16, u8),
    /// Tokens, and one more item in their middle that intake refuses.
    Refused(u16, u8),
    Noise(Vec<u8>),
    Own(u16),
}

fn brings() -> impl Strategy<Value = Brings> {
    prop_oneof![
        4 => (0..500u16, 1..4u8).prop_map(|(id, n)| Brings::Tokens(id, n)),
        2 => (0..500u16, 0..4u8).prop_map(|(id, n)| Brings::Refused(id, n)),
        2 => proptest::collection::vec(any::<u8>(), 0..20).prop_map(Brings::Noise),
        1 => (0..500u16).prop_map(Brings::Own),
    ]
}

fn body(kind: &str, id: u16, count: u8, refused: bool) -> Bytes {
    let mut items: Vec<_> = (0..count).map(|i| json!({"jti": format!("{kind}-{id}-{i}")})).collect();
    if refused {
        // This sender may not revoke more than one token at a time.
        items.insert(usize::from(count / 2), json!({"sub": format!("user-{id}")}));
    }
    json!(items).to_string().into()
}

/// Exactly what can be read and is allowed is committed, the rest is parked once with its bytes, whatever its order.
async fn each_message_ends_where_it_belongs(place: &Place) {
    let bench = Bench::new(&place.url).await;
    let (mut committed, mut parked) = (BTreeSet::new(), Vec::new());
    let (mut passed, mut aside) = (0, 0);
    let mut runner = proptest::test_runner::TestRunner::default();
    let many = proptest::collection::vec(brings(), 0..30);
    for _ in 0..40 {
        let batch = many.new_tree(&mut runner).unwrap().current();
        let shown = format!("{batch:?}");
        let mut messages = Vec::new();
        let (mut unreadable, mut refused) = (Vec::new(), Vec::new());
        for brought in batch {
            let message = match brought {
                Brings::Tokens(id, n) => {
                    committed.extend((0..n).map(|i| format!("good-{id}-{i}")));
                    passed += 1;
                    message(body("good", id, n, false))
                }
                Brings::Refused(id, n) => {
                    let body = body("refused", id, n, true);
                    refused.push(("missing_scope".to_owned(), body.to_vec()));
                    message(body)
                }
                Brings::Noise(mut bytes) => {
                    bytes.insert(0, b'\xff');
                    unreadable.push(bytes.clone());
                    message(bytes)
                }
                Brings::Own(id) => Message { own: true, ..message(body("own", id, 1, false)) },
            };
            messages.push(message);
        }
        within("taken", bench.inbox.take(&messages)).await.unwrap();
        // Acknowledged means there already.
        assert_eq!(bench.committed().await, committed, "{shown}");
        aside += unreadable.len() + refused.len();
        let kept = bench.parked().await;
        let mut wanted: Vec<Vec<u8>> =
            unreadable.into_iter().chain(refused.into_iter().map(|(_, body)| body)).collect();
        wanted.retain(|body| !parked.contains(body));
        for body in wanted {
            if !parked.contains(&body) {
                parked.push(body);
            }
        }
        assert_eq!(kept.iter().map(|(_, body)| body).collect::<Vec<_>>(), parked.iter().collect::<Vec<_>>());
        for (reason, body) in kept {
            assert_eq!(reason == "missing_scope", body[0] == b'[', "{reason}");
        }
    }
    let report = bench.inbox.link.report();
    assert_eq!((report.delivered, report.set_aside), (passed, aside as u64));
    assert_eq!((report.failures, report.state), (0, State::Connected));
    bench.end().await;
}

/// A message of many items is committed whole, however many transactions that takes, and in its order.
async fn a_message_can_be_large(place: &Place) {
    let bench = Bench::new(&place.url).await;
    let items: Vec<_> = (0..9999).map(|i| json!({"jti": format!("t{i:05}")})).collect();
    let mut with_one_bad = items.clone();
    with_one_bad[7000] = json!({"sub": "u"});
    let big = vec![b'x'; 3 << 20];
    let messages = [
        message(big.clone()),
        message(json!(items).to_string()),
        message(json!(with_one_bad).to_string()),
        message(big[1..].to_vec()),
    ];
    within("taken", bench.inbox.take(&messages)).await.unwrap();
    let rows = bench.store.read_after(0, 20_000).await.unwrap().rows;
    assert!(rows.iter().map(|row| row.revocation.target.value.clone()).eq((0..9999).map(|i| format!("t{i:05}"))));
    let parked = bench.parked().await;
    let lengths: Vec<usize> = parked.iter().map(|(_, body)| body.len()).collect();
    assert_eq!(lengths, [big.len(), big.len() - 1, messages[2].body.len()]);
    assert_eq!(bench.inbox.link.report().set_aside, 3);
    // Larger than what anybody would look at: its beginning is kept, and it is said.
    within("taken", bench.inbox.take(&[message(vec![b'y'; (4 << 20) + 1])])).await.unwrap();
    let last = bench.store.parked(0, 100).await.unwrap().pop().unwrap();
    assert_eq!(last.bytes, 4 << 20);
    assert!(last.detail.contains("4194305"), "{}", last.detail);
    bench.end().await;
}

/// While the store is away nothing may be acknowledged; afterwards everything is there.
async fn nothing_returns_before_the_store_does(place: &Place) {
    let wire = Proxy::new(place).await;
    let bench = Bench::impatient(&wire.url(place), Duration::from_millis(500)).await;
    let inbox = bench.inbox.clone();
    for (round, how) in [(0, Wire::Cut), (1, Wire::Mute)] {
        let good = message(body("good", round, 2, false));
        let noise = message(format!("noise {round}"));
        wire.set(how);
        // Each alone and both together wait.
        let taking: Vec<_> = [vec![good.clone()], vec![noise.clone()], vec![noise, good]]
            .into_iter()
            .map(|messages| {
                let inbox = inbox.clone();
                tokio::spawn(async move { inbox.take(&messages).await })
            })
            .collect();
        until("it holds back", async || (inbox.link.report().state == State::Holding).then_some(())).await;
        let failures = inbox.link.report().failures;
        until("all three have failed", async || (inbox.link.report().failures >= 3 * (round as u64 + 1)).then_some(()))
            .await;
        assert!(failures > 0 && taking.iter().all(|task| !task.is_finished()));
        wire.set(Wire::Good);
        for task in taking {
            within("taken", task).await.unwrap().unwrap();
        }
        assert_eq!(inbox.link.report().state, State::Connected);
        assert_eq!(bench.committed().await.len(), 2 * (round as usize + 1));
        assert_eq!(bench.parked().await.len(), round as usize + 1);
    }
    // Who stops meanwhile acknowledges nothing.
    wire.set(Wire::Cut);
    for last in [message(body("last", 1, 1, false)), message("noise")] {
        let stopping = Inbox { stop: CancellationToken::new(), ..inbox.clone() };
        let failures = inbox.link.report().failures;
        let (stop, task) = (stopping.stop.clone(), tokio::spawn(async move { stopping.take(&[last]).await }));
        until("it waits", async || (inbox.link.report().failures > failures).then_some(())).await;
        stop.cancel();
        assert!(matches!(within("it ends", task).await.unwrap(), Err(Stopping)));
    }
    bench.end().await;
}

/// An event that says "there is more" is never lost: it waits for whoever pulls, and with nobody it is parked.
async fn a_request_to_pull_is_never_lost(place: &Place) {
    let mut bench = Bench::new(&place.url).await;
    let event = r#"{"event":{"payloadData":{"eventId":"e6","revokedToken":"rfjtExampleKey0000000000000a","ttl":"5000","expiryTime":0,"type":"token_revocation_batch","tenantId":-1234}}}"#;
    within("taken", bench.inbox.take(&[message(event)])).await.unwrap();
    let parked = bench.parked().await;
    assert_eq!(parked, [("nothing_to_pull".to_owned(), event.as_bytes().to_vec())]);
    let pulls = [Arc::new(Notify::new()), Arc::new(Notify::new())];
    bench.inbox.pulls = Arc::new(pulls.clone());
    within("taken", bench.inbox.take(&[message(event), message(event)])).await.unwrap();
    // Nobody listened at that moment; both find it afterwards, and once.
    for pull in &pulls {
        within("the notice", pull.notified()).await;
        assert!(futures_util::FutureExt::now_or_never(pull.notified()).is_none());
    }
    assert_eq!(bench.committed().await.len(), 0);
    assert_eq!(bench.parked().await.len(), 1);
    bench.end().await;
}

/// The feed is stuck while commits go on. What it has no room for is in the store alone; that is counted, because nobody could
/// put it back.
async fn rows_that_the_feed_has_no_room_for_are_counted(place: &Place) {
    let options =
        store::Options { max_connections: 4, timeout: PATIENCE, listen_notify: false, beat_interval: PATIENCE };
    let store = store::connect(&place.url, &options).await.unwrap();
    store.prepare(true).await.unwrap();
    let metrics = Metrics::new();
    let bounds = Bounds { max_text: 100, max_reason: 100, clock_skew: 60 };
    let (intake, committer) = Intake::new(store.clone(), Clock::manual(NOW), bounds, metrics.clone());
    // Room for one commit, and nobody takes it out.
    let (commits, _committed) = mpsc::channel(1);
    // Nobody waits to see what was written.
    let seen = tokio::sync::watch::Sender::new(u64::MAX);
    tokio::spawn(committer.run(commits, seen.subscribe()));
    let sender = Sender {
        name: "somebody".into(),
        actor: Arc::default(),
        may_rules: false,
        issuers: None,
        keep_opaque: false,
        keep_signature: false,
        max_token_lifetime: 3600,
    };
    for commit in 0..3 {
        let items = (0..5).map(|n| NewRevocation {
            target: NewTarget::Named(Target { kind: Kind::Token, iss: None, value: format!("{commit}-{n}") }),
            lifetime: Lifetime::Unsaid,
            issued_before: None,
            reason: None,
        });
        intake.revoke(&sender, items.collect()).await.unwrap();
    }
    assert_eq!(metrics.feed_unkept.get(), 10);
    store.close().await;
}

both_stores!(
    each_message_ends_where_it_belongs,
    a_message_can_be_large,
    a_request_to_pull_is_never_lost,
    rows_that_the_feed_has_no_room_for_are_counted
);
on_postgres!(nothing_returns_before_the_store_does);
