//! What the hub shows to those who connect over TLS, read from the files that `[tls]` names.
//!
//! Both versions that are in use (1.2 and 1.3), HTTP/1 by ALPN, no resumption: a session that is resumed has proved nothing
//! anew, its table takes memory, and gateways connect once an hour.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};

use sha2::{Digest as _, Sha256};

use super::certificate::Dates;
use crate::config::{ClientCertificates, ConfigError, Tls};

/// More is not a certificate but a wrong path.
const MAX_FILE: u64 = 1 << 20;

/// What a listener needs to speak TLS, and what those who look after it want to know.
pub struct Identity {
    /// For those who accept connections.
    pub config: Arc<ServerConfig>,
    /// When the certificates are good, by what they are for: `server`, with those that lead to its authority, and
    /// `client_ca`. The shortest of each.
    pub dates: Vec<(&'static str, Dates)>,
    /// Of what is in the files.
    pub digest: [u8; 32],
}

impl Identity {
    /// Reads the files. `None` when TLS is off. Errors name the setting and the file, and never what is in a key.
    pub fn load(tls: &Tls) -> Result<Option<Self>, ConfigError> {
        Self::load_with(tls, tls.client_certificates)
    }

    /// The same with another rule for clients: whoever only looks after the hub has no certificate.
    pub fn load_with(tls: &Tls, clients: ClientCertificates) -> Result<Option<Self>, ConfigError> {
        let Some((certificate_file, key_file)) = tls.files() else { return Ok(None) };
        let mut digest = Sha256::new();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let chain = certificates("tls.certificate_file", certificate_file)?;
        chain.iter().for_each(|certificate| digest.update(certificate));
        let wrong = |key: &str, file: &Path, why: &str| invalid(key, format!("{} {why}", file.display()));
        let mut dates = vec![("server", dates("tls.certificate_file", certificate_file, &chain)?)];
        let key = read("tls.key_file", key_file)?;
        digest.update(&key);
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| wrong("tls.key_file", key_file, "holds no private key in PEM form that is not encrypted"))?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                let message = format!("{} is not the key of {}", key_file.display(), certificate_file.display());
                invalid("tls.key_file", message)
            }
            error => wrong("tls.key_file", key_file, &format!("cannot be used: {error}")),
        })?;
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(|e| invalid("tls", e.to_string()))?;
        let builder = match &tls.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let authorities = certificates("tls.client_ca_file", file)?;
                dates.push(("client_ca", self::dates("tls.client_ca_file", file, &authorities)?));
                digest.update(b"clients");
                authorities.iter().for_each(|certificate| digest.update(certificate));
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    let refused = |e| wrong("tls.client_ca_file", file, &format!("holds what cannot be trusted: {e}"));
                    roots.add(authority).map_err(refused)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match clients {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    ClientCertificates::Required => verifier,
                };
                builder.with_client_cert_verifier(
                    verifier.build().map_err(|e| wrong("tls.client_ca_file", file, &e.to_string()))?,
                )
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![b"http/1.1".to_vec(), b"http/1.0".to_vec()];
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Some(Self { config: Arc::new(config), dates, digest: digest.finalize().into() }))
    }

    /// What is wrong with the dates at a moment (NumericDate seconds), one sentence for each certificate. It is no reason
    /// not to run: those who connect are the ones who judge it.
    pub fn warnings(&self, tls: &Tls, now: i64) -> Vec<String> {
        let of = |name: &str| match name {
            "server" => ("tls.certificate_file", &tls.certificate_file),
            _ => ("tls.client_ca_file", &tls.client_ca_file),
        };
        let warning = |(name, dates): &(&str, Dates)| {
            let (key, file) = of(name);
            let file = file.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
            dates.complaint(now).map(|why| format!("{key}: a certificate of {file} {why}"))
        };
        self.dates.iter().filter_map(warning).collect()
    }
}

/// The certificates of a file; at least one.
fn certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let pem = read(key, file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| invalid(key, format!("{} is not PEM: {error}", file.display())))?;
    if found.is_empty() {
        return Err(invalid(key, format!("{} holds no certificate in PEM form", file.display())));
    }
    Ok(found)
}

fn dates(key: &str, file: &Path, chain: &[CertificateDer<'_>]) -> Result<Dates, ConfigError> {
    let all: Option<Vec<Dates>> = chain.iter().map(|certificate| Dates::of(certificate)).collect();
    let all = all.ok_or_else(|| invalid(key, format!("{} holds something that is no certificate", file.display())))?;
    Ok(all.into_iter().reduce(Dates::both).unwrap_or_default())
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>, ConfigError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file)
        .and_then(|opened| opened.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| invalid(key, format!("cannot read {}: {error}", file.display())))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(invalid(key, format!("{} is larger than 1 MiB, which is no certificate", file.display())));
    }
    Ok(bytes)
}

fn invalid(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key: key.into(), message: message.into() }
}
