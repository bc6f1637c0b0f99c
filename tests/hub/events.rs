//! The form of the event stream: each event's shape, where a stream starts, its headers and its end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use reqwest::Method;
use reqwest::header::HeaderMap;
use revocation_hub::cli::sse::{Event, Item, Parser};
use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;

/// A stream read frame by frame, without a checker between.
struct Frames {
    headers: HeaderMap,
    body: Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>,
    parser: Parser,
    items: VecDeque<Item>,
    raw: Vec<u8>,
}

impl Frames {
    async fn open(hub: &Api, query: &str, last_event_id: Option<&str>) -> Self {
        let request = hub.request(Method::GET, &format!("/v1/events{query}"));
        let request = last_event_id.into_iter().fold(request, |request, id| request.header("Last-Event-ID", id));
        let response = within("the stream opens", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        let body = Box::pin(response.bytes_stream());
        Self { headers, body, parser: Parser::new(), items: VecDeque::new(), raw: Vec::new() }
    }

    /// What comes next, `None` at the end.
    async fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Some(item);
            }
            let bytes = within("something on the stream", self.body.next()).await?.ok()?;
            self.raw.extend_from_slice(&bytes);
            let mut items = Vec::new();
            self.parser.push(&bytes, &mut items).unwrap();
            self.items.extend(items);
        }
    }

    /// The next event but for bookmarks.
    async fn event(&mut self) -> (String, Value, String) {
        loop {
            match self.next().await.expect("the stream goes on") {
                Item::Event(event) if event.name == "bookmark" => {}
                Item::Event(Event { name, data, id }) => {
                    assert!(!data.contains('\n'), "one line");
                    let data = serde_json::from_str(&data).unwrap();
                    return (name, data, id.expect("every frame has an id"));
                }
                Item::Retry(_) | Item::Comment => {}
            }
        }
    }

    async fn is(&mut self, name: &str, data: &Value, id: &str) {
        assert_eq!(self.event().await, (name.to_owned(), data.clone(), id.to_owned()));
    }

    async fn bookmark(&mut self) -> (Value, String) {
        loop {
            if let Item::Event(event) = self.next().await.expect("the stream goes on")
                && event.name == "bookmark"
            {
                return (serde_json::from_str(&event.data).unwrap(), event.id.unwrap());
            }
        }
    }
}

/// Where the hub stands, as text with another position.
async fn at(hub: &Api, seq: u64) -> String {
    revocation_hub::revocation::Cursor { seq, ..hub.snapshot().await.cursor }.to_string()
}

fn hello(cursor: &str, head: u64, resumed: bool) -> Value {
    json!({"cursor": cursor, "head": head, "resumed": resumed})
}

async fn every_event_has_its_shape(place: &Place) {
    let hub = place.hub().await;
    let a = hub.revoke(&token("a")).await;
    let (zero, one, two, three) = (at(&hub, 0).await, at(&hub, 1).await, at(&hub, 2).await, at(&hub, 3).await);
    let mut stream = Frames::open(&hub, "", None).await;
    let headers = |name: &str| stream.headers[name].to_str().unwrap().to_owned();
    assert_eq!(headers("content-type"), "text/event-stream");
    assert_eq!(headers("cache-control"), "no-store");
    assert_eq!(headers("x-accel-buffering"), "no");
    assert_eq!(headers("revocation-cursor"), one);
    assert!(stream.headers.get("content-encoding").is_none());
    assert_eq!(stream.next().await, Some(Item::Retry(Duration::from_secs(2))), "first of all");
    stream.is("hello", &hello(&one, 1, false), &one).await;
    stream.is("synced", &json!({"head": 1}), &one).await;
    let b = hub.revoke(&json!({"sub": "u", "iss": "i", "reason": "left", "ttl": 9})).await;
    let revoked = json!({"id": b, "kind": "subject", "iss": "i", "sub": "u", "issued_before": NOW + 1, "exp": NOW + 9,
        "revoked_at": NOW, "reason": "left", "source": "http"});
    stream.is("revoked", &revoked, &two).await;
    hub.lift(&a).await;
    let lifted = json!({"id": a, "kind": "token", "iss": "https://sts.example", "jti": "a"});
    stream.is("lifted", &lifted, &three).await;
    assert_eq!(stream.bookmark().await, (json!({"head": 3, "time": NOW}), three.clone()));
    hub.clock.advance(7);
    within("the clock is on the stream", async {
        while stream.bookmark().await != (json!({"head": 3, "time": NOW + 7}), three.clone()) {}
    })
    .await;
    // The raw form: what every parser understands.
    let text = String::from_utf8(std::mem::take(&mut stream.raw)).unwrap();
    assert!(text.starts_with(&format!("retry: 2000\nid: {one}\nevent: hello\ndata: {{\"cursor\":")), "{text}");
    assert!(!text.contains('\r'));

    let mut stream = Frames::open(&hub, "?since=earliest", None).await;
    stream.is("hello", &hello(&zero, 3, false), &zero).await;
    // What was taken back a moment ago may still come, with its end after it.
    let mut live = Map::new();
    loop {
        let (name, data, id) = stream.event().await;
        let key = data["id"].as_str().unwrap_or_default().to_owned();
        match name.as_str() {
            "revoked" => drop(live.insert(key, data)),
            "lifted" => drop(live.remove(&key)),
            _ => {
                assert_eq!((name.as_str(), data, id), ("synced", json!({"head": 3}), three.clone()));
                break;
            }
        }
    }
    assert_eq!(live.len(), 1);
    assert_eq!(live.into_values().next(), Some(revoked.clone()));

    // A client that has something is told what was taken back.
    let mut stream = Frames::open(&hub, &format!("?since={one}"), None).await;
    stream.is("hello", &hello(&one, 3, true), &one).await;
    stream.is("revoked", &revoked, &two).await;
    stream.is("lifted", &lifted, &three).await;
    stream.is("synced", &json!({"head": 3}), &three).await;
    hub.stop().await;
}

async fn the_header_wins_over_the_query(place: &Place) {
    let hub = place.hub().await;
    for jti in ["a", "b", "c"] {
        hub.revoke(&token(jti)).await;
    }
    let (zero, one, two, three) = (at(&hub, 0).await, at(&hub, 1).await, at(&hub, 2).await, at(&hub, 3).await);
    for (query, header, start, resumed) in [
        (String::new(), Some(two.as_str()), &two, true),
        (format!("?since={one}"), None, &one, true),
        (format!("?since={one}"), Some(two.as_str()), &two, true),
        ("?since=earliest".into(), Some(two.as_str()), &two, true),
        // A browser sends none at first; an empty one is none.
        (format!("?since={one}"), Some(""), &one, true),
        (String::new(), Some(""), &three, false),
        (format!("?since={one}"), Some("earliest"), &zero, false),
        (format!("?since={zero}"), None, &zero, true),
        (String::new(), Some(three.as_str()), &three, true),
    ] {
        let mut stream = Frames::open(&hub, &query, header).await;
        stream.is("hello", &hello(start, 3, resumed), start).await;
        let first = start.rsplit('-').next().unwrap().parse::<u64>().unwrap();
        for seq in first + 1..=3 {
            let (name, _, id) = stream.event().await;
            assert_eq!((name.as_str(), id), ("revoked", at(&hub, seq).await));
        }
        stream.is("synced", &json!({"head": 3}), &three).await;
    }
    hub.stop().await;
}

async fn a_cursor_of_another_log_gets_a_reset_and_garbage_an_error(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token("a")).await;
    let ahead = at(&hub, 7).await;
    for (cursor, reason) in [("aaaaaaaa-1", "epoch"), ("aaaaaaaa-0", "epoch"), (ahead.as_str(), "ahead")] {
        let head = hub.snapshot().await.cursor;
        let here = head.to_string();
        let mut stream = Frames::open(&hub, "", Some(cursor)).await;
        stream.is("hello", &hello(&here, head.seq, false), &here).await;
        stream.is("reset", &json!({"reason": reason, "snapshot": "/v1/revocations"}), &here).await;
        if reason == "ahead" {
            // Rows were lost, so the log gets another epoch.
            let (name, data, _) = stream.event().await;
            assert_eq!((name.as_str(), &data["reason"]), ("reset", &json!("epoch")));
        }
        // It goes on from there, so that nothing is missed while the list is loaded.
        let id = hub.revoke(&token(head.seq)).await;
        let (name, data, _) = stream.event().await;
        assert_eq!((name.as_str(), &data["id"]), ("revoked", &json!(id)));
    }
    for garbage in ["x", "1", "aaaaaaaa", "aaaaaaaa-", "aaaaaaaa-01", "aaaaaaaa--1", "AAAAAAAA-1", "\u{e4}"] {
        let request = hub.request(Method::GET, "/v1/events").header("last-event-id", garbage);
        assert_eq!(hub.send(request).await.unwrap().expect(400).code(), "invalid_cursor", "{garbage}");
        let request = hub.request(Method::GET, "/v1/events").query(&[("since", garbage)]);
        assert_eq!(hub.send(request).await.unwrap().expect(400).code(), "invalid_cursor", "{garbage}");
    }
    for query in ["?sinec=earliest", "?since=earliest&since=earliest"] {
        assert_eq!(hub.get(&format!("/v1/events{query}")).await.expect(400).code(), "invalid_request");
    }
    hub.stop().await;
}

async fn a_stream_ends_at_its_age_and_when_the_hub_stops(place: &Place) {
    let mut config = place.config();
    config.streams.max_age = Duration::from_millis(400);
    config.streams.retry = Duration::from_millis(1234);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let began = tokio::time::Instant::now();
    let mut stream = Frames::open(&hub, "", None).await;
    assert_eq!(stream.next().await, Some(Item::Retry(Duration::from_millis(1234))));
    while stream.next().await.is_some() {}
    assert!(began.elapsed() >= Duration::from_millis(320), "80 %");
    until("it is counted", async || {
        let ended = hub.metric("streams_ended_total", "reason=\"age\"").await;
        (ended == 1.0 && hub.metric("streams", "").await == 0.0).then_some(())
    })
    .await;
    hub.stop().await;

    let hub = place.hub().await;
    let mut stream = Frames::open(&hub, "", None).await;
    tokio::join!(hub.stop(), async { while stream.next().await.is_some() {} });
}

async fn text_of_every_kind_goes_through_a_frame_unharmed(place: &Place) {
    let hub = place.hub().await;
    let mut stream = Frames::open(&hub, "", None).await;
    for _ in ["hello", "synced"] {
        stream.event().await;
    }
    for text in
        ["data: x", "id: 1", ": comment", "\u{2028}\u{2029}", "\u{feff}", "ünïcödé \u{1f511}", "\"\\/", "a b", "\\n\\r"]
    {
        let id = hub.revoke(&json!({"jti": text, "iss": text, "reason": text})).await;
        let (name, data, _) = stream.event().await;
        assert_eq!((name.as_str(), &data["id"]), ("revoked", &json!(id)));
        assert_eq!((&data["jti"], &data["iss"], &data["reason"]), (&json!(text), &json!(text), &json!(text)));
    }
    hub.stop().await;
}

both_stores!(every_event_has_its_shape, a_cursor_of_another_log_gets_a_reset_and_garbage_an_error);
on_sqlite!(
    the_header_wins_over_the_query,
    a_stream_ends_at_its_age_and_when_the_hub_stops,
    text_of_every_kind_goes_through_a_frame_unharmed,
);
