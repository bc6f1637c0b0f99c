//! The wire to a broker: TCP with signs of life below AMQP's own, and TLS when the URL says so.

use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lapin::AsyncTcpStream;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use parking_lot::Mutex;
use socket2::{SockRef, TcpKeepalive};

use crate::tls::client::Outward;

/// What was sent and is not acknowledged by the other machine within this ends the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);

/// A connection without a sign of life for this long is asked for one, and given up after three that went unanswered.
/// Heartbeats say more, since a machine can live whose broker does not; this is for brokers that know none.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(5), 3);

/// A wire that is not open yet.
pub struct Wire {
    tls: Option<RustlsConnector>,
    socket: Arc<Mutex<Option<TcpStream>>>,
}

/// Cuts the wire when it is dropped, unless it was disarmed. The library has a thread that waits for the broker; when we
/// stop waiting it would go on for as long as the broker holds the connection open and says nothing.
pub struct Guard(Arc<Mutex<Option<TcpStream>>>);

impl Guard {
    /// From now on heartbeats watch over the connection.
    pub fn disarm(self) {
        self.0.lock().take();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(socket) = self.0.lock().take() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Wire {
    /// Reads the certificates.
    pub fn new(uri: &AMQPUri, tls: &Outward) -> anyhow::Result<Self> {
        let tls = match uri.scheme {
            AMQPScheme::AMQP => None,
            AMQPScheme::AMQPS => {
                let trusted = match tls.authorities().context("ca_file")? {
                    None => RustlsConnectorConfig::new_with_platform_verifier(),
                    Some(authorities) => RustlsConnectorConfig::default().with_parsable_certificates(authorities),
                };
                Some(match tls.shown().context("certificate_file")? {
                    None => trusted.connector_with_no_client_auth()?,
                    Some((chain, key)) => {
                        trusted.connector_with_single_cert(chain, key).context("the certificate cannot be shown")?
                    }
                })
            }
        };
        Ok(Self { tls, socket: Arc::default() })
    }

    /// What cuts the wire when it is not wanted any more.
    pub fn guard(&self) -> Guard {
        Guard(self.socket.clone())
    }

    /// Prepares the socket of a connection that has just been made.
    pub fn prepare(&self, tcp: &tokio::net::TcpStream) -> std::io::Result<()> {
        let socket = SockRef::from(tcp);
        let (idle, every, times) = KEEPALIVE;
        let keepalive = TcpKeepalive::new().with_time(idle).with_interval(every).with_retries(times);
        socket.set_tcp_keepalive(&keepalive)?;
        socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
        *self.socket.lock() = Some(socket.try_clone()?.into());
        Ok(())
    }

    /// TLS over a connection, when the URL says so.
    pub async fn secure<S>(&self, stream: AsyncTcpStream<S>, host: &str) -> std::io::Result<AsyncTcpStream<S>>
    where
        S: futures_util::io::AsyncRead + futures_util::io::AsyncWrite + Send + Unpin + 'static,
    {
        match &self.tls {
            Some(connector) => stream.into_rustls(connector, host).await,
            None => Ok(stream),
        }
    }
}
