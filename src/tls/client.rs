//! What we need to connect to others over TLS: whom we believe, and what we show.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// The files of a connection. Each is read when a connection is made, so that what is renewed on disk counts from the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outward {
    /// Certificates (PEM) to trust instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show, the own one first.
    pub certificate_file: Option<PathBuf>,
    /// Its private key (PEM, not encrypted).
    pub key_file: Option<PathBuf>,
}

/// A certificate with those that lead to its authority, and its key.
pub type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl Outward {
    /// Whom to believe instead of whom the system believes.
    pub fn authorities(&self) -> anyhow::Result<Option<Vec<CertificateDer<'static>>>> {
        self.ca_file.as_deref().map(certificates).transpose()
    }

    /// What to show.
    pub fn shown(&self) -> anyhow::Result<Option<Shown>> {
        let Some((certificate, key)) = self.certificate_file.as_deref().zip(self.key_file.as_deref()) else {
            return Ok(None);
        };
        let without = || format!("{} holds no private key in PEM form that is not encrypted", key.display());
        let pem = std::fs::read(key).with_context(|| format!("cannot read {}", key.display()))?;
        // Not the parser's own words: it may have read a part of the key.
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| anyhow::anyhow!(without()))?;
        Ok(Some((certificates(certificate)?, key)))
    }

    /// For those who speak TLS themselves.
    pub fn config(&self) -> anyhow::Result<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let builder = match self.authorities()? {
            None => builder.with_platform_verifier()?,
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority)?;
                }
                builder.with_root_certificates(roots)
            }
        };
        match self.shown()? {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).context("the certificate cannot be shown"),
        }
    }

    /// For an HTTP client.
    pub fn http(&self, builder: reqwest::ClientBuilder) -> anyhow::Result<reqwest::ClientBuilder> {
        let builder = trust(builder, self.ca_file.as_deref())?;
        let Some((certificate, key)) = self.certificate_file.as_deref().zip(self.key_file.as_deref()) else {
            return Ok(builder);
        };
        let read = |file: &Path| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
        let pem = [read(certificate)?, b"\n".to_vec(), read(key)?].concat();
        let identity = reqwest::Identity::from_pem(&pem).map_err(|_| {
            anyhow::anyhow!("{} and {} are no certificate and its key", certificate.display(), key.display())
        })?;
        Ok(builder.identity(identity))
    }
}

/// Makes an HTTP client trust the certificates (PEM) of `ca_file` and no others; without a file the system's.
pub fn trust(builder: reqwest::ClientBuilder, ca_file: Option<&Path>) -> anyhow::Result<reqwest::ClientBuilder> {
    let Some(path) = ca_file else { return Ok(builder) };
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|_| anyhow::anyhow!("{} holds something that is not a certificate", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate", path.display());
    Ok(builder.tls_certs_only(certificates))
}

fn certificates(file: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {}", file.display()))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.with_context(|| format!("{} is no list of certificates", file.display()))?;
    anyhow::ensure!(!found.is_empty(), "there is no certificate in {}", file.display());
    Ok(found)
}
