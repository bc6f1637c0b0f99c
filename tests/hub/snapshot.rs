//! The list: its forms, its codings, what changed since, and when it is the same.

use std::io::Read;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::*;

const LIST: &str = "/v1/revocations";

async fn ask(hub: &Api, path: &str, headers: &[(&str, &str)]) -> Answer {
    let request = hub.request(Method::GET, path);
    hub.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await.unwrap()
}

/// One member and nothing behind it: some clients stop after the first.
fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    decoder.read_to_end(&mut plain).unwrap();
    assert!(decoder.into_inner().is_empty(), "more than one member");
    plain
}

fn plain(answer: &Answer) -> Vec<u8> {
    match answer.header("content-encoding") {
        None => answer.body.to_vec(),
        Some("gzip") => gunzip(&answer.body),
        Some("zstd") => zstd::decode_all(&answer.body[..]).unwrap(),
        other => panic!("{other:?}"),
    }
}

async fn both_media_types_say_the_same(place: &Place) {
    let hub = place.hub().await;
    let empty = ask(&hub, LIST, &[]).await.expect(200);
    assert_eq!(empty.json()["revocations"], json!([]));
    assert_eq!(empty.json().as_object().unwrap().len(), 2);
    assert!(ask(&hub, LIST, &[("accept", "application/x-ndjson")]).await.expect(200).body.is_empty());
    let mut lines = Vec::new();
    for sent in [json!({"jti": "a"}), json!({"sub": "u", "iss": "i"}), json!({"token": "opaque"})] {
        let id = hub.revoke(&sent).await;
        lines.push(hub.get(&format!("{LIST}/{id}")).await.text().to_owned());
    }
    let json = ask(&hub, LIST, &[]).await.expect(200);
    let at = hub.snapshot().await.cursor.to_string();
    assert_eq!(json.text(), format!("{{\"cursor\":\"{at}\",\"revocations\":[{}]}}\n", lines.join(",")));
    for (accept, ndjson) in [
        ("application/x-ndjson", true),
        ("application/ndjson", true),
        ("application/jsonl;q=0.4", true),
        ("application/json, application/x-ndjson", true),
        ("application/json, application/x-ndjson;q=0.9", false),
        ("application/x-ndjson;q=0", false),
        ("*/*", false),
        ("text/html", false),
        ("application/json", false),
    ] {
        let answer = ask(&hub, LIST, &[("accept", accept)]).await.expect(200);
        let (media_type, text) = if ndjson {
            ("application/x-ndjson", lines.join("\n") + "\n")
        } else {
            ("application/json", json.text().into())
        };
        assert_eq!((answer.header("content-type"), answer.text()), (Some(media_type), &*text), "{accept}");
        assert_eq!(answer.header("revocation-cursor"), Some(&*at));
        assert_eq!(answer.header("vary"), Some("accept, accept-encoding"));
        assert_eq!(answer.header("cache-control"), Some("no-cache"));
    }
    hub.stop().await;
}

async fn since_says_what_changed_and_what_was_taken_back(place: &Place) {
    let hub = place.hub().await;
    let (a, b) = (hub.revoke(&token("a")).await, hub.revoke(&token("b")).await);
    let at = hub.snapshot().await.cursor;
    let nothing = hub.since(&at).await.unwrap();
    assert_eq!((&nothing.cursor, nothing.revoked.len(), nothing.lifted.len()), (&at, 0, 0));
    let c = hub.revoke(&token("c")).await;
    hub.lift(&a).await;
    let changes = hub.since(&at).await.unwrap();
    assert_eq!(changes.cursor.seq, 4);
    assert_eq!((changes.revoked.keys().collect::<Vec<_>>(), &changes.lifted), (vec![&c], &vec![a.clone()]));
    let path = format!("{LIST}?since={at}");
    let json = ask(&hub, &path, &[]).await.expect(200).json();
    assert_eq!(json["lifted"], json!([{"id": a, "kind": "token", "iss": "https://sts.example", "jti": "a"}]));
    let lines = ask(&hub, &path, &[("accept", "application/x-ndjson")]).await.expect(200);
    let lines: Vec<Value> = lines.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut tombstone = json["lifted"][0].clone();
    tombstone["lifted"] = json!(true);
    assert_eq!(lines, [json["revocations"][0].clone(), tombstone]);
    // Revoked anew: it is no longer among the lifted.
    hub.revoke(&token("a")).await;
    let changes = hub.since(&at).await.unwrap();
    assert_eq!((changes.revoked.len(), changes.lifted.len()), (2, 0));
    // From the very beginning of the log.
    let zero = revocation_hub::revocation::Cursor { seq: 0, ..at };
    hub.lift(&b).await;
    let changes = hub.since(&zero).await.unwrap();
    assert_eq!((changes.revoked.len(), changes.lifted), (2, vec![b]));
    hub.stop().await;
}

async fn a_cursor_of_another_log_or_of_none(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token("a")).await;
    let at = hub.snapshot().await.cursor;
    for reset in [format!("{}-9", at.epoch), "aaaaaaaa-0".into(), "aaaaaaaa-1".into()] {
        assert_eq!(hub.get(&format!("{LIST}?since={reset}")).await.expect(410).code(), "cursor_reset", "{reset}");
    }
    for garbage in ["", "1", "x", "earliest", &format!("{}-01", at.epoch), &format!("{at}%0A"), "%ff-1", "%00"] {
        assert_eq!(hub.get(&format!("{LIST}?since={garbage}")).await.expect(400).code(), "invalid_cursor", "{garbage}");
    }
    for query in ["sinse=x", &format!("since={at}&since={at}"), &format!("since={at}&x=1")] {
        assert_eq!(hub.get(&format!("{LIST}?{query}")).await.expect(400).code(), "invalid_request", "{query}");
    }
    hub.stop().await;
}

async fn the_tag_changes_with_every_write_lift_and_expiry(place: &Place) {
    let hub = place.hub().await;
    let mut seen = Vec::new();
    let mut look = async || {
        let answer = ask(&hub, LIST, &[]).await.expect(200);
        let tag = answer.header("etag").unwrap().to_owned();
        assert!(!seen.contains(&tag), "{tag}");
        for header in [tag.as_str(), &format!("\"x\", {tag}"), "*"] {
            let same = ask(&hub, LIST, &[("if-none-match", header)]).await.expect(304);
            assert!(same.body.is_empty());
            assert_eq!(same.header("etag"), Some(&*tag));
            assert_eq!(same.header("revocation-cursor"), answer.header("revocation-cursor"));
            assert_eq!(same.header("vary"), answer.header("vary"));
            assert_eq!(same.header("cache-control"), answer.header("cache-control"));
        }
        for old in &seen {
            ask(&hub, LIST, &[("if-none-match", old)]).await.expect(200);
        }
        // Another form is another list.
        ask(&hub, LIST, &[("if-none-match", &tag), ("accept", "application/x-ndjson")]).await.expect(200);
        ask(&hub, &format!("{LIST}?since={}", answer.header("revocation-cursor").unwrap()), &[("if-none-match", &tag)])
            .await
            .expect(200);
        // Another coding is not.
        ask(&hub, LIST, &[("if-none-match", &tag), ("accept-encoding", "zstd")]).await.expect(304);
        seen.push(tag);
    };
    look().await;
    let id = hub.revoke(&token("a")).await;
    look().await;
    hub.revoke(&token_until("b", NOW + 5)).await;
    look().await;
    hub.revoke(&token_until("b", NOW + 6)).await;
    look().await;
    hub.lift(&id).await;
    look().await;
    hub.clock.advance(6 + 60);
    until("it is over", async || hub.snapshot().await.map.is_empty().then_some(())).await;
    look().await;
    hub.stop().await;
}

async fn codings_are_chosen_by_weight(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&token("a")).await;
    let text = ask(&hub, LIST, &[]).await.body;
    for (accept, coding) in [
        ("", None),
        ("identity", None),
        ("gzip", Some("gzip")),
        ("GZIP", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("zstd", Some("zstd")),
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("zstd;q=0.5, gzip;q=0.8", Some("gzip")),
        ("gzip;q=0.001", Some("gzip")),
        ("gzip;q=0", None),
        ("*", Some("zstd")),
        ("*;q=0", None),
        ("zstd;q=0, *;q=0.1", Some("gzip")),
        ("identity, gzip;q=0.5", None),
        ("br, deflate", None),
        (";;,,q=", None),
    ] {
        let answer = ask(&hub, LIST, &[("accept-encoding", accept)]).await.expect(200);
        assert_eq!(answer.header("content-encoding"), coding, "{accept}");
        assert_eq!(plain(&answer), text, "{accept}");
        assert_eq!(answer.header("vary"), Some("accept, accept-encoding"));
    }
    hub.stop().await;
}

async fn head_is_get_without_a_body(place: &Place) {
    let hub = place.hub().await;
    let id = hub.revoke(&token("a")).await;
    for path in [LIST, &format!("{LIST}/{id}"), "/v1/check?jti=a", "/livez", "/metrics", "/openapi.json", "/"] {
        let get = hub.get(path).await.expect(200);
        let head = hub.send(hub.request(Method::HEAD, path)).await.unwrap().expect(200);
        assert!(head.body.is_empty());
        for name in ["content-type", "etag", "revocation-cursor", "vary", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{path} {name}");
        }
    }
    hub.stop().await;
}

/// More than three segments of the ledger, with holes in each.
async fn a_long_list_is_the_same_in_every_coding(place: &Place) {
    let hub = place.hub().await;
    let all: Vec<Value> = (0..14_000)
        .map(|i| match i % 7 {
            0 => json!({"sub": format!("s{i}"), "iss": "i", "reason": "ünï 'quoted\" \u{2028}"}),
            1 => json!({"token": format!("opaque-{i}")}),
            _ => token(i),
        })
        .collect();
    // So many at once may be answered before they are all listed; who presents the cursor sees them.
    let post = async |items: &[Value]| {
        let at = cursor(&hub.post_lines(items).await.expect(200).json()["cursor"]);
        assert_eq!(hub.since(&at).await.unwrap().cursor, at);
    };
    post(&all[..5000]).await;
    let first = hub.snapshot().await;
    let ids: Vec<String> = first.map.keys().cloned().collect();
    for id in ids.iter().step_by(101) {
        hub.lift(id).await;
    }
    post(&all[5000..]).await;
    let whole = ask(&hub, LIST, &[]).await.expect(200);
    let lines = ask(&hub, LIST, &[("accept", "application/x-ndjson")]).await.expect(200);
    let mut map = Map::new();
    for line in lines.text().lines() {
        let one: Value = serde_json::from_str(line).unwrap();
        map.insert(one["id"].as_str().unwrap().to_owned(), one);
    }
    assert_eq!(map.len(), 14_000 - ids.len().div_ceil(101));
    assert_eq!(hub.snapshot().await.map, map);
    // Twice, because the pieces are made by the first who asks and kept for the next.
    for _ in 0..2 {
        for coding in ["gzip", "zstd", "identity"] {
            let answer = ask(&hub, LIST, &[("accept-encoding", coding)]).await.expect(200);
            assert!(plain(&answer) == whole.body, "{coding}");
            let headers = [("accept-encoding", coding), ("accept", "application/x-ndjson")];
            assert!(plain(&ask(&hub, LIST, &headers).await.expect(200)) == lines.body, "{coding}");
            let since = format!("{LIST}?since={}", first.cursor);
            let changes = ask(&hub, &since, &[]).await.expect(200).body;
            assert!(plain(&ask(&hub, &since, &[("accept-encoding", coding)]).await.expect(200)) == changes, "{coding}");
        }
    }
    for (id, listed) in map.iter().step_by(17) {
        assert_eq!(hub.get(&format!("{LIST}/{id}")).await.expect(200).json(), *listed);
    }
    for id in ids.iter().step_by(101) {
        hub.get(&format!("{LIST}/{id}")).await.expect(404);
    }
    // What came after the first list, folded into it, is the whole list.
    let changes = hub.since(&first.cursor).await.unwrap();
    let mut folded = first.map;
    changes.lifted.iter().for_each(|id| drop(folded.remove(id)));
    folded.extend(changes.revoked);
    assert_eq!(folded, map);
    hub.stop().await;
}

both_stores!(since_says_what_changed_and_what_was_taken_back, a_cursor_of_another_log_or_of_none);
on_sqlite!(
    both_media_types_say_the_same,
    the_tag_changes_with_every_write_lift_and_expiry,
    codings_are_chosen_by_weight,
    head_is_get_without_a_body,
    a_long_list_is_the_same_in_every_coding,
);
