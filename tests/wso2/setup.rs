//! Hubs with clients and sources, and servers that behave as told.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Client, Config, Source};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::harness::*;

/// The names of the contract.
pub const J: &str = "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30";
pub const CONSUMER: &str = "rfjtExampleKey0000000000000a";
pub const ENTITY: &str = "4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412";
/// 2100-01-01, seconds.
pub const FAR: i64 = 4_102_444_800;

pub const ARRAY: &str = "/internal/data/v1/revokedjwt";
pub const OBJECT: &str = "/apim43/internal/data/v1/revokedjwt";
pub const LEGACY: &str = "/throttle/data/v1/revokedjwt";

pub fn client(name: &str, scopes: &[&str]) -> Client {
    let basic = json!({"username": name, "password": name});
    serde_json::from_value(json!({"name": name, "scopes": scopes, "basic": basic})).unwrap()
}

pub fn source(source: Value) -> Source {
    serde_json::from_value(source).unwrap()
}

/// `admin` and `root` may do everything, `reader` may read, `tokens` may revoke single tokens.
pub fn config_with(place: &Place, sources: Vec<Value>) -> Config {
    let all = ["publish", "rules", "lift", "read"];
    let clients =
        vec![client("admin", &all), client("root", &all), client("reader", &["read"]), client("tokens", &["publish"])];
    Config { clients, sources: sources.into_iter().map(source).collect(), ..place.config() }
}

pub async fn hub_with(place: &Place, sources: Vec<Value>) -> TestHub {
    TestHub::start(config_with(place, sources), Clock::manual(NOW)).await
}

/// Sends as a client whose password is its name.
pub async fn send(api: &Api, user: &str, method: Method, path: &str, body: &str, content_type: &str) -> Answer {
    let request = api.request(method, path).basic_auth(user, Some(user));
    api.send(request.header("content-type", content_type).body(body.to_owned())).await.unwrap()
}

pub const FORM: &str = "application/x-www-form-urlencoded; charset=UTF-8";

pub async fn put(api: &Api, path: &str, form: &str) -> Answer {
    send(api, "root", Method::PUT, path, form, FORM).await
}

pub async fn get(api: &Api, path: &str) -> Answer {
    api.send(api.request(Method::GET, path).basic_auth("root", Some("root"))).await.unwrap()
}

/// The live revocations as `kind value`, with their `exp`, in order.
pub async fn live(api: &Api) -> Vec<(String, Option<i64>)> {
    let list = get(api, "/v1/revocations").await.expect(200).json();
    let fields = ["jti", "sha256", "sig", "sub", "client_id"];
    let mut all: Vec<_> = list["revocations"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| {
            let value = fields.iter().find_map(|f| r[f].as_str()).unwrap_or_default();
            (format!("{} {value}", r["kind"].as_str().unwrap()), r["exp"].as_i64())
        })
        .collect();
    all.sort();
    all
}

/// The names alone.
pub async fn names(api: &Api) -> Vec<String> {
    live(api).await.into_iter().map(|(name, _)| name).collect()
}

pub async fn until_names(api: &Api, expected: &[&str]) {
    until("the revocations are there", async || (names(api).await == expected).then_some(())).await;
}

/// What a server of ours does with the next requests.
#[derive(Clone)]
pub enum Manner {
    /// Writes this and closes.
    Says(Vec<u8>),
    /// Reads and never answers.
    Hangs,
}

impl Manner {
    /// An answer with a body, as a well-behaved server sends it.
    pub fn says(status: &str, content_type: &str, body: &str) -> Self {
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n", body.len());
        Manner::Says(format!("{head}Connection: close\r\n\r\n{body}").into_bytes())
    }

    pub fn list(body: &str) -> Self {
        Self::says("200 OK", "application/json", body)
    }
}

/// A server on a port of its own that does what no good server would.
pub struct Upstream {
    pub address: SocketAddr,
    manner: watch::Sender<Manner>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    pub async fn new(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (manner, now) = watch::channel(manner);
        let heads = Arc::new(Mutex::new(Vec::new()));
        let record = heads.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut now, record) = (now.clone(), record.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(byte) = stream.read_u8().await else { return };
                        head.push(byte);
                    }
                    let manner = now.borrow_and_update().clone();
                    record.lock().push(String::from_utf8(head).unwrap());
                    match manner {
                        Manner::Says(bytes) => {
                            let _ = stream.write_all(&bytes).await;
                            let _ = stream.shutdown().await;
                        }
                        // Until it is told otherwise, which is another connection's business.
                        Manner::Hangs => drop(now.changed().await),
                    }
                });
            }
        });
        Self { address, manner, heads }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn set(&self, manner: Manner) {
        self.manner.send_replace(manner);
    }

    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().clone()
    }

    /// Waits until so many requests more have come.
    pub async fn asked(&self, more: usize) {
        let goal = self.heads.lock().len() + more;
        until("it is asked again", async || (self.heads.lock().len() >= goal).then_some(())).await;
    }
}

/// A real nginx, stopped when this is dropped.
pub struct Nginx {
    child: Child,
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Nginx {
    /// Starts one with these files (`www/…`, `server.conf`, `tls.pem`).
    pub async fn start(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/servers/nginx");
        // A free port may be somebody else's a moment later, so it is tried again with another.
        loop {
            let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
            let log = std::fs::File::create(folder.path().join("nginx.log")).unwrap();
            let mut child = Command::new(&script)
                .arg(folder.path())
                .arg(port.to_string())
                .stdin(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let up = until("nginx listens or gives up", async || {
                if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                    return Some(true);
                }
                child.try_wait().unwrap().map(|_| false)
            })
            .await;
            if up && child.try_wait().unwrap().is_none() {
                return Self { child, port, _folder: folder };
            }
            let log = std::fs::read_to_string(folder.path().join("nginx.log")).unwrap();
            assert!(log.contains("in use"), "{log}");
        }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // TERM, so that it takes its worker along.
        let pid = self.child.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &pid]).status();
        let _ = self.child.wait();
    }
}
