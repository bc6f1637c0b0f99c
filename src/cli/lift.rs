//! `revocation-hub lift`: take revocations back.

use reqwest::Method;
use serde_json::Value;

use super::client::Connection;
use super::output;
use crate::revocation::Id;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
The id stands in the answer to `revoke`, in `list` and in `watch`. Every gateway that has the revocation is told. \
Needs the scope `lift`. The ids are taken one after the other; the command stops at the first that is refused.

Example:
  revocation-hub lift 17ff4c81ed84eb9298bd115737bd8202";

/// Options of `lift`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids of revocations: 32 hexadecimal digits each
    #[arg(required = true, value_name = "ID")]
    ids: Vec<Id>,
    /// Print the hub's answers as they are, one per line
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Lifts them all.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    for id in args.ids {
        let request = client.request(Method::DELETE, &format!("/v1/revocations/{id}"));
        let response = client.send(request).await.map_err(|e| anyhow::Error::new(e).context(format!("{id}")))?;
        let answer: Value = response.json().await.map_err(|e| client.unreachable(&e))?;
        if args.json {
            output::line(&answer.to_string())?;
        } else {
            output::line(&format!("lifted {id} at {}", output::text(&answer, "cursor")))?;
        }
    }
    Ok(())
}
