//! The proxy: a real nginx as the control plane, and raw TCP for timing and for what nginx would not say.

use std::time::Duration;

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{DatabaseUrl, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::*;
use crate::raw::exchange;
use crate::setup::*;
use crate::trust::authority;

const BASE: &str = "/internal/data/v1";

async fn hub_before(place: &Place, url: String, change: impl FnOnce(&mut revocation_hub::config::Config)) -> TestHub {
    let mut config = config_with(place, crate::notify::sources());
    config.proxy.url = Some(DatabaseUrl::new(url));
    config.proxy.username = Some("hub".into());
    config.proxy.password = Secret::new("s3cret");
    change(&mut config);
    TestHub::start(config, Clock::manual(NOW)).await
}

async fn a_real_control_plane_is_read_with_the_hubs_own_credentials(place: &Place) {
    let (ca, server) = authority("127.0.0.1");
    let big: Vec<u8> = (0..40_000_000_u32).map(|i| (i / 7) as u8).collect();
    // hub:s3cret; nothing else is let in.
    let conf = br#"
        location /internal/data/v1/ {
            if ($http_authorization != "Basic aHViOnMzY3JldA==") { return 401 "who?"; }
            if ($request_method !~ "^(GET|HEAD)$") { return 500; }
            gzip on; gzip_min_length 1; gzip_types application/json; default_type application/json;
            location = /internal/data/v1/missing { default_type text/plain; return 404 "No Api artifacts found"; }
            location = /internal/data/v1/moved { return 302 http://127.0.0.1:1/; }
            location = /internal/data/v1/broken { return 500 "{}"; }
            location = /internal/data/v1/refused { return 403; }
            location = /internal/data/v1/echo {
                add_header Set-Cookie "JSESSIONID=1"; add_header X-Kept yes; add_header Connection "X-Dropped";
                return 200 "$args|$http_cookie|$http_api_key|$http_xwso2tenant|$http_te|$http_x_named|$http_user_agent";
            }
        }"#;
    let nginx = Nginx::start(&[
        ("server.conf", conf),
        ("tls.pem", &server),
        ("www/internal/data/v1/subscriptions", br#"{"list":[]}"#),
        ("www/internal/data/v1/revokedjwt", b"never"),
        ("www/internal/data/v1/big", &big),
        ("www/secret", b"never"),
    ])
    .await;
    let file = place.folder.path().join("ca.pem");
    std::fs::write(&file, ca).unwrap();
    let url = format!("https://127.0.0.1:{}", nginx.port);
    let hub = hub_before(place, url, |config| config.proxy.ca_file = Some(file)).await;
    assert_eq!(get(&hub, &format!("{BASE}/subscriptions")).await.expect(200).json(), serde_json::json!({"list": []}));
    let answer = get(&hub, &format!("{BASE}/big")).await.expect(200);
    assert!(answer.body == big && answer.header("content-length") == Some("40000000"));
    let head =
        |path: &str| format!("HEAD {BASE}/{path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Basic cm9vdDpyb290\r\n");
    let mut raw = crate::raw::Raw::connect(&hub).await;
    raw.send(head("big") + "\r\n").await;
    let head_answer = raw.answer_without_body().await.unwrap();
    assert_eq!((head_answer.status, head_answer.header("content-length")), (200, Some("40000000")));
    // Compressed as it comes.
    let zipped = head("subscriptions").replace("HEAD", "GET") + "Accept-Encoding: gzip\r\n\r\n";
    let zipped = exchange(&hub, zipped).await;
    assert_eq!((zipped.header("content-encoding"), &zipped.body[..2]), (Some("gzip"), &[0x1f, 0x8b][..]));
    // What passes, and what does not.
    let echo = head("echo?apiId=1&x=%20%2F").replace("HEAD", "GET")
        + "Cookie: a=b\r\napi-key: k\r\nxWSO2Tenant: t\r\nTE: trailers\r\nConnection: x-named\r\nX-Named: n\r\n\
           User-Agent: Go-http-client/1.1\r\n\r\n";
    let echo = exchange(&hub, echo).await;
    assert_eq!((echo.status, echo.text()), (200, "apiId=1&x=%20%2F|||t|||Go-http-client/1.1"));
    assert_eq!((echo.header("set-cookie"), echo.header("x-kept")), (None, Some("yes")));
    // The control plane's own no is passed on as it is: Choreo Connect looks for this text.
    let missing = get(&hub, &format!("{BASE}/missing")).await.expect(404);
    assert_eq!((missing.text(), missing.header("content-type")), ("No Api artifacts found", Some("text/plain")));
    assert_eq!(get(&hub, &format!("{BASE}/broken")).await.expect(500).text(), "{}");
    // Its no to the hub is the hub's trouble, and a redirect leads nowhere.
    for path in ["refused", "moved"] {
        let answer = get(&hub, &format!("{BASE}/{path}")).await.expect(502);
        assert_eq!((answer.code().as_str(), answer.header("location")), ("bad_gateway", None), "{path}");
    }
    // The hub's own paths are the hub's, in every spelling.
    assert_eq!(get(&hub, ARRAY).await.expect(200).text(), "[]");
    for path in
        ["revokedjwt/", "revoked%6awt", "%2e%2e/%2e%2e/%2e%2e/secret", "..;/..;/..;/secret", "a/..%2f..%2fsecret"]
    {
        let raw = head(path).replace("HEAD", "GET") + "\r\n";
        assert_eq!(exchange(&hub, raw).await.status, 404, "{path}");
    }
    assert_eq!(exchange(&hub, head("../../../secret").replace("HEAD", "GET") + "\r\n").await.status, 404);
    // Reading takes the scope, and nobody writes.
    assert_eq!(send(&hub, "nobody", Method::GET, &format!("{BASE}/subscriptions"), "", FORM).await.status, 401);
    assert_eq!(send(&hub, "tokens", Method::GET, &format!("{BASE}/subscriptions"), "", FORM).await.status, 403);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let answer =
            send(&hub, "root", method.clone(), &format!("{BASE}/subscriptions"), "{}", "application/json").await;
        assert_eq!(answer.expect(405).code(), "method_not_allowed", "{method}");
    }
    hub.stop().await;
    // Other credentials than those that are asked for.
    let other = hub_before(place, format!("https://127.0.0.1:{}", nginx.port), |config| {
        config.proxy.password = Secret::new("wrong");
        config.proxy.ca_file = Some(place.folder.path().join("ca.pem"));
    })
    .await;
    assert_eq!(get(&other, &format!("{BASE}/subscriptions")).await.expect(502).code(), "bad_gateway");
    other.stop().await;
}

/// The first bytes arrive while the rest is not there yet, and a rest that never comes breaks the answer off.
async fn bodies_pass_as_they_come(place: &Place) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hub = hub_before(place, format!("http://{}", listener.local_addr().unwrap()), |_| ()).await;
    for whole in [true, false] {
        let request = hub.request(Method::GET, &format!("{BASE}/apis")).basic_auth("root", Some("root"));
        let asking = tokio::spawn(request.send());
        let (mut upstream, _) = within("the hub connects", listener.accept()).await.unwrap();
        let mut head = [0; 4096];
        let _ = within("the hub asks", upstream.read(&mut head)).await.unwrap();
        let first = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        upstream.write_all(first).await.unwrap();
        let mut answer = within("an answer", asking).await.unwrap().unwrap();
        let chunk = within("the first bytes", answer.chunk()).await.unwrap();
        assert_eq!(chunk.as_deref(), Some(&b"first"[..]));
        if whole {
            upstream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
        }
        drop(upstream);
        let rest = within("the end", answer.bytes()).await;
        assert_eq!(rest.ok().as_deref(), whole.then_some(&b"last"[..]));
    }
    hub.stop().await;
}

async fn a_control_plane_that_is_away_or_slow_is_a_5xx(place: &Place) {
    let hub = hub_before(place, "http://127.0.0.1:1".into(), |_| ()).await;
    assert_eq!(get(&hub, &format!("{BASE}/apis")).await.expect(502).code(), "bad_gateway");
    hub.stop().await;
    let upstream = Upstream::new(Manner::Hangs).await;
    let hub = hub_before(place, upstream.url(), |config| config.proxy.timeout = Duration::from_millis(200)).await;
    assert_eq!(get(&hub, &format!("{BASE}/apis")).await.expect(504).code(), "gateway_timeout");
    upstream.set(Manner::Says(b"nonsense\r\n\r\n".to_vec()));
    let nonsense = get(&hub, &format!("{BASE}/apis")).await.expect(502);
    assert!(!nonsense.text().contains("127.0.0.1"), "{}", nonsense.text());
    hub.stop().await;
}

/// It shows nothing of the list, so it does not wait for it; and without a url it is not there.
async fn it_is_off_by_default_and_needs_no_list(place: &Place) {
    let hub = hub_with(place, vec![]).await;
    assert_eq!(get(&hub, &format!("{BASE}/subscriptions")).await.expect(404).code(), "not_found");
    hub.stop().await;
    let upstream = Upstream::new(Manner::list("[]")).await;
    let mut config = config_with(place, vec![]);
    config.proxy.url = Some(DatabaseUrl::new(upstream.url()));
    config.database_url = DatabaseUrl::new("postgres://hub@127.0.0.1:1/hub");
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    assert_eq!(get(&hub, &format!("{BASE}/keymanagers")).await.expect(200).text(), "[]");
    assert!(!upstream.heads()[0].to_lowercase().contains("authorization"), "{}", upstream.heads()[0]);
    hub.stop().await;
}

on_sqlite!(
    a_real_control_plane_is_read_with_the_hubs_own_credentials,
    bodies_pass_as_they_come,
    a_control_plane_that_is_away_or_slow_is_a_5xx,
    it_is_off_by_default_and_needs_no_list,
);
