//! TLS: whom we trust when we connect, and what we show to those who connect to us.

pub mod accept;
pub mod certificate;
pub mod server;

use std::path::Path;

use anyhow::Context as _;

/// Makes an HTTP client trust the certificates (PEM) of `ca_file` and no others; without a file the system's.
pub fn trust(builder: reqwest::ClientBuilder, ca_file: Option<&Path>) -> anyhow::Result<reqwest::ClientBuilder> {
    let Some(path) = ca_file else { return Ok(builder) };
    let pem = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|_| anyhow::anyhow!("{} holds something that is not a certificate", path.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "{} holds no certificate", path.display());
    Ok(builder.tls_certs_only(certificates))
}
