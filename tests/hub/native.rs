//! Writing by the native interface: what goes in, what is answered, what stands there afterwards.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use revocation_hub::config::Config;
use revocation_hub::revocation::{Id, Kind};
use serde_json::{Value, json};

use crate::harness::*;

const DAY: i64 = 24 * 3600;
/// `default_max_token_lifetime`.
const LONGEST: i64 = 30 * DAY;
const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// What is sent, and what stands in the list but for `id`, `revoked_at` and `source`.
fn targets() -> Vec<(Value, Value)> {
    let (before, exp) = (NOW + 1, NOW + LONGEST);
    vec![
        (json!({"jti": "j"}), json!({"kind": "token", "jti": "j", "exp": exp})),
        (json!({"jti": "j", "iss": "i"}), json!({"kind": "token", "iss": "i", "jti": "j", "exp": exp})),
        (json!({"sha256": SHA}), json!({"kind": "token_hash", "sha256": SHA, "exp": exp})),
        (json!({"sid": "s"}), json!({"kind": "session", "sid": "s", "exp": exp})),
        (json!({"sid": "s", "iss": "i"}), json!({"kind": "session", "iss": "i", "sid": "s", "exp": exp})),
        (json!({"sub": "u"}), json!({"kind": "subject", "sub": "u", "issued_before": before, "exp": exp + 1})),
        (
            json!({"sub": "u", "iss": "i", "issued_before": NOW - 9, "reason": "gone"}),
            json!({"kind": "subject", "iss": "i", "sub": "u", "issued_before": NOW - 9, "exp": exp, "reason": "gone"}),
        ),
        (
            json!({"client_id": "c"}),
            json!({"kind": "client", "client_id": "c", "issued_before": before, "exp": exp + 1}),
        ),
        (json!({"kid": "k", "iss": "i", "ttl": 7}), json!({"kind": "key", "iss": "i", "kid": "k", "exp": NOW + 7})),
        (json!({"iss": "i"}), json!({"kind": "issuer", "iss": "i", "issued_before": before, "exp": exp + 1})),
        (
            json!({"iss": "other", "issued_before": NOW + 100, "exp": NOW + 50}),
            json!({"kind": "issuer", "iss": "other", "issued_before": NOW + 100, "exp": NOW + 50}),
        ),
    ]
}

async fn every_kind_of_target_goes_in_comes_out_and_is_lifted(place: &Place) {
    let hub = place.hub().await;
    let mut lifted = Vec::new();
    for (seq, (sent, mut wanted)) in (1..).zip(targets()) {
        let answer = hub.post(&sent).await.expect(201);
        let json = answer.json();
        let id = json["id"].as_str().unwrap().to_owned();
        let at = cursor(&json["cursor"]);
        assert_eq!((at.seq, &json["status"]), (seq, &json!("revoked")), "{sent}");
        assert_eq!(json.as_object().unwrap().len(), 3);
        assert_eq!(answer.header("revocation-cursor"), Some(&*at.to_string()));
        let location = format!("/v1/revocations/{id}");
        assert_eq!(answer.header("location"), Some(&*location));

        wanted["id"] = json!(id);
        wanted["revoked_at"] = json!(NOW);
        wanted["source"] = json!("http");
        let one = hub.get(&location).await.expect(200);
        assert_eq!(one.json(), wanted, "{sent}");
        assert_eq!(one.header("revocation-cursor"), Some(&*at.to_string()));
        let snapshot = hub.snapshot().await;
        assert_eq!((&snapshot.map[&id], &snapshot.cursor), (&wanted, &at));

        let again = hub.post(&sent).await.expect(200);
        assert_eq!(again.json(), json!({"id": id, "cursor": at.to_string(), "status": "unchanged"}));
        assert_eq!(again.header("location"), None);
        lifted.push((id, location));
    }
    for (seq, (id, location)) in (targets().len() as u64 + 1..).zip(&lifted) {
        let answer = hub.delete(location).await.expect(200);
        let json = answer.json();
        assert_eq!((cursor(&json["cursor"]).seq, &json["id"], &json["status"]), (seq, &json!(id), &json!("lifted")));
        assert_eq!(answer.header("revocation-cursor"), json["cursor"].as_str());
        assert_eq!(hub.get(location).await.expect(404).code(), "not_found");
        assert_eq!(hub.delete(location).await.expect(404).code(), "not_found");
    }
    assert!(hub.snapshot().await.map.is_empty());
    // Lifted and revoked again: it is new.
    assert_eq!(hub.post(&targets()[0].0).await.expect(201).json()["id"], lifted[0].0);
    hub.stop().await;
}

async fn many_are_answered_with_counts(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&json!({"jti": "known", "ttl": 60})).await;
    let items = [
        json!({"jti": "known", "ttl": 60}),
        json!({"jti": "new", "ttl": 60}),
        json!({"jti": "new", "ttl": 60}),
        json!({"jti": "over", "exp": NOW - 60}),
        json!({"sub": "u"}),
    ];
    let answer = hub.post(&json!(items)).await.expect(200);
    let at = answer.header("revocation-cursor").unwrap().to_owned();
    assert_eq!(answer.json(), json!({"revoked": 2, "unchanged": 2, "expired": 1, "cursor": at}));
    assert_eq!(cursor(&json!(at)).seq, 3);
    let answer = hub.post_lines(&items).await.expect(200);
    assert_eq!(answer.json(), json!({"revoked": 0, "unchanged": 4, "expired": 1, "cursor": at}));
    for media_type in ["application/ndjson", "application/jsonl", "Application/X-NDJSON; charset=utf-8"] {
        let body = "\n{\"jti\":\"known\",\"ttl\":60}\r\n\n{\"jti\":\"new\",\"ttl\":60}";
        let request = hub.request(Method::POST, "/v1/revocations").header(CONTENT_TYPE, media_type).body(body);
        let answer = hub.send(request).await.unwrap().expect(200);
        assert_eq!(answer.json(), json!({"revoked": 0, "unchanged": 2, "expired": 0, "cursor": at}));
    }
    for nothing in [hub.post(&json!([])).await, hub.post_lines(&[]).await] {
        assert_eq!(nothing.expect(200).json(), json!({"revoked": 0, "unchanged": 0, "expired": 0, "cursor": at}));
    }
    hub.stop().await;
}

async fn one_bad_item_refuses_all_and_nothing_is_stored(place: &Place) {
    let hub = place.hub().await;
    let items = [json!({"jti": "a"}), json!({"jti": "b"}), json!({"jti": ""}), json!({"jti": "d"})];
    for answer in [hub.post(&json!(items)).await, hub.post_lines(&items).await] {
        let answer = answer.expect(422);
        assert_eq!((answer.code().as_str(), &answer.json()["index"]), ("invalid_text", &json!(2)));
    }
    let snapshot = hub.snapshot().await;
    assert_eq!((snapshot.map.len(), snapshot.cursor.seq, place.rows().await), (0, 0, 0));
    hub.stop().await;
}

async fn the_end_is_the_senders_else_the_tokens_else_the_longest_life(place: &Place) {
    let hub = place.hub().await;
    let exp = async |sent: Value| {
        let id = hub.revoke(&sent).await;
        hub.get(&format!("/v1/revocations/{id}")).await.expect(200).json()["exp"].as_i64().unwrap()
    };
    assert_eq!(exp(json!({"jti": "1", "exp": NOW + 5})).await, NOW + 5);
    assert_eq!(exp(json!({"jti": "2", "ttl": 5})).await, NOW + 5);
    assert_eq!(exp(json!({"jti": "3"})).await, NOW + LONGEST);
    // What a rule can hit may be issued until `issued_before`.
    assert_eq!(exp(json!({"sub": "1", "issued_before": NOW + DAY})).await, NOW + DAY + LONGEST);
    assert_eq!(exp(json!({"sub": "2", "issued_before": 5})).await, NOW + LONGEST);
    // The token's own word, rounded up; a sender's later one wins and an earlier one does not.
    let until = |exp: Value| raw(&json!({"alg": "none"}), &json!({"jti": format!("t{exp}"), "exp": exp}));
    assert_eq!(exp(json!({"token": until(json!(NOW + 9))})).await, NOW + 9);
    assert_eq!(exp(json!({"token": until(json!(NOW as f64 + 9.5))})).await, NOW + 10);
    assert_eq!(exp(json!({"token": until(json!(NOW + 20)), "exp": NOW + 30})).await, NOW + 30);
    assert_eq!(exp(json!({"token": until(json!(NOW + 21)), "ttl": 5})).await, NOW + 21);
    // Clocks differ by `clock_skew`: what ended a minute ago can no longer hit anything.
    let answer = hub.post(&json!({"jti": "over", "exp": NOW - 60})).await.expect(200);
    assert_eq!(answer.json()["status"], "expired");
    assert_eq!(answer.json()["id"], Id::of(Kind::Token, None, "over").to_string());
    let id = &answer.json()["id"];
    assert_eq!(hub.get(&format!("/v1/revocations/{}", id.as_str().unwrap())).await.status, 404);
    assert_eq!(hub.post(&json!({"jti": "over", "exp": NOW - 59})).await.status, 201);
    hub.stop().await;
}

/// A JWT in compact form whose signature is none.
fn raw(header: &Value, payload: &Value) -> String {
    use base64::Engine;
    let encode = |json: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2ln", encode(header), encode(payload))
}

async fn the_same_again_can_only_make_it_wider(place: &Place) {
    let hub = place.hub().await;
    let id = hub.revoke(&json!({"sub": "u", "issued_before": NOW, "exp": NOW + 100, "reason": "first"})).await;
    let path = format!("/v1/revocations/{id}");
    hub.clock.advance(1);
    let answer = hub.post(&json!({"sub": "u", "issued_before": NOW - 1, "exp": NOW + 99})).await.expect(200);
    assert_eq!((&answer.json()["status"], cursor(&answer.json()["cursor"]).seq), (&json!("unchanged"), 1));
    let answer = hub.post(&json!({"sub": "u", "issued_before": NOW - 1, "exp": NOW + 200})).await.expect(201);
    assert_eq!((&answer.json()["id"], cursor(&answer.json()["cursor"]).seq), (&json!(id), 2));
    let one = hub.get(&path).await.json();
    assert_eq!((&one["exp"], &one["issued_before"]), (&json!(NOW + 200), &json!(NOW)));
    assert_eq!((&one["reason"], &one["revoked_at"]), (&json!("first"), &json!(NOW + 1)));
    hub.post(&json!({"sub": "u", "issued_before": NOW + 5, "exp": NOW + 100, "reason": "second"})).await.expect(201);
    let one = hub.get(&path).await.json();
    assert_eq!((&one["exp"], &one["issued_before"]), (&json!(NOW + 200), &json!(NOW + 5)));
    assert_eq!(one["reason"], "second");
    assert_eq!((hub.snapshot().await.map.len(), place.rows().await), (1, 1));
    hub.stop().await;
}

async fn a_clients_own_longest_life_counts(place: &Place) {
    let config = Config { default_max_token_lifetime: std::time::Duration::from_secs(120), ..place.config() };
    let hub = TestHub::start(config, revocation_hub::clock::Clock::manual(NOW)).await;
    let id = hub.revoke(&json!({"jti": "a"})).await;
    assert_eq!(hub.get(&format!("/v1/revocations/{id}")).await.json()["exp"], NOW + 120);
    hub.stop().await;
}

async fn wrong_items_are_refused_each_with_its_code(place: &Place) {
    let hub = place.hub().await;
    let long = "x".repeat(1025);
    let century = 100 * 366 * DAY;
    let cases = [
        ("invalid_target", json!({})),
        ("invalid_target", json!({"reason": "r", "ttl": 5})),
        ("invalid_target", json!({"jti": "a", "sid": "b"})),
        ("invalid_target", json!({"token": "opaque", "jti": "a"})),
        ("invalid_target", json!({"jti": "a", "issued_before": NOW})),
        ("invalid_target", json!({"sha256": SHA, "issued_before": NOW})),
        ("invalid_target", json!({"sid": "a", "issued_before": NOW})),
        ("invalid_target", json!({"kid": "a", "issued_before": NOW})),
        ("invalid_target", json!({"token": raw(&json!({"alg": "x"}), &json!({"jti": "a", "iss": "i"})), "iss": "j"})),
        ("invalid_text", json!({"jti": ""})),
        ("invalid_text", json!({"jti": long})),
        ("invalid_text", json!({"jti": "a", "iss": ""})),
        ("invalid_text", json!({"iss": long})),
        ("invalid_text", json!({"jti": "a", "reason": ""})),
        ("invalid_text", json!({"jti": "a", "reason": "x".repeat(513)})),
        ("invalid_text", json!({"jti": "a\n"})),
        ("invalid_text", json!({"sha256": "abc"})),
        ("invalid_text", json!({"sha256": "g".repeat(64)})),
        ("invalid_time", json!({"jti": "a", "exp": -1})),
        ("invalid_time", json!({"jti": "a", "ttl": 0})),
        ("invalid_time", json!({"jti": "a", "ttl": -5})),
        ("invalid_time", json!({"jti": "a", "ttl": 5, "exp": NOW})),
        ("invalid_time", json!({"sub": "a", "issued_before": -1})),
        ("invalid_time", json!({"token": raw(&json!({"alg": "x"}), &json!({"jti": "a", "exp": -5}))})),
        ("looks_like_milliseconds", json!({"jti": "a", "exp": NOW * 1000})),
        ("looks_like_milliseconds", json!({"jti": "a", "exp": NOW + century + 1})),
        ("looks_like_milliseconds", json!({"jti": "a", "ttl": century + 1})),
        ("looks_like_milliseconds", json!({"sub": "a", "issued_before": NOW * 1000})),
        (
            "looks_like_milliseconds",
            json!({"token": raw(&json!({"alg": "x"}), &json!({"jti": "a", "exp": NOW * 1000}))}),
        ),
        ("malformed_token", json!({"token": ""})),
        ("malformed_token", json!({"token": "with blank"})),
        ("malformed_token", json!({"token": "eyJhbGciOiJSUzI1NiJ9.e30=.c2ln"})),
        ("invalid_item", json!({"jti": "a", "expires": 5})),
        ("invalid_item", json!({"jti": 5})),
        ("invalid_item", json!([["a"]])[0].clone()),
    ];
    for (code, sent) in cases {
        // A single object has the index 0 too, so that clients need only one way to read it.
        let answer = hub.post(&json!([{"jti": "good"}, sent])).await.expect(422);
        assert_eq!((answer.code().as_str(), &answer.json()["index"]), (code, &json!(1)), "{sent}");
        if sent.is_object() {
            let answer = hub.post(&sent).await.expect(422);
            assert_eq!((answer.code().as_str(), &answer.json()["index"]), (code, &json!(0)), "{sent}");
        }
    }
    for (sent, edge) in [
        (json!({"jti": "x".repeat(1024)}), 201),
        (json!({"jti": "a", "reason": "x".repeat(512)}), 201),
        (json!({"jti": "b", "exp": NOW + century}), 201),
        (json!({"jti": "c", "ttl": century}), 201),
        (json!({"jti": "d", "iss": null, "exp": null, "sid": null}), 201),
        (json!({"sha256": SHA.to_uppercase(), "iss": "any"}), 201),
        (json!({"sha256": SHA}), 200),
    ] {
        hub.post(&sent).await.expect(edge);
    }
    hub.stop().await;
}

async fn what_is_no_list_of_items_is_refused(place: &Place) {
    let mut config = place.config();
    config.limits.max_items = 2;
    let hub = TestHub::start(config, revocation_hub::clock::Clock::manual(NOW)).await;
    let (json, lines, form) = ("application/json", "application/x-ndjson", "application/x-www-form-urlencoded");
    let three = r#"{"jti":"a"}"#.to_owned() + "\n{\"jti\":\"b\"}\n{\"jti\":\"c\"}\n";
    let array = r#"[{"jti":"a"},{"jti":"b"},{"jti":"c"}]"#;
    for (media_type, body, status, code) in [
        (json, "", 400, "invalid_json"),
        (json, "  ", 400, "invalid_json"),
        (json, "{", 400, "invalid_json"),
        (json, "null", 400, "invalid_json"),
        (json, "7", 400, "invalid_json"),
        (json, "[{\"jti\":\"a\"},]", 400, "invalid_json"),
        (json, "{\"jti\":\"a\"} x", 400, "invalid_json"),
        (json, three.as_str(), 400, "invalid_json"),
        (json, array, 413, "too_many_items"),
        (lines, "{\"jti\":\"a\"}{\"jti\":\"b\"}", 400, "invalid_json"),
        (lines, "[{\"jti\":\"a\"}]", 422, "invalid_item"),
        (lines, "null", 422, "invalid_item"),
        (lines, three.as_str(), 413, "too_many_items"),
        (form, "jti=a", 415, "unsupported_media_type"),
        ("text/plain", r#"{"jti":"a"}"#, 415, "unsupported_media_type"),
        ("", r#"{"jti":"a"}"#, 415, "unsupported_media_type"),
    ] {
        let mut request = hub.request(Method::POST, "/v1/revocations").body(body.to_owned());
        if !media_type.is_empty() {
            request = request.header(CONTENT_TYPE, media_type);
        }
        let answer = hub.send(request).await.unwrap().expect(status);
        assert_eq!(answer.code(), code, "{media_type} {body}");
        let problem = answer.json();
        assert_eq!(problem["status"], status);
        assert_eq!(problem["type"], format!("urn:revocation-hub:problem:{code}"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    assert_eq!(hub.snapshot().await.cursor.seq, 0);
    hub.stop().await;
}

async fn ids_that_are_none_are_not_found(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&json!({"jti": "a"})).await;
    let upper = Id::of(Kind::Token, None, "a").to_string().to_uppercase();
    for id in ["x", "0", &"0".repeat(32), &"0".repeat(31), &upper, "%00", "..%2f"] {
        let path = format!("/v1/revocations/{id}");
        assert_eq!(hub.get(&path).await.expect(404).code(), "not_found", "{id}");
        assert_eq!(hub.delete(&path).await.expect(404).code(), "not_found", "{id}");
    }
    assert_eq!(hub.get("/v1/revocations/%ff").await.expect(400).code(), "invalid_request");
    assert_eq!(hub.delete("/v1/revocations/%ff").await.expect(400).code(), "invalid_request");
    assert_eq!(hub.snapshot().await.map.len(), 1);
    hub.stop().await;
}

both_stores!(
    every_kind_of_target_goes_in_comes_out_and_is_lifted,
    many_are_answered_with_counts,
    one_bad_item_refuses_all_and_nothing_is_stored,
    the_end_is_the_senders_else_the_tokens_else_the_longest_life,
    the_same_again_can_only_make_it_wider,
);
on_sqlite!(
    a_clients_own_longest_life_counts,
    wrong_items_are_refused_each_with_its_code,
    what_is_no_list_of_items_is_refused,
    ids_that_are_none_are_not_found,
);
