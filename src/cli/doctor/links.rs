//! The other systems of `[[sources]]`, `[[outlets]]` and `[proxy]`: whether they can be reached and let us in.
//!
//! Nothing is declared, consumed or sent. What cannot be asked without making it (a topic over AMQP 1.0) is not asked.

use std::time::Duration;

use lapin::Connection;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{ErrorKind, ExchangeKind};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde_json::json;

use super::report::Check;
use crate::brokers::amqp::{Broker, answered, is_missing};
use crate::brokers::dial::Route;
use crate::brokers::{amqp1, stomp};
use crate::config::{Outlet, OutletKind, Proxy, Secret, ServerUrl, Source, SourceKind};
use crate::tls::client::Outward;

/// The exchange of topics that every AMQP 0-9-1 broker has.
const EXCHANGE: &str = "amq.topic";
/// How long a connection over HTTP may take, and the whole of an answer's head.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);

const BROKER: &str = "see that the broker runs there, that the user, the password and the virtual host (the URL's path) are \
                      right, and, with TLS, that its certificate is of ca_file and for this name";
const SERVER: &str = "see that it runs there and that a firewall lets this machine through; with TLS, that its certificate is of \
                      ca_file (or of the system's authorities) and for this name";

/// Looks at a source that connects; those that serve are looked at when somebody calls them.
pub async fn source(source: &Source, check: &mut Check) {
    let kind = source.kind;
    for url in &source.url {
        match kind {
            SourceKind::Amqp => {
                let (exchange, queue) = (source.exchange.as_deref(), source.queue.as_deref());
                amqp(one(&source.into(), url), exchange, queue, check).await;
            }
            SourceKind::Amqp1 => amqp1(one(&source.into(), url), check).await,
            SourceKind::Stomp => stomp(one(&source.into(), url), check).await,
            SourceKind::Wso2Snapshot => {
                let path = |url: &mut Url| {
                    if !url.path().ends_with("/revokedjwt") {
                        let path = format!("{}/revokedjwt", url.path().trim_end_matches('/'));
                        url.set_path(&path);
                    }
                };
                let request = request(Method::GET, url, &source.tls(), path);
                let login = |request: RequestBuilder| basic(request, source.username.as_ref(), &source.password);
                operation(url, request.map(login), check).await;
            }
            SourceKind::SsfPoll => {
                // Asks for no events (RFC 8936 §2.2), which acknowledges none.
                let poll = json!({"maxEvents": 0, "returnImmediately": true});
                let request = request(Method::POST, url, &source.tls(), |_| {});
                operation(url, request.map(|r| bearer(r, &source.bearer).json(&poll)), check).await;
            }
            _ => {}
        }
    }
    if let Some(path) = source.serves() {
        check.ok(format!("serves {path}; `revocation-hub source test {}` sends it a sample", kind.name()));
    }
}

/// Looks at an outlet.
pub async fn outlet(outlet: &Outlet, check: &mut Check) {
    for url in &outlet.url {
        match outlet.kind {
            OutletKind::Amqp => amqp(one(&outlet.into(), url), outlet.exchange.as_deref(), None, check).await,
            OutletKind::Amqp1 => amqp1(one(&outlet.into(), url), check).await,
            OutletKind::Stomp => stomp(one(&outlet.into(), url), check).await,
            // To call the operation would be to tell it something.
            OutletKind::Apim => reachable(url, &outlet.tls(), check).await,
        }
    }
}

/// Looks at the control plane.
pub async fn proxy(proxy: &Proxy, url: &ServerUrl, check: &mut Check) {
    reachable(url, &Outward { ca_file: proxy.ca_file.clone(), ..Outward::default() }, check).await;
}

/// The way to one of several addresses: each has to work on the day the others do not.
fn one(route: &Route, url: &ServerUrl) -> Route {
    Route { urls: vec![url.clone()], ..route.clone() }
}

async fn amqp(route: Route, exchange: Option<&str>, queue: Option<&str>, check: &mut Check) {
    let Route { urls, username, password, tls } = route;
    let place = urls[0].to_string();
    let broker = Broker::new("revocation-hub doctor".into(), urls, username, password, tls);
    let connected = match broker.connect().await {
        Ok(connected) => connected,
        Err(error) => return check.failed(format!("{place}: {error:#}"), BROKER),
    };
    check.ok(format!("{place} lets us in as {}", connected.login));
    let exchange = exchange.unwrap_or(EXCHANGE);
    let options = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
    let found = declare(&connected.connection, async |channel| {
        channel.exchange_declare(exchange.into(), ExchangeKind::Topic, options, FieldTable::default()).await
    });
    existing(&format!("the exchange {exchange}"), found.await.map(|()| String::new()), check);
    if let Some(queue) = queue {
        let options = QueueDeclareOptions { passive: true, durable: true, ..QueueDeclareOptions::default() };
        let found = declare(&connected.connection, async |channel| {
            channel.queue_declare(queue.into(), options, FieldTable::default()).await
        });
        let found = found.await.map(|queue| {
            format!(", with {} messages waiting and {} consumers", queue.message_count(), queue.consumer_count())
        });
        existing(&format!("the queue {queue}"), found, check);
    }
    let _ = answered("closing", connected.connection.close(200, "".into())).await;
}

/// Asks on a channel of its own, because a broker that says no closes it.
async fn declare<T>(
    connection: &Connection,
    ask: impl AsyncFnOnce(&lapin::Channel) -> lapin::Result<T>,
) -> anyhow::Result<T> {
    let channel = answered("opening a channel", connection.create_channel()).await?;
    answered("asking the broker", ask(&channel)).await
}

fn existing(what: &str, found: anyhow::Result<String>, check: &mut Check) {
    match found {
        Ok(more) => check.ok(format!("{what} is there{more}")),
        Err(error) if is_missing(&error) => check.warning(
            format!("{what} is not there"),
            "the hub makes it when it connects, if it may; see that the other side uses the same name",
        ),
        Err(error) if is_refused(&error) => check.failed(
            format!("this user may not see {what}: {error:#}"),
            "give it the permissions configure, read and write on it in this virtual host",
        ),
        Err(error) => check.failed(format!("{what}: {error:#}"), "the broker's log says more"),
    }
}

/// Whether the broker said 403, ACCESS_REFUSED.
fn is_refused(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<lapin::Error>().map(lapin::Error::kind);
    matches!(kind, Some(ErrorKind::ProtocolError(error)) if error.get_id() == 403)
}

async fn amqp1(route: Route, check: &mut Check) {
    let place = route.urls[0].to_string();
    // A name of its own: a second container with the name of the hub's would be thrown out, or throw it out.
    let name = format!("revocation-hub-doctor-{:08x}", rand::random::<u32>());
    match amqp1::open(&route, &name).await {
        Ok(_) => check.ok(format!("{place} lets us in; to ask for the address could make it, so that is left out")),
        Err(error) => check.failed(format!("{place}: {error:#}"), BROKER),
    }
}

async fn stomp(route: Route, check: &mut Check) {
    let place = route.urls[0].to_string();
    match stomp::connection::Connection::open(&route, None, 1).await {
        Ok(_) => check.ok(format!("{place} lets us in; to ask for the destination could make it, so that is left out")),
        Err(error) => check.failed(format!("{place}: {error:#}"), BROKER),
    }
}

fn request(
    method: Method,
    url: &ServerUrl,
    tls: &Outward,
    adapt: impl FnOnce(&mut Url),
) -> anyhow::Result<RequestBuilder> {
    let Ok(mut parsed) = url.expose().parse::<Url>() else { anyhow::bail!("the url cannot be read") };
    adapt(&mut parsed);
    let builder = Client::builder()
        .connect_timeout(CONNECT)
        .timeout(ANSWER)
        // The credentials are for that address and no other.
        .redirect(reqwest::redirect::Policy::none());
    Ok(tls.http(builder)?.build()?.request(method, parsed))
}

fn basic(request: RequestBuilder, username: Option<&String>, password: &Secret) -> RequestBuilder {
    match username {
        Some(username) => request.basic_auth(username, Some(password.expose())),
        None => request,
    }
}

fn bearer(request: RequestBuilder, token: &Secret) -> RequestBuilder {
    if token.is_empty() { request } else { request.bearer_auth(token.expose()) }
}

async fn send(request: anyhow::Result<RequestBuilder>) -> anyhow::Result<Response> {
    // The URL may hold a password.
    request?.send().await.map_err(|error| error.without_url().into())
}

/// An operation that may be called.
async fn operation(url: &ServerUrl, request: anyhow::Result<RequestBuilder>, check: &mut Check) {
    match send(request).await {
        Ok(answer) if answer.status().is_success() => check.ok(format!("{url} answers with {}", answer.status())),
        Ok(answer) if matches!(answer.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => check.failed(
            format!("{url} does not let us in: {}", answer.status()),
            "see that the credentials of this source are those that it expects",
        ),
        Ok(answer) => {
            check.failed(format!("{url} answers with {}", answer.status()), "see that the url is the right one")
        }
        Err(error) => check.failed(format!("{url}: {error:#}"), SERVER),
    }
}

/// An address at which nothing may be called: any answer shows that it is there.
async fn reachable(url: &ServerUrl, tls: &Outward, check: &mut Check) {
    match send(request(Method::HEAD, url, tls, |_| {})).await {
        Ok(answer) if answer.status().is_server_error() => check.warning(
            format!("{url} answers with {}", answer.status()),
            "see what is wrong there; what it is for was not tried, because that would change something",
        ),
        Ok(_) => check.ok(format!("{url} answers; what it is for is not tried, because that would change something")),
        Err(error) => check.failed(format!("{url}: {error:#}"), SERVER),
    }
}
