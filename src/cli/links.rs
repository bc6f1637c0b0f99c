//! `revocation-hub source list` and `revocation-hub outlet list`: what the links to other systems do.

use reqwest::Method;
use serde_json::Value;

use super::client::Connection;
use super::{output, source_test};

/// What `source --help` says below the options.
pub const SOURCE_HELP: &str = "\
The native interface is not among them: it serves whoever can reach the hub. Needs the scope `read`.

Examples:
  revocation-hub source list
  revocation-hub source list --json | jq '.sources[] | select(.state != \"connected\")'";

/// What `outlet --help` says below the options.
pub const OUTLET_HELP: &str = "\
What this replica knows: of an outlet that another replica sends for (`standby`) the lag is there and not here. Needs \
the scope `read`.

Examples:
  revocation-hub outlet list
  revocation-hub outlet list --json | jq '.outlets[].lag'";

/// What can be done with sources.
#[derive(Debug, clap::Subcommand)]
pub enum SourceCommand {
    /// List the configured sources and what they do
    #[command(after_help = SOURCE_HELP)]
    List(Args),
    /// Send what a foreign system would send, and see whether it arrives
    #[command(after_help = source_test::AFTER_HELP)]
    Test(Box<source_test::Args>),
}

impl SourceCommand {
    /// Whether the options fit together.
    pub fn check(&self) -> Result<(), String> {
        match self {
            SourceCommand::List(_) => Ok(()),
            SourceCommand::Test(args) => args.check(),
        }
    }
}

/// What can be done with outlets.
#[derive(Debug, clap::Subcommand)]
pub enum OutletCommand {
    /// List the configured outlets that send, and what they do
    #[command(after_help = OUTLET_HELP)]
    List(Args),
}

/// Options of both lists.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the hub's JSON as it is
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Prints the sources, or tries one.
pub async fn sources(command: SourceCommand) -> anyhow::Result<()> {
    match command {
        SourceCommand::List(args) => list(args, "sources").await,
        SourceCommand::Test(args) => source_test::run(*args).await,
    }
}

/// Prints the outlets.
pub async fn outlets(OutletCommand::List(args): OutletCommand) -> anyhow::Result<()> {
    list(args, "outlets").await
}

async fn list(args: Args, room: &str) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let response = client.send(client.request(Method::GET, &format!("/v1/{room}"))).await?;
    let answer: Value = response.json().await.map_err(|e| client.unreachable(&e))?;
    if args.json {
        return Ok(output::line(&answer.to_string())?);
    }
    let all = answer[room].as_array().map(Vec::as_slice).unwrap_or_default();
    if all.is_empty() {
        output::Status::new().note(&format!("no {room} are configured; see [[{room}]] in the hub's configuration"));
        return Ok(());
    }
    let heading = ["NAME", "KIND", "STATE", "SINCE", "DELIVERED", "LAST", "SET ASIDE", "FAILED", "LAG", "LAST ERROR"];
    let heading = heading.map(String::from);
    let rows: Vec<_> = std::iter::once(heading).chain(all.iter().map(row)).collect();
    Ok(output::table(&rows)?)
}

fn row(link: &Value) -> [String; 10] {
    let time = |key: &str| link[key].as_i64().map_or_else(String::new, output::time);
    let error = match output::text(link, "last_error") {
        error if error.is_empty() => error,
        error => format!("{} {error}", time("last_error_at")),
    };
    let text = |key: &str| output::text(link, key);
    let (delivered, last) = (text("delivered"), time("last_success"));
    let (set_aside, failures, lag) = (text("set_aside"), text("failures"), text("lag"));
    [text("name"), text("kind"), text("state"), time("since"), delivered, last, set_aside, failures, lag, error]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_what_is_wrong_and_since_when() {
        let link = serde_json::json!({
            "name": "broker", "kind": "amqp", "state": "waiting", "since": 0, "failures": 3, "delivered": 7, "set_aside": 1,
            "last_success": 30,
            "last_error": "refused\u{1b}[2J", "last_error_at": 60,
        });
        let expected = ["broker", "amqp", "waiting", "1970-01-01T00:00:00Z", "7", "1970-01-01T00:00:30Z", "1", "3", ""];
        let shown = row(&link);
        assert_eq!(shown[..9], expected);
        assert_eq!(shown[9], "1970-01-01T00:01:00Z refused\\u{1b}[2J");
    }
}
