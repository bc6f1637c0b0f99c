//! The way to a broker: its address from the URL, TCP, and TLS where the scheme asks for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use percent_encoding::percent_decode_str;
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::{Outlet, Secret, ServerUrl, Source};
use crate::tls::client::Outward;

/// How long an address may take to answer, TLS included.
const PATIENCE: Duration = Duration::from_secs(10);

/// How to get to a broker, and who we are there.
#[derive(Clone, Debug)]
pub struct Route {
    /// Addresses, tried in turn.
    pub urls: Vec<ServerUrl>,
    /// When the URL does not say it.
    pub username: Option<String>,
    /// When the URL does not say it.
    pub password: Secret,
    /// Whom we believe there and what we show, when that is TLS.
    pub tls: Outward,
}

impl From<&Source> for Route {
    fn from(source: &Source) -> Self {
        Self {
            urls: source.url.clone(),
            username: source.username.clone(),
            password: source.password.clone(),
            tls: source.tls(),
        }
    }
}

impl From<&Outlet> for Route {
    fn from(outlet: &Outlet) -> Self {
        Self {
            urls: outlet.url.clone(),
            username: outlet.username.clone(),
            password: outlet.password.clone(),
            tls: outlet.tls(),
        }
    }
}

/// What a connection is made of.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + std::fmt::Debug> Wire for T {}

/// A connection to a broker on which nothing was said yet.
#[derive(Debug)]
pub struct Dialled {
    /// The connection.
    pub wire: Box<dyn Wire>,
    /// The host's name.
    pub host: String,
    /// The path of the URL without its slash, decoded; many protocols name a virtual host so.
    pub path: String,
    /// Who we are, if that was said.
    pub login: Option<(String, Secret)>,
}

/// The ports of a scheme: without TLS and with.
pub type Ports = (u16, u16);

impl Route {
    /// Connects to the first address that answers. The errors name addresses and never passwords.
    pub async fn dial(&self, ports: Ports) -> anyhow::Result<Dialled> {
        let mut last = None;
        for url in &self.urls {
            match tokio::time::timeout(PATIENCE, self.dial_one(url, ports)).await {
                Ok(Ok(dialled)) => return Ok(dialled),
                Ok(Err(error)) => last = Some(error.context(format!("cannot reach {url}"))),
                Err(_) => last = Some(anyhow::anyhow!("{url} does not answer within {PATIENCE:?}")),
            }
        }
        Err(last.unwrap_or_else(|| anyhow::anyhow!("there is no address to connect to")))
    }

    async fn dial_one(&self, url: &ServerUrl, ports: Ports) -> anyhow::Result<Dialled> {
        // What the parser complains about may be in the password, so it is not repeated.
        let Ok(url) = Url::parse(url.expose()) else { bail!("the URL cannot be understood") };
        let Some(host) = url.host_str() else { bail!("the URL names no host") };
        let tls = matches!(url.scheme(), "amqps" | "stomp+ssl");
        let port = url.port().unwrap_or(if tls { ports.1 } else { ports.0 });
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        stream.set_nodelay(true)?;
        let wire: Box<dyn Wire> = if tls {
            let name = ServerName::try_from(host.clone()).context("the host's name cannot stand in a certificate")?;
            let connector = TlsConnector::from(Arc::new(self.tls.config()?));
            Box::new(connector.connect(name, stream).await.context("no TLS")?)
        } else {
            Box::new(stream)
        };
        let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let password = match url.password() {
            Some(password) => Secret::new(decoded(password)),
            None => self.password.clone(),
        };
        let username = if url.username().is_empty() { self.username.clone() } else { Some(decoded(url.username())) };
        Ok(Dialled {
            wire,
            path: decoded(url.path().trim_start_matches('/')),
            login: username.map(|username| (username, password)),
            host,
        })
    }
}
