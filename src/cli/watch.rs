//! `revocation-hub watch`: follows the event stream, across cuts, and checks that its promises are kept.

use std::str::FromStr;
use std::time::Duration;

use futures_util::StreamExt as _;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::client::{Client, Connection, RequestError};
use super::output::{self, Status};
use super::promise::{Promise, Seen, Start};
use super::sse::{Event, Item, Parser};
use crate::revocation::{Cursor, InvalidCursor};

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
Every event is checked against what the hub promises: positions only rise, no event is without a cursor, a stream \
starts where it was asked to, a bookmark is never behind what was delivered, and another log is announced by `reset`. \
The first promise that is broken ends the command with exit code 70 and says which.

When the stream ends, the command comes back with its cursor and misses nothing. On `reset` it loads the snapshot and \
goes on from there. It runs until it is interrupted, what `--until-jti` waits for has come, or the hub refuses it (exit \
code 1).

On a terminal, the last line shows where the stream is and how long ago the hub said that it is current.

Examples:
  revocation-hub watch
  revocation-hub watch --since earliest          all live revocations first
  revocation-hub watch --since aaaaaaaa-42 --json | jq .data.jti
  revocation-hub watch --since earliest --until-jti 4f6d2a19";

/// Options of `watch`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Start after this cursor, or with all live revocations [default: with what comes next]
    #[arg(long, value_name = "CURSOR|earliest")]
    since: Option<Since>,
    /// End, with success, when this token is revoked; for tests of a whole installation
    #[arg(long, value_name = "JTI")]
    until_jti: Option<String>,
    /// Print one JSON object per event: {"event","id","data"}
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print bookmarks too, the hub's regular "you are current"
    #[arg(long, help_heading = "Output")]
    bookmarks: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Debug)]
struct Since(Start);

impl FromStr for Since {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        Ok(Self(if text == "earliest" { Start::Earliest } else { Start::After(text.parse()?) }))
    }
}

/// A silent stream is dead: the hub says something every few seconds while its store answers, and coming back does no
/// harm when it does not.
const SILENCE: Duration = Duration::from_secs(60);
const FIRST_RETRY: Duration = Duration::from_secs(2);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// Follows the stream; returns when what it was to wait for has come, or with an error.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let start = args.since.map_or(Start::Now, |since| since.0);
    let mut watch = Watch {
        client,
        json: args.json,
        bookmarks: args.bookmarks,
        until_jti: args.until_jti,
        promise: Promise::new(start),
        status: Status::new(),
        retry: FIRST_RETRY,
        failures: 0,
        events: 0,
        head: 0,
        current: None,
    };
    loop {
        let (reason, asked) = match watch.stream().await? {
            End::Arrived => return Ok(()),
            End::Cut(reason) => (reason, None),
            End::Away(error) => (error.to_string(), error.retry_after()),
            End::Reset => match watch.reload().await {
                Ok(()) => continue,
                Err(error) if error.is_transient() => (error.to_string(), error.retry_after()),
                Err(error) => return Err(error.into()),
            },
        };
        let pause = watch.pause(asked);
        watch.wait(&reason, pause).await;
        watch.promise.reconnect();
    }
}

/// How a stream ended, when going on makes sense.
enum End {
    /// What it was to wait for has come.
    Arrived,
    /// It was open.
    Cut(String),
    /// It did not open.
    Away(RequestError),
    /// The cursor means nothing any more.
    Reset,
}

struct Watch {
    client: Client,
    json: bool,
    bookmarks: bool,
    until_jti: Option<String>,
    promise: Promise,
    status: Status,
    /// What the server last asked to wait between streams.
    retry: Duration,
    /// Streams in a row that brought nothing.
    failures: u32,
    events: u64,
    head: u64,
    /// When the hub last said that we are current.
    current: Option<Instant>,
}

impl Watch {
    async fn stream(&mut self) -> anyhow::Result<End> {
        let mut request = self.client.endless(Method::GET, "/v1/events").header(ACCEPT, "text/event-stream");
        request = match self.promise.start() {
            Start::Now => request,
            Start::Earliest => request.query(&[("since", "earliest")]),
            Start::After(cursor) => request.header("Last-Event-ID", cursor.to_string()),
        };
        let response = match tokio::time::timeout(SILENCE, self.client.send(request)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_transient() => return Ok(End::Away(error)),
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => return Ok(End::Cut(format!("no answer for {} s", SILENCE.as_secs()))),
        };
        let kind = response.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        // Something else that answers at this address would be "a stream without events" for ever.
        let is_stream = kind.to_ascii_lowercase().starts_with("text/event-stream");
        anyhow::ensure!(is_stream, "{} answers with {:?} instead of an event stream", self.client.base(), kind);
        let mut body = response.bytes_stream();
        let mut parser = Parser::new();
        let mut items = Vec::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut heard = Instant::now();
        loop {
            let bytes = tokio::select! {
                bytes = body.next() => bytes,
                _ = tick.tick() => {
                    if heard.elapsed() > SILENCE {
                        return Ok(End::Cut(format!("the stream was silent for {} s", SILENCE.as_secs())));
                    }
                    self.show();
                    continue;
                }
            };
            let bytes = match bytes {
                Some(Ok(bytes)) => bytes,
                Some(Err(error)) => return Ok(End::Cut(self.client.unreachable(&error).to_string())),
                None => return Ok(End::Cut("the stream ended".into())),
            };
            heard = Instant::now();
            parser.push(&bytes, &mut items)?;
            for item in items.drain(..) {
                match item {
                    Item::Retry(wait) => self.retry = wait.min(MAX_RETRY),
                    Item::Comment => {}
                    Item::Event(event) => {
                        if let Some(end) = self.event(&event)? {
                            return Ok(end);
                        }
                    }
                }
            }
        }
    }

    /// Checks and prints one event, which may be the last one of this stream.
    fn event(&mut self, event: &Event) -> anyhow::Result<Option<End>> {
        let seen = self.promise.check(event)?;
        let line = match &seen {
            Seen::Hello { cursor, head } => {
                self.head = *head;
                Some(format!("hello    the stream starts at {cursor}, the head is {head}"))
            }
            Seen::Revoked(value) => Some(format!("revoked  {}", output::describe(value))),
            Seen::Lifted(value) => Some(format!("lifted   {}", output::describe(value))),
            Seen::Synced { head } => {
                self.is_current(*head);
                Some(format!("synced   everything up to {head} is here"))
            }
            Seen::Bookmark { head } => {
                self.is_current(*head);
                self.bookmarks.then(|| format!("bookmark everything up to {head} is here"))
            }
            Seen::Reset { reason } => Some(format!("reset    {}", output::plain(reason))),
            Seen::Unknown => None,
        };
        if !matches!(seen, Seen::Reset { .. }) {
            // A stream that brought something is no failure; one reset after the other is.
            self.failures = 0;
        }
        if matches!(seen, Seen::Revoked(_) | Seen::Lifted(_)) {
            self.events += 1;
        }
        let silent = matches!(seen, Seen::Bookmark { .. }) && !self.bookmarks;
        self.status.clear();
        if self.json && !silent {
            let data = serde_json::from_str(&event.data).unwrap_or_else(|_| Value::from(event.data.as_str()));
            output::line(&json!({"event": event.name, "id": event.id, "data": data}).to_string())?;
        } else if let (false, Some(line)) = (self.json, line) {
            output::line(&line)?;
        }
        self.show();
        Ok(match seen {
            Seen::Reset { .. } => Some(End::Reset),
            Seen::Revoked(value) if self.until_jti.as_deref().is_some_and(|jti| value["jti"] == jti) => {
                Some(End::Arrived)
            }
            _ => None,
        })
    }

    fn is_current(&mut self, head: u64) {
        self.head = head;
        self.current = Some(Instant::now());
    }

    /// Loads the snapshot and goes on from its cursor.
    async fn reload(&mut self) -> Result<(), RequestError> {
        #[derive(Deserialize)]
        struct Snapshot {
            cursor: String,
            revocations: Vec<serde::de::IgnoredAny>,
        }
        self.failures += 1;
        if self.failures > 1 {
            let pause = self.pause(None);
            tokio::time::sleep(pause).await;
        }
        let response = self.client.send(self.client.endless(Method::GET, "/v1/revocations")).await?;
        let snapshot: Snapshot = response.json().await.map_err(|e| self.client.unreachable(&e))?;
        let unreadable = |e: InvalidCursor| RequestError::Unavailable { message: e.to_string(), retry_after: None };
        let cursor: Cursor = snapshot.cursor.parse().map_err(unreadable)?;
        let count = snapshot.revocations.len();
        self.status.clear();
        let line = if self.json {
            json!({"event": "snapshot", "id": cursor.to_string(), "data": {"revocations": count}}).to_string()
        } else {
            format!("snapshot {count} live revocations at {cursor}; going on from there")
        };
        // Whoever has closed our output is noticed at the next event.
        let _ = output::line(&line);
        self.promise.restart(cursor);
        Ok(())
    }

    /// How long to wait: what the hub asked for, else its `retry:`, longer with every failure, and never the same for
    /// all clients.
    fn pause(&self, asked: Option<Duration>) -> Duration {
        let base = asked.unwrap_or_else(|| (self.retry * 2u32.pow(self.failures.min(5))).min(MAX_RETRY));
        base.mul_f64(rand::random_range(1.0..1.5))
    }

    async fn wait(&mut self, reason: &str, pause: Duration) {
        self.failures += 1;
        let from = self.promise.cursor().map_or_else(String::new, |cursor| format!(" from {cursor}"));
        self.status.note(&format!("{reason}; going on{from} in {:.1} s", pause.as_secs_f64()));
        tokio::time::sleep(pause).await;
    }

    fn show(&mut self) {
        let current = match self.current {
            Some(at) => format!("current {} s ago", at.elapsed().as_secs()),
            None => "not yet current".into(),
        };
        let cursor = self.promise.cursor().map_or_else(|| "-".into(), Cursor::to_string);
        self.status.show(&format!("at {cursor} · head {} · {current} · {} events", self.head, self.events));
    }
}
