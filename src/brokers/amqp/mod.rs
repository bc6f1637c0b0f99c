//! AMQP 0-9-1: what the source and the outlet share, which is how to get to a broker.
//!
//! The library's own recovery stays off: [`crate::link::keep_up`] makes one session after the other, so that nothing is
//! ever replayed on a connection that is not the one it was meant for.

pub mod address;
mod wire;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use async_rs::{Runtime, Tokio};
use lapin::options::ExchangeDeclareOptions;
use lapin::tcp::AMQPUriTcpExt as _;
use lapin::types::{AMQPValue, FieldTable};
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties, ErrorKind, ExchangeKind};

use crate::config::{Secret, ServerUrl};
use crate::tls::client::Outward;

/// How long an address may take until it is connected and signed in.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a machine may take to accept the connection.
const OPEN: Duration = Duration::from_secs(5);

/// How long the broker may take to answer one request of ours.
pub const ANSWER: Duration = Duration::from_secs(10);

/// The way to one broker, at one or several addresses.
pub struct Broker {
    /// What is connected, as the broker's operators see it.
    pub name: String,
    /// The addresses, tried in turn.
    pub urls: Vec<ServerUrl>,
    /// Who we are, when the URL does not say so.
    pub username: Option<String>,
    /// The password, when the URL has none.
    pub password: Secret,
    /// Whom we believe there and what we show, when that is TLS.
    pub tls: Outward,
    /// Which address is tried first: the last one that worked, so that a session that ends is not always followed by an
    /// attempt at a machine that has been gone for a week.
    next: AtomicUsize,
}

/// A connection, and as whom it was made.
pub struct Connected {
    /// The connection; it ends when this is dropped.
    pub connection: Connection,
    /// The user name.
    pub login: String,
}

impl Broker {
    /// A way that nobody has gone yet.
    pub fn new(name: String, urls: Vec<ServerUrl>, username: Option<String>, password: Secret, tls: Outward) -> Self {
        Self { name, urls, username, password, tls, next: AtomicUsize::new(0) }
    }

    /// Connects to the first address that answers. Bounded by 10 s for each.
    pub async fn connect(&self) -> anyhow::Result<Connected> {
        let first = self.next.load(Ordering::Relaxed);
        let mut last = None;
        for turn in 0..self.urls.len() {
            let at = (first + turn) % self.urls.len();
            match self.try_one(&self.urls[at]).await {
                Ok(connected) => {
                    self.next.store(at, Ordering::Relaxed);
                    return Ok(connected);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no address")))
    }

    async fn try_one(&self, url: &ServerUrl) -> anyhow::Result<Connected> {
        let uri = address::read(url, self.username.as_deref(), &self.password)?;
        let login = uri.authority.userinfo.username.clone();
        let place = format!("{}:{}", uri.authority.host, uri.authority.port);
        let wire = wire::Wire::new(&uri, &self.tls)?;
        // Whoever gives up on the way, also by being dropped, must not leave the library's thread waiting for an answer.
        let guard = wire.guard();
        let runtime = lapin::runtime::default_runtime()?;
        let open = async move |uri: AMQPUri, runtime: Runtime<Tokio>| {
            // The library's own way to TLS trusts the system's certificates whatever else it is given.
            let plain = AMQPUri { scheme: AMQPScheme::AMQP, ..uri.clone() };
            let stream = tokio::time::timeout(OPEN, plain.connect_async(&runtime)).await;
            let stream = stream.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if let AsyncTcpStream::Plain(tcp) = &stream {
                wire.prepare(tcp.get_ref())?;
            }
            Ok(wire.secure(stream, &uri.authority.host).await?)
        };
        let connecting = Connection::connector(uri, runtime, open, self.properties());
        let connection = tokio::time::timeout(PATIENCE, connecting)
            .await
            .with_context(|| format!("{place} did not answer in time"))?
            .with_context(|| format!("cannot connect to {place}"))?;
        guard.disarm();
        Ok(Connected { connection, login })
    }

    fn properties(&self) -> ConnectionProperties {
        let mut properties = ConnectionProperties::default().with_connection_name(self.name.as_str().into());
        for (key, value) in [("product", "revocation-hub"), ("version", env!("CARGO_PKG_VERSION"))] {
            properties = properties.with_client_property(key.into(), value.into());
        }
        properties
    }
}

/// Waits for an answer of the broker, but not for ever.
pub async fn answered<T>(what: &str, answer: impl Future<Output = lapin::Result<T>>) -> anyhow::Result<T> {
    let answer = tokio::time::timeout(ANSWER, answer).await;
    answer.with_context(|| format!("no answer in time: {what}"))?.with_context(|| what.to_owned())
}

/// A header of a message, when it is a text.
pub fn header<'a>(headers: &'a FieldTable, name: &str) -> Option<&'a str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

/// The exchange may be of any type, and what is there may not be ours to declare (`amq.topic` on the WSO2 broker), so it is
/// made only when it is missing.
pub async fn ensure_exchange(connection: &Connection, exchange: &str) -> anyhow::Result<()> {
    let declare = async |passive| {
        let channel = answered("opening a channel", connection.create_channel()).await?;
        let options = ExchangeDeclareOptions { passive, durable: true, ..ExchangeDeclareOptions::default() };
        let declared = channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default());
        answered(&format!("declaring the exchange {exchange}"), declared).await
    };
    match declare(true).await {
        Err(error) if is_missing(&error) => declare(false).await,
        other => other,
    }
}

/// Whether the broker said 404, NOT_FOUND. It has closed the channel then.
pub fn is_missing(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(ErrorKind::ProtocolError(error)) if error.get_id() == 404)
}
