//! More to do than there is room for: budgets, readers that stand still, memory.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Method;
use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::*;
use crate::raw::{Raw, exchange};
use crate::stalled::{body, stalled};

const LIVE: u64 = 50_000;
const STREAMS: usize = 500;
const STALLED: usize = 20;
/// What one request may bring.
const BATCH: u64 = 20_000;
/// What one request brings while streams are open: 400 KB for each of them.
const NEWS: u64 = 2_000;

/// Revokes as many tokens, in as few requests as it takes, and waits until the hub shows them.
async fn fill(hub: &Api, name: &str, count: u64) {
    for first in (0..count).step_by(BATCH as usize) {
        let lines: Vec<Value> = (first..count.min(first + BATCH)).map(|i| token(format!("{name}-{i}"))).collect();
        let answer = hub.post_lines(&lines).await.expect(200).json();
        assert_eq!(answer["revoked"], lines.len());
        // Under load the answer can come a moment before.
        let head = cursor(&answer["cursor"]).seq as f64;
        until("the hub shows them", async || (hub.metric("head", "").await >= head).then_some(())).await;
    }
}

/// The smaller sister of `revocation-hub bench --only overload`.
async fn readers_that_stand_still_cost_little_and_delay_nobody(place: &Place) {
    let mut hub = Process::launch(place, "limits = { stall_timeout = \"1h\" }", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    fill(&hub, "before", LIVE).await;
    let mut live = Vec::new();
    for _ in 0..STREAMS {
        live.push(hub.stream(Start::Now).await);
    }
    let memory = hub.metric("process_resident_memory_bytes", "").await;
    let _dead = stand_still(&hub).await;
    // One request makes a batch that every stream gets.
    let head = LIVE + NEWS;
    let mut reading = JoinSet::new();
    for mut stream in live {
        reading.spawn(async move {
            let ids = stream.ids(head).await;
            assert!(ids.iter().map(|(seq, _)| *seq).eq(LIVE + 1..=head));
            stream
        });
    }
    fill(&hub, "after", NEWS).await;
    let live = reading.join_all().await;
    let grown = hub.metric("process_resident_memory_bytes", "").await - memory;
    // It would be 200 MB if each stream had a copy of its own.
    assert!(grown < 100e6, "{grown} bytes more for {} streams and {STALLED} that stand still", live.len());
}

/// Readers that ask for everything and read nothing, half of them for the stream and half for the list.
async fn stand_still(hub: &Api) -> Vec<TcpStream> {
    let mut dead = Vec::new();
    for _ in 0..STALLED / 2 {
        dead.push(stalled(hub, "/v1/events?since=earliest").await);
        dead.push(stalled(hub, "/v1/revocations").await);
    }
    until("they are being sent everything", async || {
        (hub.metric("first_loads", "").await == STALLED as f64).then_some(())
    })
    .await;
    dead
}

async fn readers_that_stand_still_are_cut_and_resume_without_a_gap(place: &Place) {
    // Long enough for all of them to come, even on a machine that has much else to do.
    let mut hub = Process::launch(place, "limits = { stall_timeout = \"5s\", small_load = 1000 }", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    fill(&hub, "before", LIVE).await;
    let watching = hub.stream(Start::Now).await;
    let mut dead = stand_still(&hub).await;
    hub.revoke(&token("meanwhile")).await;
    until("all that stand still are cut", async || {
        let cut = hub.metric("connections_cut_total", "stalled").await;
        (cut == STALLED as f64).then_some(())
    })
    .await;
    assert_eq!(hub.metric("streams_ended_total", "stalled").await, STALLED as f64 / 2.0);
    assert_eq!(hub.metric("streams", "").await, 1.0, "the one that is current stays");
    assert_eq!(hub.metric("first_loads", "").await, 0.0);
    drop(watching);

    // Whoever was cut has a part of it, and gets the rest with the cursor of what it has.
    let truth = hub.snapshot().await;
    let mut map = Map::new();
    let mut cut = body(dead.swap_remove(0), Promise::new(Start::Earliest));
    loop {
        match cut.next().await {
            Got::Event(seen, _) => fold(&mut map, &seen),
            Got::Comment => {}
            Got::End => break,
        }
    }
    assert!(!map.is_empty() && map.len() < truth.map.len(), "{} revocations, and then it was cut", map.len());
    let mut stream = hub.resume(cut.into_promise(), Ask::Header).await;
    stream.follow(&mut map, truth.cursor.seq).await;
    assert_eq!(map, truth.map);
}

/// Reading little by little is no reason to be cut: what counts is that something was taken.
async fn a_slow_reader_that_moves_stays(place: &Place) {
    let mut config = place.config();
    config.limits.stall_timeout = Duration::from_secs(1);
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    let count = 4_000;
    fill(&hub, "slow", count).await;
    let mut slow = stalled(&hub, "/v1/events?since=earliest").await;
    let began = Instant::now();
    let mut buffer = [0; 2 << 10];
    let mut taken = Vec::new();
    while began.elapsed() < config.limits.stall_timeout * 4 {
        // This is how slow it is.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let n = within("some bytes", slow.read(&mut buffer)).await.unwrap();
        assert!(n > 0, "it was cut");
        taken.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(hub.metric("streams", "").await, 1.0);
    // And this is how it makes haste.
    socket2::SockRef::from(&slow).set_recv_buffer_size(1 << 20).unwrap();
    let end = format!("-{count}\nevent: synced\n");
    within("the rest", async {
        while !String::from_utf8_lossy(&taken[taken.len().saturating_sub(8 << 10)..]).contains(&end) {
            let n = slow.read(&mut buffer).await.unwrap();
            assert!(n > 0, "it was cut");
            taken.extend_from_slice(&buffer[..n]);
        }
    })
    .await;
    assert_eq!(hub.metric("connections_cut_total", "").await, 0.0);
    drop(slow);
    hub.stop().await;
}

/// Panics unless it is what somebody gets for whom there is no room; returns when to come back.
#[track_caller]
fn no_room(answer: Answer, setting: &str) -> u32 {
    assert_eq!((answer.status, &*answer.code()), (503, "overloaded"), "{}", answer.text());
    assert!(answer.text().contains(setting), "{}", answer.text());
    answer.header("retry-after").unwrap().parse().unwrap()
}

/// Two clients, `a` and `b`, who show their names.
fn with_clients(place: &Place) -> Config {
    let client = |name: &str| json!({"name": name, "scopes": ["read", "publish"], "bearer": {"token": name}});
    let mut config = place.config();
    config.clients = ["a", "b"].map(|name| serde_json::from_value(client(name)).unwrap()).into();
    config
}

async fn get_as(hub: &Api, who: &str, path: &str) -> Answer {
    hub.send(hub.request(Method::GET, path).bearer_auth(who)).await.unwrap()
}

async fn open_as(hub: &Api, who: &str) -> reqwest::Response {
    let opening = hub.request(Method::GET, "/v1/events").bearer_auth(who).send();
    within("the stream opens", opening).await.unwrap().error_for_status().unwrap()
}

async fn streams_have_a_budget_and_each_client_a_share_of_it(place: &Place) {
    let mut config = with_clients(place);
    (config.limits.max_streams, config.limits.client_share) = (3, 70);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let (first, _second) = (open_as(&hub, "a").await, open_as(&hub, "a").await);
    let mut waits = BTreeSet::new();
    for _ in 0..40 {
        waits.insert(no_room(get_as(&hub, "a", "/v1/events").await, "limits.client_share"));
    }
    assert!(waits.iter().all(|wait| (1..=10).contains(wait)) && waits.len() > 3, "{waits:?}");
    let _third = open_as(&hub, "b").await;
    no_room(get_as(&hub, "b", "/v1/events").await, "limits.max_streams");
    assert_eq!(hub.metric("admissions_refused_total", "client_streams").await, 40.0);
    assert_eq!(hub.metric("admissions_refused_total", "\"streams").await, 1.0);
    // Streams take nothing from those who ask.
    get_as(&hub, "b", "/v1/revocations").await.expect(200);
    drop(first);
    until("the place is free", async || (hub.metric("streams", "").await == 2.0).then_some(())).await;
    open_as(&hub, "b").await;
    hub.stop().await;
}

/// Somebody loads everything and stands still. Nobody else can load everything meanwhile, and live streams do not notice.
async fn first_loads_cannot_starve_live_streams(place: &Place) {
    let mut config = place.config();
    (config.limits.max_first_loads, config.limits.small_load) = (1, 100);
    config.limits.stall_timeout = Duration::from_secs(3600);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    fill(&hub, "x", BATCH).await;
    let near = hub.snapshot().await.cursor;
    until("that one is sent", async || (hub.metric("first_loads", "").await == 0.0).then_some(())).await;
    let far = revocation_hub::revocation::Cursor { seq: 1, ..near.clone() };
    let dead = stalled(&hub, "/v1/revocations").await;
    until("it is being sent", async || (hub.metric("first_loads", "").await == 1.0).then_some(())).await;

    let everything = [
        "/v1/revocations",
        "/v1/events?since=earliest",
        &format!("/v1/revocations?since={far}"),
        &format!("/v1/events?since={far}"),
    ]
    .map(str::to_owned);
    for path in &everything {
        no_room(hub.get(path).await, "limits.max_first_loads");
    }
    for path in ["/internal/data/v1/revokedjwt", "/apim43/internal/data/v1/revokedjwt", "/throttle/data/v1/revokedjwt"]
    {
        let mut raw = Raw::connect(&hub).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n")).await;
        assert_eq!(raw.rest().await, b"", "{path} takes any answer for success");
    }
    let mut streams = vec![hub.stream(Start::Now).await, hub.stream(Start::After(near.clone())).await];
    hub.revoke(&token("now")).await;
    for stream in &mut streams {
        stream.until("it arrives", |seen, _| matches!(seen, Seen::Revoked(v) if v["jti"] == "now").then_some(())).await;
    }
    assert_eq!(hub.since(&near).await.unwrap().revoked.len(), 1, "what is small is not counted");
    drop(dead);
    until("its place is free", async || (hub.metric("first_loads", "").await == 0.0).then_some(())).await;
    assert_eq!(hub.snapshot().await.map.len() as u64, BATCH + 1);
    hub.stop().await;
}

/// A request that is on its way in and does not end.
async fn unfinished(hub: &Api, who: &str, length: usize) -> Raw {
    let mut raw = Raw::connect(hub).await;
    let head = "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json";
    raw.send(format!("{head}\r\nAuthorization: Bearer {who}\r\nContent-Length: {length}\r\n\r\n")).await;
    raw
}

async fn requests_and_large_bodies_have_budgets(place: &Place) {
    let mut config = with_clients(place);
    (config.limits.max_requests, config.limits.max_large_bodies, config.limits.client_share) = (4, 1, 50);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let length = 100_000;
    let mut large = unfinished(&hub, "b", length).await;
    let another = async || {
        let mut raw = unfinished(&hub, "b", length).await;
        let mut answer = raw.answer().await.expect("an answer");
        (answer.status, std::mem::take(&mut answer.body))
    };
    until("no other large one is let in", async || {
        let (status, body) = another().await;
        (status == 503 && String::from_utf8_lossy(&body).contains("limits.max_large_bodies")).then_some(())
    })
    .await;
    // Two of `a` are waiting, which is its share.
    let mut small = [unfinished(&hub, "a", 2).await, unfinished(&hub, "a", 2).await];
    until("its share is taken", async || {
        let answer = get_as(&hub, "a", "/v1/check?jti=x").await;
        (answer.status == 503 && no_room(answer, "limits.client_share") > 0).then_some(())
    })
    .await;
    get_as(&hub, "b", "/v1/check?jti=x").await.expect(200);
    let _fourth = unfinished(&hub, "b", 2).await;
    until("there is no room for anybody", async || {
        let answer = get_as(&hub, "b", "/v1/check?jti=x").await;
        (answer.status == 503).then(|| assert!(no_room(answer, "limits.max_requests") > 0))
    })
    .await;
    assert!(hub.is_ready().await, "whoever looks after it gets in");
    let wso2 = "GET /internal/data/v1/revokedjwt HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer b\r\n\r\n";
    let mut raw = Raw::connect(&hub).await;
    raw.send(wso2).await;
    assert_eq!(raw.rest().await, b"");
    for raw in &mut small {
        raw.send("[]").await;
        assert_eq!(raw.answer().await.unwrap().status, 200);
    }
    large.send(format!("[]{}", " ".repeat(length - 2))).await;
    assert_eq!(large.answer().await.unwrap().status, 200);
    assert_eq!(exchange(&hub, wso2).await.status, 200);
    hub.stop().await;
}

/// Reads a little now and then, which is never nothing, until the connection ends. Returns what came behind the head.
async fn dribble(mut slow: TcpStream) -> Vec<u8> {
    let (mut taken, mut buffer) = (Vec::new(), [0; 2 << 10]);
    // What comes with a reset is lost, as everything behind it.
    while let Ok(n @ 1..) = within("some bytes, or the end", slow.read(&mut buffer)).await {
        taken.extend_from_slice(&buffer[..n]);
        // This is how slow it is.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let head = taken.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("a head");
    assert!(taken.starts_with(b"HTTP/1.0 200"));
    taken.split_off(head + 4)
}

/// There is one place for first loads, and somebody dribbles. It is taken from him after a while; with a stream he goes on
/// where he was, so that each time gets him farther.
async fn a_first_load_that_dribbles_does_not_keep_its_place(place: &Place) {
    let mut config = place.config();
    (config.limits.max_first_loads, config.limits.small_load) = (1, 100);
    (config.limits.first_load_timeout, config.limits.stall_timeout) =
        (Duration::from_secs(2), Duration::from_secs(3600));
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    fill(&hub, "x", BATCH).await;
    let current = hub.stream(Start::Now).await;

    let list = dribble(stalled(&hub, "/v1/revocations").await).await;
    assert!(serde_json::from_slice::<Value>(&list).is_err(), "half a list is not taken for the whole");
    until("its place is free", async || (hub.metric("first_loads", "").await == 0.0).then_some(())).await;
    assert_eq!(hub.metric("connections_cut_total", "first_load").await, 1.0);
    let events = dribble(stalled(&hub, "/v1/events?since=earliest").await).await;
    until("its place is free", async || (hub.metric("first_loads", "").await == 0.0).then_some(())).await;
    assert_eq!(hub.metric("connections_cut_total", "first_load").await, 2.0);
    assert_eq!(hub.metric("streams_ended_total", "first_load").await, 1.0);

    let truth = hub.snapshot().await;
    let (promise, mut map) = (Promise::new(Start::Earliest), Map::new());
    let came = futures_util::stream::iter([Ok(bytes::Bytes::from(events))]);
    let mut cut = Stream::new(Box::pin(came), promise);
    while let Got::Event(seen, _) = cut.next().await {
        fold(&mut map, &seen);
    }
    assert!(!map.is_empty() && map.len() < truth.map.len(), "{} revocations, and then it was cut", map.len());
    let mut stream = hub.resume(cut.into_promise(), Ask::Header).await;
    stream.follow(&mut map, truth.cursor.seq).await;
    assert_eq!(map, truth.map);
    // No connection is cut that has ended its first load, and none that never was one.
    drop(current);
    assert_eq!(hub.metric("connections_cut_total", "").await, 2.0);
    hub.stop().await;
}

async fn connections_have_a_limit_and_those_that_are_open_go_on(place: &Place) {
    let mut config = place.config();
    (config.limits.max_connections, config.limits.max_streams) = (8, 4);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let mut stream = hub.stream(Start::Now).await;
    let mut open = Vec::new();
    let another = async || {
        let mut raw = Raw::connect(&hub).await;
        raw.send("GET /livez HTTP/1.1\r\nHost: hub\r\n\r\n").await;
        raw.answer().await.map(|answer| (answer.status, raw))
    };
    while let Some((status, raw)) = another().await {
        assert_eq!(status, 200);
        open.push(raw);
        assert!(open.len() < 8, "one is the stream's");
    }
    // The client of the test keeps some open, too.
    assert!(open.len() >= 3, "{}", open.len());
    assert!(another().await.is_none(), "closed without an answer, because there is no room for one");
    open[0].send("GET /metrics HTTP/1.1\r\nHost: hub\r\n\r\n").await;
    let metrics = open[0].answer().await.unwrap();
    assert!(metrics.text().contains("\nrevocation_hub_connections 8\n"), "{}", metrics.text());
    assert!(metrics.text().contains("\nrevocation_hub_connections_refused_total 2\n"), "{}", metrics.text());
    let body = token("through what is open").to_string();
    let head = "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length:";
    open[1].send(format!("{head} {}\r\n\r\n{body}", body.len())).await;
    assert_eq!(open[1].answer().await.unwrap().status, 201);
    stream.until("it arrives", |seen, _| matches!(seen, Seen::Revoked(_)).then_some(())).await;
    drop(open.pop());
    until("there is room for one more", async || another().await).await;
    hub.stop().await;
}

both_stores!(readers_that_stand_still_are_cut_and_resume_without_a_gap);
on_sqlite!(
    readers_that_stand_still_cost_little_and_delay_nobody,
    a_slow_reader_that_moves_stays,
    streams_have_a_budget_and_each_client_a_share_of_it,
    first_loads_cannot_starve_live_streams,
    a_first_load_that_dribbles_does_not_keep_its_place,
    connections_have_a_limit_and_those_that_are_open_go_on,
    requests_and_large_bodies_have_budgets,
);
