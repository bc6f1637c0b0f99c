//! With a real OpenID provider (node-oidc-provider): a person logs out there, and the hub has revoked the session; also
//! after the provider has changed its key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{LOCATION, SET_COOKIE};
use reqwest::{Method, StatusCode};
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::source;

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    let mut ports = std::iter::repeat_with(|| 20_000 + rand::random::<u16>() % 12_000);
    ports.find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()).unwrap()
}

/// The provider's process.
struct Provider(Child);

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Provider {
    async fn start(folder: &Path, port: u16, hub: &str) -> Self {
        let log = folder.join("provider.log");
        let output = std::fs::File::create(&log).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers/openid-provider");
        let child = Command::new(script)
            .arg(folder)
            .args([&*port.to_string(), hub])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let mut provider = Self(child);
        until("the provider listens (./scripts/test installs it)", async || {
            let printed = std::fs::read_to_string(&log).unwrap();
            assert_eq!(provider.0.try_wait().unwrap(), None, "ended: {printed}");
            printed.lines().any(|line| line == "listening").then_some(())
        })
        .await;
        provider
    }
}

/// A browser: it keeps cookies by path and shows each where it belongs.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookies: BTreeMap<(String, String), String>,
}

impl Browser {
    fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { http, base: base.into(), cookies: BTreeMap::new() }
    }

    /// Asks and follows redirections, until there is a page or they lead away from the provider.
    async fn go(&mut self, method: Method, url: &str, form: &[(&str, &str)]) -> Result<String, String> {
        let (mut method, mut url) = (method, url.to_owned());
        for _ in 0..10 {
            let path = reqwest::Url::parse(&url).unwrap().path().to_owned();
            let shown = self.cookies.iter().filter(|((of, _), _)| path.starts_with(of.as_str()));
            let shown: Vec<String> = shown.map(|((_, name), value)| format!("{name}={value}")).collect();
            let request = self.http.request(method.clone(), &url).header("cookie", shown.join("; "));
            let request = if method == Method::POST { request.form(form) } else { request };
            let response = request.send().await.unwrap();
            for cookie in response.headers().get_all(SET_COOKIE) {
                let mut parts = cookie.to_str().unwrap().split("; ");
                let (name, value) = parts.next().unwrap().split_once('=').unwrap();
                let of = parts.find_map(|part| part.strip_prefix("path=")).unwrap_or("/");
                self.cookies.insert((of.into(), name.into()), value.into());
            }
            let Some(location) = response.headers().get(LOCATION) else {
                assert_eq!(response.status(), StatusCode::OK, "{}", response.text().await.unwrap());
                return Ok(response.text().await.unwrap());
            };
            let location = location.to_str().unwrap();
            url = if location.starts_with('/') { format!("{}{location}", self.base) } else { location.to_owned() };
            if !url.starts_with(&self.base) {
                return Err(url);
            }
            method = Method::GET;
        }
        panic!("too many redirections, the last to {url}");
    }

    /// Logs in at the client "shop" and returns the ID token.
    async fn log_in(&mut self) -> String {
        let query = "client_id=shop&response_type=code&scope=openid&redirect_uri=https://shop.example/callback";
        let back = self.go(Method::GET, &format!("{}/auth?{query}", self.base), &[]).await.unwrap_err();
        let back = reqwest::Url::parse(&back).unwrap();
        let code =
            back.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("{back}")).1.into_owned();
        let form =
            [("grant_type", "authorization_code"), ("code", &code), ("redirect_uri", "https://shop.example/callback")];
        let request = self.http.post(format!("{}/token", self.base));
        let request = request.basic_auth("shop", Some("secret-of-the-shop-secret-of-the-shop")).form(&form);
        let tokens: Value = request.send().await.unwrap().json().await.unwrap();
        tokens["id_token"].as_str().unwrap_or_else(|| panic!("{tokens}")).to_owned()
    }

    /// Logs out at the provider.
    async fn log_out(&mut self, id_token: &str) {
        let url = format!("{}/session/end?id_token_hint={id_token}", self.base);
        let page = self.go(Method::GET, &url, &[]).await.unwrap();
        let (_, rest) = page.split_once("name=\"xsrf\" value=\"").expect(&page);
        let (xsrf, _) = rest.split_once('"').unwrap();
        let url = format!("{}/session/end/confirm", self.base);
        self.go(Method::POST, &url, &[("xsrf", xsrf), ("logout", "yes")]).await.unwrap();
    }
}

fn part(token: &str, at: usize) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()).unwrap()
}

async fn who_logs_out_at_a_real_provider_is_logged_out_here_also_with_a_new_key(place: &Place) {
    let (port, own) = (free_port(), free_port());
    let issuer = format!("http://127.0.0.1:{port}");
    let folder = place.folder.path().join("provider");
    std::fs::create_dir(&folder).unwrap();
    let hub_url = format!("http://127.0.0.1:{own}");
    let provider = Provider::start(&folder, port, &hub_url).await;
    let config = Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], own))],
        issuers: vec![
            serde_json::from_value(json!({"issuer": issuer, "refresh_interval": "1h", "unknown_key_interval": "1ms"}))
                .unwrap(),
        ],
        sources: vec![source(json!({"name": "op", "kind": "backchannel_logout", "audiences": ["shop"]}))],
        ..place.config()
    };
    let hub = TestHub::start(config, Clock::system()).await;
    let revoked = async |id_token: &str| {
        let sid = part(id_token, 1)["sid"].clone();
        let revocation = until("the session is revoked", async || {
            let all = hub.snapshot().await.map;
            all.into_values().find(|revocation| revocation["sid"] == sid)
        })
        .await;
        assert_eq!((&revocation["kind"], &revocation["iss"]), (&json!("session"), &json!(issuer)));
    };
    let mut browser = Browser::new(&issuer);
    let first = browser.log_in().await;
    assert!(hub.snapshot().await.map.is_empty());
    let kept = Browser::new(&issuer).log_in().await;
    browser.log_out(&first).await;
    revoked(&first).await;
    let active = async |token: &str| {
        let asked = hub.send(hub.request(Method::POST, "/introspect").form(&[("token", token)])).await.unwrap();
        asked.expect(200).json()["active"].as_bool().unwrap()
    };
    assert!(active(&kept).await && !active(&first).await);

    // The provider makes itself a new key and withdraws the old one.
    drop(provider);
    std::fs::remove_file(folder.join("keys.json")).unwrap();
    let provider = Provider::start(&folder, port, &hub_url).await;
    let mut browser = Browser::new(&issuer);
    let second = browser.log_in().await;
    assert_ne!(part(&first, 0)["kid"], part(&second, 0)["kid"]);
    browser.log_out(&second).await;
    revoked(&second).await;
    // What the old key has signed is worth nothing any more, revoked or not.
    assert!(!active(&kept).await);
    assert_eq!(hub.metric("link_messages_total", "outcome=\"committed\"").await, 2.0);
    drop(provider);
    hub.stop().await;
}

both_stores!(who_logs_out_at_a_real_provider_is_logged_out_here_also_with_a_new_key);
