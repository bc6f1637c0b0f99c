//! Handshakes: from a connection that was accepted to one on which HTTP is spoken.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::{AlertDescription, CertificateError, ServerConfig};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::server::Identity;
use crate::http::flow::Paced;
use crate::metrics::Metrics;

/// The first byte of every TLS connection: a record of the type `handshake` (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;

/// Bytes that a connection may hold which are encrypted and not sent: two records. What does not fit waits where it is shared.
const UNSENT: usize = 32 << 10;

/// A reason is logged so often at the most. Whoever knocks must not fill the log.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// Why a handshake did not succeed.
#[derive(Debug)]
struct Failure {
    reason: &'static str,
    detail: String,
}

impl Failure {
    fn new(reason: &'static str, detail: impl fmt::Display) -> Self {
        Self { reason, detail: detail.to_string() }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        let reason = match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            None => "closed",
            Some(rustls::Error::NoCertificatesPresented) => "no_client_certificate",
            Some(rustls::Error::InvalidCertificate(
                CertificateError::Expired | CertificateError::ExpiredContext { .. },
            )) => "client_certificate_expired",
            Some(rustls::Error::InvalidCertificate(_)) => "client_certificate_refused",
            Some(rustls::Error::AlertReceived(alert)) if is_of_certificate(*alert) => "certificate_refused",
            Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => "nothing_in_common",
            Some(rustls::Error::AlertReceived(_)) => "closed",
            Some(_) => "invalid",
        };
        Self::new(reason, error)
    }
}

/// What a client says that does not like our certificate (RFC 8446 §6.2).
fn is_of_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}

/// Speaks TLS on the connections of a listener.
pub struct Acceptor {
    current: RwLock<Arc<ServerConfig>>,
    patience: Duration,
    metrics: Arc<Metrics>,
    logged: Mutex<HashMap<&'static str, Instant>>,
}

impl Acceptor {
    /// An acceptor that gives up after `patience`.
    pub fn new(identity: &Identity, patience: Duration, metrics: Arc<Metrics>) -> Arc<Self> {
        let current = RwLock::new(identity.config.clone());
        Arc::new(Self { current, patience, metrics, logged: Mutex::default() })
    }

    /// Handshakes that begin from here on show this. What is open goes on as it is.
    pub fn renew(&self, identity: &Identity) {
        *self.current.write() = identity.config.clone();
    }

    /// A handshake. `None`, counted, when it did not succeed.
    pub async fn accept(&self, stream: Paced, peer: SocketAddr) -> Option<TlsStream<Paced>> {
        let failure = match timeout(self.patience, self.try_accept(stream)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(failure)) => failure,
            Err(_) => Failure::new("timeout", format_args!("no handshake within {:?}", self.patience)),
        };
        let Failure { reason, detail } = failure;
        self.metrics.tls_handshakes_failed.with_label_values(&[reason]).inc();
        // Balancers that only look whether somebody listens are no news.
        if reason != "closed" && self.is_news(reason) {
            tracing::warn!(%peer, reason, "no TLS with a client: {detail}");
        } else {
            tracing::debug!(%peer, reason, "no TLS with a client: {detail}");
        }
        None
    }

    async fn try_accept(&self, stream: Paced) -> Result<TlsStream<Paced>, Failure> {
        // Whoever speaks HTTP here gets no byte, as an alert would be one that it might take for an answer.
        match stream.first_byte().await? {
            Some(HANDSHAKE) => {}
            Some(_) => return Err(Failure::new("not_tls", "the first byte is not one of TLS; is it plain HTTP?")),
            None => return Err(Failure::new("closed", "closed before the first byte")),
        }
        let acceptor = TlsAcceptor::from(self.current.read().clone());
        Ok(acceptor.accept_with(stream, |session| session.set_buffer_limit(Some(UNSENT))).await?)
    }

    fn is_news(&self, reason: &'static str) -> bool {
        let (now, mut logged) = (Instant::now(), self.logged.lock());
        let is_news = logged.get(reason).is_none_or(|at| now.duration_since(*at) >= LOG_EVERY);
        if is_news {
            logged.insert(reason, now);
        }
        is_news
    }
}
