//! What every end-to-end test needs: a place for the data, hubs on it, clients of theirs.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::pin::Pin;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use revocation_hub::cli::promise::{Promise, Seen, Start};
use revocation_hub::cli::sse::{Item, Parser};
use revocation_hub::clock::Clock;
use revocation_hub::config::{Config, DatabaseUrl};
use revocation_hub::hub::Hub;
use revocation_hub::revocation::Cursor;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqliteConnection};

#[path = "wire.rs"]
mod wire;
pub use wire::{Proxy, Wire};

/// Where manual clocks start: a round moment in 2027.
pub const NOW: i64 = 1_800_000_000;

/// How long anything is waited for. Only a test that fails ever waits so long.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Runs each function, `async fn(&Place)`, as a test on SQLite and as one on Postgres.
macro_rules! both_stores {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::harness::on_sqlite(super::$name).await;
            })+
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::harness::on_postgres(super::$name).await;
            })+
        }
    };
}

/// Runs each function, `async fn(&Place)`, as a test on Postgres only.
macro_rules! on_postgres {
    ($($name:ident),+ $(,)?) => {
        mod on_postgres_only {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::harness::on_postgres(super::$name).await;
            })+
        }
    };
}

/// Runs each function, `async fn(&Place)`, as a test on SQLite only.
macro_rules! on_sqlite {
    ($($name:ident),+ $(,)?) => {
        mod on_sqlite_only {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                crate::harness::on_sqlite(super::$name).await;
            })+
        }
    };
}

// ---- places ----------------------------------------------------------------------------------------------------

/// Where a test's data is: a database of its own and a folder of its own.
pub struct Place {
    /// The database URL.
    pub url: String,
    /// For whatever else the test writes.
    pub folder: tempfile::TempDir,
}

impl Place {
    pub fn is_postgres(&self) -> bool {
        self.url.starts_with("postgres")
    }

    /// The file of the SQLite database.
    pub fn file(&self) -> PathBuf {
        self.folder.path().join("log.db")
    }

    /// The name of the Postgres database.
    pub fn database(&self) -> &str {
        let path = self.url.rsplit('/').next().unwrap();
        path.split('?').next().unwrap()
    }

    /// Runs SQL beside the hubs.
    pub async fn sql(&self, sql: &str) {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut conn = self.postgres().await;
            conn.execute(sql).await.unwrap();
            conn.close().await.unwrap();
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            conn.execute(sql).await.unwrap();
            conn.close().await.unwrap();
        }
    }

    /// The number that a query gives.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        if self.is_postgres() {
            let mut conn = self.postgres().await;
            let number = conn.fetch_one(sql).await.unwrap().get(0);
            conn.close().await.unwrap();
            number
        } else {
            let mut conn = SqliteConnection::connect(&self.url).await.unwrap();
            let number = conn.fetch_one(sql).await.unwrap().get(0);
            conn.close().await.unwrap();
            number
        }
    }

    /// How many rows are on disk, tombstones included.
    pub async fn rows(&self) -> i64 {
        self.number("select count(*) from revocation").await
    }

    /// A connection of our own to the test's Postgres database.
    pub async fn postgres(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// The settings that tests use: every interval short, any free port.
    pub fn config(&self) -> Config {
        config(&self.url)
    }

    /// A hub of this process whose clock stands at [`NOW`], ready.
    pub async fn hub(&self) -> TestHub {
        TestHub::start(self.config(), Clock::manual(NOW)).await
    }
}

/// The settings that tests use: every interval short, any free port.
pub fn config(url: &str) -> Config {
    let mut config = Config {
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        database_url: DatabaseUrl::new(url),
        bookmark_interval: Duration::from_millis(100),
        ..Config::default()
    };
    config.store.poll_interval = Duration::from_millis(50);
    config.store.prune_interval = Duration::from_millis(50);
    config.shutdown.grace = Duration::from_secs(5);
    config.shutdown.drain = Duration::from_secs(1);
    config
}

/// The superuser's URL of the Postgres to test with.
pub fn postgres_url() -> String {
    std::env::var("TEST_POSTGRES_URL")
        .unwrap_or_else(|_| panic!("TEST_POSTGRES_URL is not set: run ./scripts/test, which starts a Postgres"))
}

/// Gives the test a Postgres database of its own and takes it away again, also when the test fails.
pub async fn on_postgres(test: impl AsyncFnOnce(&Place)) {
    let admin = postgres_url();
    let name = format!("hub_test_{:016x}", rand::random::<u64>());
    let mut conn = PgConnection::connect(&admin).await.expect("TEST_POSTGRES_URL is reachable");
    conn.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    let mut url = reqwest::Url::parse(&admin).expect("TEST_POSTGRES_URL is a URL");
    url.set_path(&name);
    let place = Place { url: url.into(), folder: tempfile::tempdir().unwrap() };
    let result = AssertUnwindSafe(test(&place)).catch_unwind().await;
    conn.execute(AssertSqlSafe(format!("drop database {name} with (force)"))).await.unwrap();
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Gives the test a SQLite file of its own.
pub async fn on_sqlite(test: impl AsyncFnOnce(&Place)) {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("log.db").display());
    test(&Place { url, folder }).await;
}

// ---- waiting ---------------------------------------------------------------------------------------------------

/// Looks again and again, for a bounded time, until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    })
    .await
}

/// Waits for something, for a bounded time.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

// ---- a client of the HTTP interface ----------------------------------------------------------------------------

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {} {}", self.status, self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|v| v.to_str().expect("ASCII"))
    }

    /// Panics when it is another status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// The `code` of a problem document.
    #[track_caller]
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

/// Live revocations by id.
pub type Map = BTreeMap<String, Value>;

/// The list of live revocations and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub cursor: Cursor,
    pub map: Map,
}

/// What changed since a cursor.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub cursor: Cursor,
    pub revoked: Map,
    pub lifted: Vec<String>,
}

/// The HTTP interface of one hub.
#[derive(Clone, Debug)]
pub struct Api {
    base: String,
    http: reqwest::Client,
}

impl Api {
    pub fn new(address: SocketAddr) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self::with(format!("http://{address}"), http)
    }

    /// The interface at this address, asked by this client.
    pub fn with(base: String, http: reqwest::Client) -> Self {
        Self { base, http }
    }

    /// `http://address`, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// `address:port`, for those who speak TCP themselves.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://").trim_start_matches("https://")
    }

    /// A request to be completed and sent; see [`Api::send`].
    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url()))
    }

    /// Sends a request and reads the answer to its end.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let response = request.timeout(PATIENCE).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.bytes().await? })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(reqwest::Method::GET, path)).await.unwrap()
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.try_delete(path).await.unwrap()
    }

    pub async fn try_delete(&self, path: &str) -> reqwest::Result<Answer> {
        self.send(self.request(reqwest::Method::DELETE, path)).await
    }

    /// `POST /v1/revocations`.
    pub async fn post(&self, json: &Value) -> Answer {
        self.try_post(json).await.unwrap()
    }

    /// `POST /v1/revocations` to a hub that may be gone.
    pub async fn try_post(&self, json: &Value) -> reqwest::Result<Answer> {
        self.send(self.request(reqwest::Method::POST, "/v1/revocations").json(json)).await
    }

    /// Posts NDJSON.
    pub async fn post_lines(&self, lines: &[Value]) -> Answer {
        let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let request = self.request(reqwest::Method::POST, "/v1/revocations").body(body);
        self.send(request.header(CONTENT_TYPE, "application/x-ndjson")).await.unwrap()
    }

    /// Revokes one and returns its id; panics unless it is answered with success.
    pub async fn revoke(&self, json: &Value) -> String {
        let answer = self.post(json).await;
        assert!(matches!(answer.status, 200 | 201), "{} {}", answer.status, answer.text());
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    /// Lifts one; panics unless it is answered with success. Returns the cursor.
    pub async fn lift(&self, id: &str) -> Cursor {
        let answer = self.delete(&format!("/v1/revocations/{id}")).await.expect(200);
        cursor(&answer.json()["cursor"])
    }

    /// `GET /v1/revocations`.
    pub async fn snapshot(&self) -> Snapshot {
        self.try_snapshot().await.expect("it is there and has loaded its list")
    }

    /// The same of a hub that may be gone or not loaded: `None`.
    pub async fn try_snapshot(&self) -> Option<Snapshot> {
        let answer = self.try_get("/v1/revocations").await?.expect(200);
        let json = answer.json();
        let cursor = cursor(&json["cursor"]);
        assert_eq!(answer.header("revocation-cursor"), Some(&*cursor.to_string()));
        Some(Snapshot { cursor, map: by_id(&json["revocations"]) })
    }

    /// `GET /v1/revocations?since=…`, or the answer when it was refused.
    pub async fn since(&self, since: &Cursor) -> Result<Difference, Answer> {
        self.try_since(since).await.expect("it is there and has loaded its list")
    }

    /// The same of a hub that may be gone or not loaded: `None`.
    pub async fn try_since(&self, since: &Cursor) -> Option<Result<Difference, Answer>> {
        let answer = self.try_get(&format!("/v1/revocations?since={since}")).await?;
        if answer.status != 200 {
            return Some(Err(answer));
        }
        let json = answer.json();
        let lifted = json["lifted"].as_array().unwrap().iter().map(|l| l["id"].as_str().unwrap().to_owned()).collect();
        Some(Ok(Difference { cursor: cursor(&json["cursor"]), revoked: by_id(&json["revocations"]), lifted }))
    }

    async fn try_get(&self, path: &str) -> Option<Answer> {
        let answer = self.send(self.request(reqwest::Method::GET, path)).await.ok()?;
        (answer.status != 503).then_some(answer)
    }

    /// `GET /readyz` says 200.
    pub async fn is_ready(&self) -> bool {
        self.send(self.request(reqwest::Method::GET, "/readyz")).await.is_ok_and(|answer| answer.status == 200)
    }

    /// Waits until `/readyz` says 200.
    pub async fn until_ready(&self) {
        until("the hub is ready", async || self.is_ready().await.then_some(())).await;
    }

    /// The sum of a metric over its labels that contain `labels`; 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &str) -> f64 {
        let answer = self.get("/metrics").await.expect(200);
        let lines = answer.text().lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| line.strip_prefix(&format!("revocation_hub_{name}")))
            .filter(|rest| rest.starts_with([' ', '{']) && rest.contains(labels))
            .map(|rest| rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum()
    }

    /// Opens an event stream; panics when it is refused.
    pub async fn stream(&self, start: Start) -> Stream {
        self.open(Promise::new(start), Ask::Header).await
    }

    /// Opens the next stream of a client that had one; panics when it is refused.
    pub async fn resume(&self, mut promise: Promise, ask: Ask) -> Stream {
        promise.reconnect();
        self.open(promise, ask).await
    }

    async fn open(&self, promise: Promise, ask: Ask) -> Stream {
        let opening = self.try_open(promise, ask);
        within("the stream opens", opening).await.unwrap_or_else(|(_, answer)| panic!("{answer:?}"))
    }

    /// Opens an event stream, or gives the checker back with what was answered (`None`: no answer at all).
    pub async fn try_open(&self, promise: Promise, ask: Ask) -> Result<Stream, (Promise, Option<Answer>)> {
        let request = self.request(reqwest::Method::GET, "/v1/events");
        let request = match (promise.start(), ask) {
            (Start::Now, _) => request,
            (Start::Earliest, _) => request.query(&[("since", "earliest")]),
            (Start::After(cursor), Ask::Header) => request.header("Last-Event-ID", cursor.to_string()),
            (Start::After(cursor), Ask::Query) => request.query(&[("since", cursor.to_string())]),
        };
        let Ok(response) = request.send().await else { return Err((promise, None)) };
        if response.status() != 200 {
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            let answer = response.bytes().await.ok().map(|body| Answer { status, headers, body });
            return Err((promise, answer));
        }
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Ok(Stream::new(Box::pin(response.bytes_stream()), promise))
    }
}

/// How a client says where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    Header,
    Query,
}

#[track_caller]
pub fn cursor(json: &Value) -> Cursor {
    json.as_str().unwrap().parse().unwrap()
}

/// Panics when an id comes twice.
#[track_caller]
fn by_id(list: &Value) -> Map {
    let mut map = Map::new();
    for entry in list.as_array().unwrap() {
        let id = entry["id"].as_str().unwrap().to_owned();
        assert_eq!(map.insert(id, entry.clone()), None, "twice in one list");
    }
    map
}

// ---- event streams ---------------------------------------------------------------------------------------------

/// What comes next on a stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    /// An event that kept every promise, and the position that the client has with it.
    Event(Seen, Cursor),
    /// A sign of life.
    Comment,
    /// The stream has ended, or was cut.
    End,
}

/// The bytes of a stream.
pub type Body = Pin<Box<dyn futures_util::Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// An open event stream. The first promise that is broken fails the test.
pub struct Stream {
    body: Body,
    parser: Parser,
    promise: Promise,
    items: VecDeque<Item>,
    bytes_left: Option<usize>,
    complete: bool,
}

impl Stream {
    /// Whether the hub has ended the stream in good order (HTTP's last chunk), as against a cut.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A stream whose bytes come from somewhere.
    pub fn new(body: Body, promise: Promise) -> Self {
        Self { body, parser: Parser::new(), promise, items: VecDeque::new(), bytes_left: None, complete: false }
    }

    /// Pretends that the network cuts the stream after so many more bytes.
    pub fn cut_after(&mut self, bytes: usize) {
        self.bytes_left = Some(bytes);
    }

    /// What comes next; panics when nothing comes for a long time.
    pub async fn next(&mut self) -> Got {
        within("a sign of life on the stream", async {
            loop {
                match self.items.pop_front() {
                    Some(Item::Event(event)) => {
                        let seen = self.promise.check(&event).unwrap_or_else(|broken| panic!("{broken}: {event:?}"));
                        let at = self.promise.cursor().cloned();
                        // Only before a `reset` has been read is there none.
                        let at = at.unwrap_or_else(|| event.id.as_deref().unwrap().parse().unwrap());
                        return Got::Event(seen, at);
                    }
                    Some(Item::Comment) => return Got::Comment,
                    Some(Item::Retry(_)) => continue,
                    None => {}
                }
                if self.bytes_left == Some(0) {
                    return Got::End;
                }
                let next = self.body.next().await;
                self.complete = next.is_none();
                let Some(Ok(mut bytes)) = next else { return Got::End };
                if let Some(left) = &mut self.bytes_left {
                    bytes.truncate(*left);
                    *left -= bytes.len();
                }
                let mut items = Vec::new();
                self.parser.push(&bytes, &mut items).unwrap();
                self.items.extend(items);
            }
        })
        .await
    }

    /// The next event; panics at the end of the stream, and when nothing but signs of life comes for a long time.
    pub async fn event(&mut self) -> (Seen, Cursor) {
        within("an event", async {
            loop {
                match self.next().await {
                    Got::Event(seen, at) => return (seen, at),
                    Got::Comment => {}
                    Got::End => panic!("the stream has ended"),
                }
            }
        })
        .await
    }

    /// Reads on until `found` says something of an event. Panics when the stream makes no headway for a long time, also
    /// when it goes on to say that it lives.
    pub async fn until<T>(&mut self, what: &str, mut found: impl FnMut(&Seen, &Cursor) -> Option<T>) -> T {
        let mut last = None;
        let mut since = tokio::time::Instant::now();
        loop {
            let (seen, at) = self.event().await;
            if let Some(found) = found(&seen, &at) {
                return found;
            }
            if last.as_ref() != Some(&at) {
                (last, since) = (Some(at), tokio::time::Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "waited in vain: {what}; the stream stands at {last:?}");
        }
    }

    /// Reads on until the stream says that it stands at `seq` or further, and brings `map` up to date meanwhile.
    pub async fn follow(&mut self, map: &mut Map, seq: u64) {
        self.until("the stream reaches the position", |seen, at| {
            fold(map, seen);
            (at.seq >= seq).then_some(())
        })
        .await;
    }

    /// Reads until two signs of life in a row were no bookmarks, then makes sure that nothing is said any more.
    pub async fn until_bookmarks_stop(&mut self) {
        let mut comments = 0;
        within("bookmarks stop and comments come", async {
            while comments < 2 {
                match self.next().await {
                    Got::Comment => comments += 1,
                    Got::Event(Seen::Bookmark { .. }, _) => comments = 0,
                    Got::Event(..) => {}
                    Got::End => panic!("the stream has ended"),
                }
            }
        })
        .await;
        for _ in 0..5 {
            assert_eq!(self.next().await, Got::Comment);
        }
    }

    /// The position and id of every event up to the position `seq`; bookmarks and the like are left out.
    pub async fn ids(&mut self, seq: u64) -> Vec<(u64, String)> {
        let mut ids = Vec::new();
        self.until("the stream reaches the position", |seen, at| {
            if let Seen::Revoked(value) | Seen::Lifted(value) = seen {
                ids.push((at.seq, value["id"].as_str().unwrap().to_owned()));
            }
            (at.seq >= seq).then_some(())
        })
        .await;
        ids
    }

    /// Ends the stream; the checker goes on with [`Api::resume`].
    pub fn into_promise(self) -> Promise {
        self.promise
    }
}

/// What an event means to a client's map.
pub fn fold(map: &mut Map, seen: &Seen) {
    match seen {
        Seen::Revoked(value) => {
            map.insert(value["id"].as_str().unwrap().to_owned(), value.clone());
        }
        Seen::Lifted(value) => {
            map.remove(value["id"].as_str().unwrap());
        }
        _ => {}
    }
}

// ---- a hub in this process -------------------------------------------------------------------------------------

/// A hub in this process, with a clock that the test moves.
pub struct TestHub {
    api: Api,
    pub clock: Clock,
    hub: Hub,
}

impl Deref for TestHub {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

impl TestHub {
    /// Starts a hub and waits until it is ready.
    pub async fn start(config: Config, clock: Clock) -> Self {
        let hub = Self::launch(config, clock).await;
        hub.until_ready().await;
        hub
    }

    /// Starts a hub that may not become ready.
    pub async fn launch(config: Config, clock: Clock) -> Self {
        let hub = Hub::start(config, clock.clone()).await.unwrap();
        Self { api: Api::new(hub.addresses()[0]), clock, hub }
    }

    /// Starts a hub whose interface is asked by a client of the test's own, over TLS, and waits until it is ready.
    #[allow(dead_code, reason = "for the tests of TLS")]
    pub async fn start_with_tls(config: Config, clock: Clock, http: reqwest::Client) -> Self {
        let hub = Hub::start(config, clock.clone()).await.unwrap();
        let api = Api::with(format!("https://localhost:{}", hub.addresses()[0].port()), http);
        api.until_ready().await;
        Self { api, clock, hub }
    }

    /// The hub itself.
    #[allow(dead_code, reason = "for the tests of TLS")]
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Begins to stop and waits for nothing.
    #[allow(dead_code, reason = "for the tests of the end")]
    pub fn begin_to_stop(&self) {
        self.hub.stop();
    }

    /// Stops and waits until everything has ended.
    pub async fn stop(self) {
        self.hub.stop();
        within("the hub ends", self.hub.wait()).await.unwrap();
    }
}

// ---- a hub in a process of its own -----------------------------------------------------------------------------

/// A hub in a process of its own, on the system's clock. It is killed when this is dropped.
pub struct Process {
    api: Option<Api>,
    child: Child,
    log: PathBuf,
}

impl Deref for Process {
    type Target = Api;

    fn deref(&self) -> &Api {
        self.api.as_ref().expect("it listens")
    }
}

/// How hubs end in these tests unless one says otherwise.
const SHUTDOWN: &str = "grace = \"5s\"\ndrain = \"1s\"";

impl Process {
    /// Starts `revocation-hub serve` on the place's database and waits until it is ready.
    pub async fn start(place: &Place) -> Self {
        let mut process = Self::launch(place, "", &[]);
        process.until_listening().await;
        process.until_ready().await;
        process
    }

    /// Starts `revocation-hub serve` with more settings (TOML) and arguments, and does not wait for anything.
    pub fn launch(place: &Place, settings: &str, arguments: &[&str]) -> Self {
        Self::launch_to_end(place, settings, SHUTDOWN, arguments)
    }

    /// The same with settings of its end.
    pub fn launch_to_end(place: &Place, settings: &str, shutdown: &str, arguments: &[&str]) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
        Self::spawn(program, &place.url, place, settings, shutdown, arguments)
    }

    /// The same on a database of this URL, and by a command that may have an environment or that runs the program in its own
    /// way. Of the place it needs the folder.
    #[allow(dead_code, reason = "for the tests with faults")]
    pub fn launch_by(command: Command, url: &str, place: &Place, settings: &str, arguments: &[&str]) -> Self {
        Self::spawn(command, url, place, settings, SHUTDOWN, arguments)
    }

    fn spawn(
        mut command: Command,
        url: &str,
        place: &Place,
        settings: &str,
        shutdown: &str,
        arguments: &[&str],
    ) -> Self {
        let file = place.folder.path().join(format!("{:016x}.toml", rand::random::<u64>()));
        // Tables last, because what follows a table belongs to it.
        let settings = format!(
            "listen = \"127.0.0.1:0\"\nbookmark_interval = \"100ms\"\n{settings}\n\
             [store]\npoll_interval = \"50ms\"\nprune_interval = \"50ms\"\n[shutdown]\n{shutdown}\n"
        );
        std::fs::write(&file, settings).unwrap();
        let log = file.with_extension("log");
        let output = std::fs::File::create(&log).unwrap();
        let child = command
            .args(["serve", "--config"])
            .arg(&file)
            .args(["--database-url", url])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { api: None, child, log }
    }

    /// Its configuration file.
    #[allow(dead_code, reason = "for the tests of TLS")]
    pub fn settings(&self) -> PathBuf {
        self.log.with_extension("toml")
    }

    /// Its process id.
    #[allow(dead_code, reason = "for the tests with faults")]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything it has printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until it says where it listens.
    pub async fn until_listening(&mut self) {
        let address = until("the process listens", async || {
            let printed = self.printed();
            if let Some((_, rest)) = printed.split_once("listening on http") {
                let (_, rest) = rest.split_once("://")?;
                let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:".contains(c)))?;
                return Some(rest[..end].parse().unwrap());
            }
            assert_eq!(self.child.try_wait().unwrap(), None, "ended: {printed}");
            None
        })
        .await;
        self.api = Some(Api::new(address));
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -\"$1\" \"$2\"", "sh", name, &pid]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits until the process ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        until("the process ends", async || self.child.try_wait().unwrap()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// ---- revocations -----------------------------------------------------------------------------------------------

/// A token revocation that lives for an hour of the system's clock or a manual one.
pub fn token(jti: impl std::fmt::Display) -> Value {
    json!({"jti": jti.to_string(), "iss": "https://sts.example", "ttl": 3600})
}

/// A token revocation with this expiry.
pub fn token_until(jti: impl std::fmt::Display, exp: i64) -> Value {
    json!({"jti": jti.to_string(), "iss": "https://sts.example", "exp": exp})
}
