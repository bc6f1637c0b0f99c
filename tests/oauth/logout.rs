//! OpenID Connect Back-Channel Logout 1.0: `POST /backchannel-logout`.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";

fn config(place: &Place, issuer: &TestIssuer) -> Config {
    let settings = json!({"name": "op", "kind": "backchannel_logout", "audiences": ["us", "also us"]});
    Config {
        issuers: vec![issuer.config(json!({"unknown_key_interval": "50ms"}))],
        sources: vec![source(settings)],
        ..place.config()
    }
}

fn claims(issuer: &TestIssuer, jti: &str) -> Value {
    json!({
        "iss": issuer.iss, "aud": "us", "iat": NOW - 1, "exp": NOW + 120, "jti": jti, "sub": "alice", "sid": "s-1",
        "events": {EVENT: {}}
    })
}

/// A logout token as its issuer would make it.
fn token(key: &Key, claims: &Value) -> String {
    key.token_with(&json!({"alg": key.alg, "kid": key.kid, "typ": "logout+jwt"}), claims)
}

async fn post(hub: &Api, token: &str) -> Answer {
    let form = [("logout_token", token), ("unknown", "parameters are ignored")];
    hub.send(hub.request(Method::POST, "/backchannel-logout").form(&form)).await.unwrap()
}

#[track_caller]
fn is_refused(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 400, "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"], "invalid_request", "{what}");
    assert!(answer.json()["error_description"].is_string(), "{what}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
}

async fn section_2_8_a_logout_revokes_the_session_or_all_of_the_subject(place: &Place) {
    let key = Key::rsa("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let answer = post(&hub, &token(&key, &claims(&issuer, "1"))).await.expect(200);
    assert_eq!((answer.header("cache-control"), answer.body.len()), (Some("no-store"), 0));
    let only_sid = with(&claims(&issuer, "2"), json!({"sub": null, "sid": "s-2", "aud": ["x", "also us"]}));
    post(&hub, &token(&key, &only_sid)).await.expect(200);
    let only_sub = with(&claims(&issuer, "3"), json!({"sid": null, "iat": NOW as f64 - 9.5}));
    post(&hub, &token(&key, &only_sub)).await.expect(200);
    let live = hub.snapshot().await.map;
    let of = |kind: &str, name: &str| {
        let all = live.values().filter(|r| r["kind"] == kind);
        let mut all: Vec<String> = all.map(|r| r[name].as_str().unwrap().to_owned()).collect();
        all.sort();
        all
    };
    assert_eq!((of("session", "sid"), of("subject", "sub")), (vec!["s-1".into(), "s-2".into()], vec!["alice".into()]));
    assert!(live.values().all(|r| r["iss"] == issuer.iss && r["source"] == "op"));
    // From the token's own time, its second included, so that a repeat is the same rule.
    assert_eq!(live.values().find(|r| r["kind"] == "subject").unwrap()["issued_before"], NOW - 9);
    assert_eq!(hub.metric("link_messages_total", "outcome=\"committed\"").await, 3.0);
    hub.stop().await;
}

async fn where_access_tokens_name_no_session_a_logout_ends_all_of_the_subject(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let mut config = config(place, &issuer);
    config.sources[0].tokens_have_sid = Some(false);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let of = |jti: &str, sid: Value, sub: Value| {
        self::token(&key, &with(&claims(&issuer, jti), json!({"sid": sid, "sub": sub})))
    };
    post(&hub, &of("1", json!("s"), json!("alice"))).await.expect(200);
    // Without a subject there is only the session.
    post(&hub, &of("2", json!("t"), json!(null))).await.expect(200);
    let all: Vec<Value> = hub.snapshot().await.map.into_values().collect();
    assert_eq!(all.len(), 2);
    assert!(all.iter().any(|one| one["kind"] == "subject" && one["sub"] == "alice"), "{all:?}");
    assert!(all.iter().any(|one| one["kind"] == "session" && one["sid"] == "t"), "{all:?}");
    hub.stop().await;
}

async fn section_2_6_a_token_that_is_no_logout_token_is_refused(place: &Place) {
    let (key, other) = (Key::p256("k"), Key::p256("k"));
    let issuer = TestIssuer::start(&[&key]).await;
    let mut config = config(place, &issuer);
    config.limits.max_body_bytes = 2000;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let good = claims(&issuer, "1");
    let say = |members: Value| token(&key, &with(&good, members));
    let typed = |typ: &str| key.token_with(&json!({"alg": "ES256", "kid": "k", "typ": typ}), &good);
    let cases = [
        ("wrong signature", token(&other, &good)),
        ("wrong issuer", say(json!({"iss": "https://other.example"}))),
        ("no issuer", say(json!({"iss": null}))),
        ("wrong audience", say(json!({"aud": "them"}))),
        ("no audience", say(json!({"aud": null}))),
        ("audiences that are not us", say(json!({"aud": ["them", 7]}))),
        ("expired", say(json!({"exp": NOW - 60}))),
        ("no exp", say(json!({"exp": null}))),
        ("iat in the future", say(json!({"iat": NOW + 61}))),
        ("no iat", say(json!({"iat": null}))),
        ("no jti", say(json!({"jti": null}))),
        ("no events", say(json!({"events": null}))),
        ("another event", say(json!({"events": {"https://example.com/event": {}}}))),
        ("an event that is no object", say(json!({"events": {EVENT: true}}))),
        ("nobody", say(json!({"sub": null, "sid": null}))),
        ("a nonce", say(json!({"nonce": "n"}))),
        ("alg none", key.token_with(&json!({"alg": "none", "typ": "logout+jwt"}), &good)),
        ("HS256 with the public key", hmac_token(key.pem().as_bytes(), "k", &good)),
        ("an access token", typed("at+jwt")),
        ("a security event", typed("secevent+jwt")),
        ("an opaque token", "opaque".into()),
        ("nothing", String::new()),
    ];
    for (what, token) in cases {
        is_refused(&post(&hub, &token).await, what);
    }
    let twice = hub.request(Method::POST, "/backchannel-logout");
    let twice = twice.form(&[("logout_token", say(json!({}))), ("logout_token", say(json!({})))]);
    is_refused(&hub.send(twice).await.unwrap(), "twice");
    let raw =
        hub.request(Method::POST, "/backchannel-logout").body(say(json!({}))).header("content-type", "application/jwt");
    is_refused(&hub.send(raw).await.unwrap(), "another content type");
    let large = post(&hub, &"a".repeat(3000)).await;
    assert_eq!((large.status, &large.json()["error"]), (413, &json!("invalid_request")));
    assert_eq!(place.rows().await, 0);
    for reason in ["wrong_audience", "expired", "has_nonce", "wrong_type", "names_nobody", "missing_claims"] {
        assert!(hub.metric("link_messages_total", &format!("outcome=\"{reason}\"")).await >= 1.0, "{reason}");
    }
    // The types of §2.4, and those from before it.
    for (jti, typ) in [("a", "logout+jwt"), ("b", "application/logout+jwt"), ("c", "JWT")] {
        let header = json!({"alg": "ES256", "kid": "k", "typ": typ});
        post(&hub, &key.token_with(&header, &with(&good, json!({"jti": jti})))).await.expect(200);
    }
    post(&hub, &key.token_with(&json!({"alg": "ES256", "kid": "k"}), &with(&good, json!({"jti": "d"}))))
        .await
        .expect(200);
    hub.stop().await;
}

async fn section_2_6_a_replay_changes_nothing_also_after_a_restart_and_on_another_replica(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let token = token(&key, &claims(&issuer, "1"));
    post(&hub, &token).await.expect(200);
    let id = hub.snapshot().await.map.into_keys().next().unwrap();
    // Somebody takes it back, and nobody can undo that by sending the token once more.
    hub.lift(&id).await;
    post(&hub, &token).await.expect(200);
    assert_eq!(hub.snapshot().await.map.len(), 0);
    assert_eq!(hub.metric("link_messages_total", "outcome=\"repeated\"").await, 1.0);
    let hub = if place.is_postgres() {
        let second = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
        hub.stop().await;
        second
    } else {
        hub.stop().await;
        TestHub::start(config(place, &issuer), Clock::manual(NOW)).await
    };
    post(&hub, &token).await.expect(200);
    assert_eq!(hub.snapshot().await.map.len(), 0);
    // Another token of the same issuer is another logout.
    post(&hub, &self::token(&key, &claims(&issuer, "2"))).await.expect(200);
    assert_eq!(hub.snapshot().await.map.len(), 1);
    hub.stop().await;
}

async fn without_keys_it_is_503_and_nothing_is_stored(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    issuer.answer(500);
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let token = token(&key, &claims(&issuer, "1"));
    let answer = post(&hub, &token).await.expect(503);
    assert_eq!(answer.json()["error"], "temporarily_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(place.rows().await, 0);
    issuer.answer(200);
    until("the issuer is back", async || (post(&hub, &token).await.status == 200).then_some(())).await;
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

async fn the_settings_say_for_whom_the_tokens_are(place: &Place) {
    let issuer = TestIssuer::start(&[]).await;
    let mut config = config(place, &issuer);
    config.sources[0].audiences.clear();
    assert!(config.validate().unwrap_err().to_string().contains("audiences"));
    config.sources[0].audiences.push("us".into());
    config.validate().unwrap();
    config.issuers.clear();
    assert!(config.validate().unwrap_err().to_string().contains("[[issuers]]"));
}

both_stores!(
    section_2_8_a_logout_revokes_the_session_or_all_of_the_subject,
    section_2_6_a_replay_changes_nothing_also_after_a_restart_and_on_another_replica,
);
on_sqlite!(
    where_access_tokens_name_no_session_a_logout_ends_all_of_the_subject,
    section_2_6_a_token_that_is_no_logout_token_is_refused,
    without_keys_it_is_503_and_nothing_is_stored,
    the_settings_say_for_whom_the_tokens_are,
);
