//! Reading an issuer's key set, from a file or by HTTP.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::keys::KeySet;
use crate::config::Issuer;

/// A key set has a few kilobytes.
const MAX_BYTES: usize = 1 << 20;
const CONNECT: Duration = Duration::from_secs(3);
/// Of the whole request: somebody may be waiting for the answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The metadata of an issuer (OpenID Connect Discovery 1.0 §3, RFC 8414 §2).
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

/// The key set, from wherever the configuration says.
pub async fn key_set(issuer: &Issuer) -> anyhow::Result<KeySet> {
    let allowed = &issuer.algorithms;
    if let Some(path) = &issuer.pem_file {
        return Ok(KeySet::read_pem(&file(path).await?, allowed)?);
    }
    if let Some(path) = &issuer.jwks_file {
        return Ok(KeySet::read(&file(path).await?, allowed)?);
    }
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT)
        .timeout(LIMIT)
        // Keys come from the configured place and from no other.
        .redirect(reqwest::redirect::Policy::none());
    let client =
        crate::tls::client::trust(builder, issuer.ca_file.as_deref())?.build().context("cannot make an HTTP client")?;
    let url = match &issuer.jwks_url {
        Some(url) => url.clone(),
        None => {
            let well_known = || format!("{}/.well-known/openid-configuration", issuer.issuer.trim_end_matches('/'));
            let url = issuer.discovery_url.clone().unwrap_or_else(well_known);
            let metadata: Metadata = serde_json::from_slice(&get(&client, &url).await?)
                .with_context(|| format!("{url}: not the metadata of an issuer"))?;
            // OpenID Connect Discovery 1.0 §4.3: else one issuer could speak for another.
            anyhow::ensure!(metadata.issuer == issuer.issuer, "{url}: is the metadata of another issuer");
            metadata.jwks_uri
        }
    };
    KeySet::read(&get(&client, &url).await?, allowed).with_context(|| url)
}

async fn file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = path.display().to_string();
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || std::fs::read(path)).await?.with_context(|| format!("cannot read {name}"))
}

async fn get(client: &reqwest::Client, url: &str) -> anyhow::Result<Vec<u8>> {
    let response = client.get(url).header(reqwest::header::ACCEPT, "application/json").send().await?;
    anyhow::ensure!(response.status() == 200, "{url}: the answer is {}", response.status());
    let mut bytes = Vec::new();
    let mut body = response.bytes_stream();
    while let Some(chunk) = body.next().await {
        bytes.extend_from_slice(&chunk?);
        anyhow::ensure!(bytes.len() <= MAX_BYTES, "{url}: the answer is larger than {MAX_BYTES} bytes");
    }
    Ok(bytes)
}
