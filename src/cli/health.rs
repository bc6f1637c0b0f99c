//! `revocation-hub healthcheck`: for containers without a shell or curl.

use std::time::Duration;

use reqwest::Method;

use super::client::{Connection, RequestError};
use super::output;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
Asks GET /readyz, which is true when the hub has loaded its revocations and its database answers. \
Exit code 0 is ready, 1 is not ready or not reachable. Needs no credentials and sends none. Over https:// to this machine \
(127.0.0.1, localhost) the hub's certificate is not checked unless --ca-file is given, because it names another host.

Example (Dockerfile):
  HEALTHCHECK CMD [\"revocation-hub\", \"healthcheck\"]
  HEALTHCHECK CMD [\"revocation-hub\", \"healthcheck\", \"--url\", \"https://127.0.0.1:9443\"]";

/// Options of `healthcheck`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seconds the answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    #[command(flatten)]
    connection: Connection,
}

/// Whether the hub is ready.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    // Whoever asks itself has nobody between. Nothing is sent that an impostor could use.
    let itself = args.connection.is_here() && args.connection.credentials.ca_file.is_none();
    let client = args.connection.client_with(|builder| builder.tls_danger_accept_invalid_certs(itself))?;
    let request = client.bare(Method::GET, "/readyz").timeout(Duration::from_secs(args.timeout));
    match client.send(request).await {
        Ok(_) => {
            output::line("ready")?;
            Ok(true)
        }
        // Docker knows 0 and 1 only, so that the reasons are told apart in words.
        Err(error @ (RequestError::Unavailable { .. } | RequestError::Refused(_))) => {
            output::line(&format!("not ready: {error}"))?;
            Ok(false)
        }
    }
}
