//! JWTs of configured issuers as credentials.

use std::time::Duration;

use reqwest::Method;
use revocation_hub::cli::promise::Seen;
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;

fn config(place: &Place, issuer: &TestIssuer, more: Value) -> Config {
    let credentials = json!({
        "audiences": ["hub"],
        "scopes": {"revocations:read": ["read"], "revocations:write": ["publish", "rules"]},
    });
    let credentials = with(&credentials, more);
    Config { issuers: vec![issuer.config(json!({"credentials": credentials}))], ..place.config() }
}

async fn ask(hub: &Api, method: Method, path: &str, token: &str) -> Answer {
    let request = hub.request(method.clone(), path).bearer_auth(token);
    let request = if method == Method::POST { request.json(&json!({"jti": "x", "ttl": 60})) } else { request };
    hub.send(request).await.unwrap()
}

async fn read(hub: &Api, token: &str) -> Answer {
    ask(hub, Method::GET, "/v1/check?jti=x", token).await
}

async fn a_token_opens_what_its_claim_is_worth(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer, json!({})), Clock::manual(NOW)).await;
    let token = |scope: Value| key.token(&with(&issuer.claims("a"), json!({"scope": scope})));
    read(&hub, &token(json!("openid revocations:read"))).await.expect(200);
    read(&hub, &token(json!(["revocations:read"]))).await.expect(200);
    for scope in [json!("openid"), json!("revocations:write"), json!("revocations:reader"), json!(7), json!(null)] {
        assert_eq!(read(&hub, &token(scope.clone())).await.expect(403).code(), "missing_scope", "{scope}");
    }
    ask(&hub, Method::POST, "/v1/revocations", &token(json!("revocations:read"))).await.expect(403);
    ask(&hub, Method::POST, "/v1/revocations", &token(json!("revocations:write"))).await.expect(201);
    let list = ask(&hub, Method::GET, "/v1/revocations", &token(json!("revocations:read"))).await.json();
    assert_eq!(list["revocations"][0]["source"], "app", "named after its client");
    // Nobody else may do anything, now that there are credentials.
    let nobody = hub.get("/v1/revocations").await.expect(401);
    assert!(nobody.header("www-authenticate").unwrap().starts_with("Bearer"));
    hub.stop().await;

    let more = json!({"claim": "roles", "name_claim": "sub", "issuers": ["https://sts.example"]});
    let hub = TestHub::start(config(place, &issuer, more), Clock::manual(NOW)).await;
    let token = key.token(&with(&issuer.claims("a"), json!({"roles": ["revocations:write", "revocations:read"]})));
    let list = ask(&hub, Method::POST, "/v1/revocations", &token).await.expect(201).json();
    let one = ask(&hub, Method::GET, &format!("/v1/revocations/{}", list["id"].as_str().unwrap()), &token).await.json();
    assert_eq!((&one["source"], &one["iss"]), (&json!("alice"), &json!("https://sts.example")));
    // There are as many names as the issuer likes, and each would be a series for good.
    let metrics = hub.get("/metrics").await;
    let vouched = format!(r#"revocations_total{{outcome="revoked",source={}}} 1"#, issuer.claims("a")["iss"]);
    assert!(metrics.text().contains(&vouched) && !metrics.text().contains("alice"), "{}", metrics.text());
    hub.stop().await;
}

async fn a_token_that_is_not_for_us_or_not_good_opens_nothing(place: &Place) {
    let (key, other) = (Key::p256("k"), Key::p256("k"));
    let (issuer, plain) = (TestIssuer::start(&[&key]).await, TestIssuer::start(&[&key]).await);
    let mut config = config(place, &issuer, json!({}));
    config.issuers.push(plain.config(json!({})));
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let good = with(&issuer.claims("a"), json!({"scope": "revocations:read"}));
    let say = |members: Value| key.token(&with(&good, members));
    let typed = |typ: &str| key.token_with(&json!({"alg": "ES256", "kid": "k", "typ": typ}), &good);
    for token in [say(json!({})), typed("at+jwt"), typed("application/at+jwt"), say(json!({"aud": ["x", "hub"]}))] {
        read(&hub, &token).await.expect(200);
    }
    for (what, token) in [
        ("another audience", say(json!({"aud": "app"}))),
        ("no audience", say(json!({"aud": null}))),
        ("expired", say(json!({"exp": NOW - 60}))),
        ("no exp", say(json!({"exp": null}))),
        ("another key", other.token(&good)),
        ("an issuer whose tokens are no credentials", say(json!({"iss": plain.iss}))),
        ("a logout token", typed("logout+jwt")),
        ("a security event", typed("secevent+jwt")),
        ("a name that cannot be one", say(json!({"client_id": "a\nb"}))),
        ("no name", say(json!({"client_id": null, "sub": null}))),
        ("no token", "opaque".into()),
    ] {
        assert_eq!(read(&hub, &token).await.expect(401).code(), "unauthorized", "{what}");
    }
    // A revoked token is none, whatever revoked it.
    let write = say(json!({"jti": "writer", "scope": "revocations:write"}));
    let victim = say(json!({"jti": "victim"}));
    read(&hub, &victim).await.expect(200);
    let post = hub.request(Method::POST, "/v1/revocations").bearer_auth(&write).json(&json!({"token": victim}));
    hub.send(post).await.unwrap().expect(201);
    read(&hub, &victim).await.expect(401);
    read(&hub, &say(json!({"jti": "another"}))).await.expect(200);
    hub.stop().await;
}

async fn without_keys_nobody_knows_whether_a_token_is_good(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    issuer.answer(500);
    let hub = TestHub::start(config(place, &issuer, json!({})), Clock::manual(NOW)).await;
    let token = key.token(&with(&issuer.claims("a"), json!({"scope": "revocations:read"})));
    let answer = read(&hub, &token).await.expect(503);
    assert_eq!((answer.code(), answer.header("retry-after").is_some()), ("keys_unavailable".into(), true));
    hub.stop().await;
}

async fn a_stream_ends_with_its_credential(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let mut config = config(place, &issuer, json!({}));
    config.streams.max_age = Duration::from_secs(3600);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let token =
        |jti: &str, exp: i64| key.token(&with(&issuer.claims(jti), json!({"scope": "revocations:read", "exp": exp})));
    let open = async |token: &str| {
        let request = hub.request(Method::GET, "/v1/events").bearer_auth(token);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        Stream::new(
            Box::pin(response.bytes_stream()),
            revocation_hub::cli::promise::Promise::new(revocation_hub::cli::promise::Start::Now),
        )
    };
    let ended = async |reason: &str| hub.metric("streams_ended_total", &format!("reason=\"{reason}\"")).await;
    let (mut early, mut late) = (open(&token("a", NOW + 100)).await, open(&token("b", NOW + 200)).await);
    hub.clock.advance(99);
    early.until("it goes on", |seen, _| matches!(seen, Seen::Bookmark { .. }).then_some(())).await;
    assert_eq!(ended("credential").await, 0.0);
    hub.clock.advance(1);
    while early.next().await != Got::End {}
    assert!(early.is_complete());
    until("it is counted", async || (ended("credential").await == 1.0).then_some(())).await;
    // One whose token is revoked hears of that no more.
    let write = key.token(&with(&issuer.claims("w"), json!({"scope": "revocations:write", "exp": NOW + 900})));
    let post = hub.request(Method::POST, "/v1/revocations").bearer_auth(&write).json(&json!({"jti": "b", "ttl": 60}));
    hub.send(post).await.unwrap().expect(201);
    loop {
        match late.next().await {
            Got::End => break,
            Got::Event(Seen::Revoked(value), _) => panic!("{value}"),
            _ => {}
        }
    }
    until("it is counted", async || (ended("credential").await == 2.0).then_some(())).await;
    // By the time that really passes too: nothing of the hub's own pace makes it longer.
    let mut short = open(&token("c", NOW + 102)).await;
    let began = std::time::Instant::now();
    while short.next().await != Got::End {}
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    hub.stop().await;
}

async fn an_issuer_with_credentials_lets_the_hub_listen_to_the_network(place: &Place) {
    let issuer = TestIssuer::start(&[]).await;
    let mut config = config(place, &issuer, json!({}));
    config.listen = vec!["0.0.0.0:0".parse().unwrap()];
    config.validate().unwrap();
    config.issuers[0].credentials = None;
    config.validate().unwrap_err();
    for wrong in [json!({"audiences": []}), json!({"scopes": {}}), json!({"scopes": {"a": []}}), json!({"claim": ""})] {
        let config = self::config(place, &issuer, wrong);
        assert!(config.validate().unwrap_err().to_string().contains("credentials"));
    }
}

on_sqlite!(
    a_token_opens_what_its_claim_is_worth,
    a_token_that_is_not_for_us_or_not_good_opens_nothing,
    without_keys_nobody_knows_whether_a_token_is_good,
    a_stream_ends_with_its_credential,
    an_issuer_with_credentials_lets_the_hub_listen_to_the_network,
);
