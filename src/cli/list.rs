//! `revocation-hub list`: what is revoked now.

use std::io::Write as _;

use futures_util::StreamExt as _;
use reqwest::Method;
use reqwest::header::ACCEPT;
use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Connection};
use super::output;
use crate::revocation::Cursor;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
Examples:
  revocation-hub list
  revocation-hub list --ndjson > revoked.ndjson
  revocation-hub list --since aaaaaaaa-42      changes after that cursor, lifts too";

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the hub's JSON as it is
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print one JSON object per line
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    ndjson: bool,
    /// Only what has changed after this cursor
    #[arg(long, value_name = "CURSOR")]
    since: Option<Cursor>,
    #[command(flatten)]
    connection: Connection,
}

/// The columns of the table are all that is kept of a revocation: lists can be long.
#[derive(Deserialize)]
struct Listing {
    cursor: String,
    #[serde(default)]
    revocations: Vec<Value>,
    #[serde(default)]
    lifted: Vec<Value>,
}

const COLUMNS: [&str; 6] = ["KIND", "TARGET", "ISSUER", "UNTIL", "SOURCE", "ID"];

/// Prints the list.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let form = if args.ndjson { "application/x-ndjson" } else { "application/json" };
    let mut request = client.endless(Method::GET, "/v1/revocations").header(ACCEPT, form);
    if let Some(since) = &args.since {
        request = request.query(&[("since", since.to_string())]);
    }
    let response = client.send(request).await?;
    if args.json || args.ndjson {
        return copy(&client, response).await;
    }
    let listing: Listing = response.json().await.map_err(|e| client.unreachable(&e))?;
    table(&listing)?;
    Ok(())
}

/// The body as it comes, however long.
async fn copy(client: &Client, response: reqwest::Response) -> anyhow::Result<()> {
    let mut body = response.bytes_stream();
    let mut last = b'\n';
    while let Some(bytes) = body.next().await {
        let bytes = bytes.map_err(|e| client.unreachable(&e))?;
        last = bytes.last().copied().unwrap_or(last);
        std::io::stdout().lock().write_all(&bytes)?;
    }
    if last != b'\n' {
        output::line("")?;
    }
    std::io::stdout().lock().flush()?;
    Ok(())
}

fn table(listing: &Listing) -> std::io::Result<()> {
    let mut rows = vec![COLUMNS.map(String::from)];
    rows.extend(listing.revocations.iter().map(row));
    rows.extend(listing.lifted.iter().map(|value| {
        let mut row = row(value);
        row[3] = "lifted".into();
        row
    }));
    if rows.len() > 1 {
        output::table(&rows)?;
    }
    let (live, lifted) = (listing.revocations.len(), listing.lifted.len());
    let lifted = if lifted > 0 { format!(", {lifted} lifted") } else { String::new() };
    let plural = if live == 1 { "revocation" } else { "revocations" };
    // Not on standard output: there it would be one more row.
    output::Status::new().note(&format!("{live} {plural}{lifted} at {}", output::plain(&listing.cursor)));
    Ok(())
}

fn row(value: &Value) -> [String; 6] {
    let kind = output::text(value, "kind");
    let field = match kind.as_str() {
        "token" => "jti",
        "token_hash" => "sha256",
        "signature" => "sig",
        "session" => "sid",
        "subject" => "sub",
        "client" => "client_id",
        "key" => "kid",
        _ => "iss",
    };
    let issuer = if field == "iss" { String::new() } else { output::text(value, "iss") };
    let until = value["exp"].as_i64().map_or_else(|| "until lifted".to_owned(), output::time);
    [kind, output::text(value, field), issuer, until, output::text(value, "source"), output::text(value, "id")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_shows_the_target_of_its_kind() {
        let value =
            serde_json::json!({"id": "1", "kind": "client", "iss": "i", "client_id": "c", "exp": 0, "source": "s"});
        assert_eq!(row(&value), ["client", "c", "i", "1970-01-01T00:00:00Z", "s", "1"]);
        let value = serde_json::json!({"id": "2", "kind": "issuer", "iss": "i", "source": "s"});
        assert_eq!(row(&value), ["issuer", "i", "", "until lifted", "s", "2"]);
    }
}
