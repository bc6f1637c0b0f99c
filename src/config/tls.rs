//! `[tls]`: what the hub shows to those who connect, and what they have to show. `[admin]`: a listener of its own for those
//! who look after the hub.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::{duration, listen};

/// TLS on the addresses of `listen`. Off while no certificate is named.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The hub's certificate and those that lead to its authority (PEM), the hub's own first.
    pub certificate_file: Option<PathBuf>,
    /// The private key of the certificate (PEM, not encrypted).
    pub key_file: Option<PathBuf>,
    /// The authorities (PEM) whose certificates clients may show. Without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// Whether clients have to show one.
    pub client_certificates: ClientCertificates,
    /// How long a handshake may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub handshake_timeout: Duration,
}

/// A listener for those who look after the hub. Off while it has no address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Where it listens.
    #[serde(deserialize_with = "listen::deserialize")]
    pub listen: Vec<SocketAddr>,
    /// Whether it speaks TLS; as `listen` does when absent.
    pub tls: Option<bool>,
    /// Open connections to it.
    pub max_connections: usize,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Vec::new(), tls: None, max_connections: 100 }
    }
}

/// Whether clients have to show a certificate of `client_ca_file`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// Those who have none are let in and show other credentials.
    #[default]
    Optional,
    /// Without one there is no connection.
    Required,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            certificate_file: None,
            key_file: None,
            client_ca_file: None,
            client_certificates: ClientCertificates::Optional,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

impl Tls {
    /// The files of the certificate and its key, when TLS is on.
    pub fn files(&self) -> Option<(&PathBuf, &PathBuf)> {
        self.certificate_file.as_ref().zip(self.key_file.as_ref())
    }

    /// The setting that does not fit to the others, and why. What is in the files is looked at elsewhere.
    pub(super) fn complaint(&self) -> Option<(&'static str, &'static str)> {
        match (&self.certificate_file, &self.key_file) {
            (Some(_), None) => {
                return Some(("key_file", "is missing; it holds the private key of tls.certificate_file"));
            }
            (None, Some(_)) => {
                return Some(("certificate_file", "is missing; it holds the certificate of tls.key_file"));
            }
            (None, None) if self.client_ca_file.is_some() => {
                return Some(("client_ca_file", "needs tls.certificate_file and tls.key_file"));
            }
            _ => {}
        }
        if self.client_certificates == ClientCertificates::Required && self.client_ca_file.is_none() {
            return Some((
                "client_certificates",
                "\"required\" needs tls.client_ca_file, whose certificates are accepted",
            ));
        }
        self.handshake_timeout
            .is_zero()
            .then_some(("handshake_timeout", "0 is not accepted; use a duration such as \"10s\""))
    }
}
