//! The wire to a broker: TCP with signs of life below AMQP's own, and TLS when the URL says so.

use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lapin::AsyncTcpStream;
use lapin::tcp::{RustlsConnector, RustlsConnectorConfig};
use lapin::uri::{AMQPScheme, AMQPUri};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use socket2::{SockRef, TcpKeepalive};

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
    pub fn new(uri: &AMQPUri, ca_file: Option<&Path>) -> anyhow::Result<Self> {
        let tls = match (&uri.scheme, ca_file) {
            (AMQPScheme::AMQP, _) => None,
            (AMQPScheme::AMQPS, None) => {
                Some(RustlsConnectorConfig::new_with_platform_verifier().connector_with_no_client_auth()?)
            }
            (AMQPScheme::AMQPS, Some(file)) => {
                let context = || format!("ca_file: cannot read certificates from {}", file.display());
                let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).with_context(context)?.collect();
                let found = found.with_context(context)?;
                anyhow::ensure!(!found.is_empty(), "ca_file: there is no certificate in {}", file.display());
                let trusted = RustlsConnectorConfig::default().with_parsable_certificates(found);
                Some(trusted.connector_with_no_client_auth().with_context(context)?)
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
