//! `revocation-hub check`: is this token revoked?

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::client::{Client, Connection, RequestError};
use super::output;
use super::selector::{Selector, parse_time, read_token};
use crate::revocation::{Id, Kind};

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
Exit codes:
  0   not revoked: the hub knows of nothing against this token
  1   revoked
  2   the command line is wrong
  64  the configuration is wrong
  69  the hub gave no answer (not reachable, not ready, no permission)
Only 0 means \"go on\", so that a script which tests for success stays closed when the hub is away:
  if revocation-hub check --token-file token.jwt; then accept; else reject; fi

Give all claims of the token that you have: a rule on its subject is only found when --sub (and --iat) is given. \
With --token-file the hub takes the claims from the token itself, which is the surest way.

Examples:
  revocation-hub check --jti 4f6d2a19 --iss https://login.example.com
  revocation-hub check --sub u1 --iat 2031-05-01T12:00:00Z
  revocation-hub check --token-file - < token.jwt";

/// Options of `check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selector: Selector,
    /// When the token was issued (`iat`): seconds or RFC 3339; without it every rule with a time matches
    #[arg(long, value_name = "TIME", value_parser = parse_time, allow_hyphen_values = true)]
    iat: Option<i64>,
    /// Print the hub's answer as it is
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print nothing, the exit code says it
    #[arg(long, short, conflicts_with = "json", help_heading = "Output")]
    quiet: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    /// What clap cannot check.
    pub fn check(&self) -> Result<(), String> {
        if self.selector.is_empty() {
            return Err("say what to check: --token-file, or claims such as --jti, --sub, --sid, --iss".into());
        }
        let claims = self.selector.claims().len() + usize::from(self.iat.is_some());
        if self.selector.token_file.is_some() && claims > 0 {
            return Err("--token-file says it all; leave the other claims out".into());
        }
        if self.selector.sha256.is_some() && claims > 1 {
            return Err("--sha256 names a token by itself; leave the other claims out".into());
        }
        Ok(())
    }
}

/// Whether it is revoked.
pub async fn run(args: Args) -> anyhow::Result<bool> {
    let client = args.connection.client()?;
    let answer = if let Some(file) = &args.selector.token_file {
        let form = [("token", read_token(file)?)];
        ask(&client, client.request(Method::POST, "/v1/check").form(&form)).await?
    } else if let Some(hash) = &args.selector.sha256 {
        by_hash(&client, hash).await?
    } else {
        let mut query: Vec<(&str, String)> =
            args.selector.claims().into_iter().map(|(key, value)| (key, value.to_owned())).collect();
        query.extend(args.iat.map(|at| ("iat", at.to_string())));
        ask(&client, client.request(Method::GET, "/v1/check").query(&query)).await?
    };
    let Some(revoked) = answer["revoked"].as_bool() else {
        anyhow::bail!("{} gave an answer that is none: {answer}", client.base());
    };
    if args.json {
        output::line(&answer.to_string())?;
    } else if !args.quiet && revoked {
        output::line(&format!("revoked: {}", output::describe(&answer["by"])))?;
    } else if !args.quiet {
        output::line("not revoked")?;
    }
    Ok(revoked)
}

async fn ask(client: &Client, request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let response = client.send(request).await?;
    Ok(response.json().await.map_err(|e| client.unreachable(&e))?)
}

/// A hash is not a claim: the revocation is looked up by its id.
async fn by_hash(client: &Client, hash: &str) -> anyhow::Result<Value> {
    let hash = hash.to_ascii_lowercase();
    anyhow::ensure!(
        hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit()),
        "--sha256 takes 64 hexadecimal digits"
    );
    let id = Id::of(Kind::TokenHash, None, &hash);
    match ask(client, client.request(Method::GET, &format!("/v1/revocations/{id}"))).await {
        Ok(by) => Ok(serde_json::json!({ "revoked": true, "by": by })),
        Err(error) => match error.downcast_ref::<RequestError>() {
            // Only the hub's own "no such revocation": any proxy in between can say 404 as well.
            Some(RequestError::Refused(p)) if p.status == StatusCode::NOT_FOUND && !p.code.is_empty() => {
                Ok(serde_json::json!({ "revoked": false }))
            }
            _ => Err(error),
        },
    }
}
