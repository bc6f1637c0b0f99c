//! `revocation-hub audit`: who revoked or lifted what.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use super::client::Connection;
use super::output;
use super::selector::parse_time;
use crate::clock::Clock;
use crate::config::parse_duration;
use crate::revocation::Id;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
One record for each request that changed something, the newest first, kept for `audit.retention` of the hub. No token is in \
it: a single token stands there by its id, and with its jti as long as it is revoked. Needs the scope `admin`.

Examples:
  revocation-hub audit --since 24h
  revocation-hub audit --jti c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30      who revoked this token?
  revocation-hub audit --sub alice --action lift
  revocation-hub audit --client sts --since 2031-05-01T12:00:00Z --until 2031-05-01T13:00:00Z --json";

/// Options of `audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Not older than this: a time, or a duration before now
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Older than this
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
    /// Only what was done with the credentials of this client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Only what came through this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only this
    #[arg(long, value_parser = ["revoke", "lift", "renew_epoch"])]
    action: Option<String>,
    /// Print at most so many; without it, all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    #[command(flatten)]
    target: Target,
    /// Print the hub's JSON, one record per line
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Whose revocations are looked for.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Only what is about")]
struct Target {
    /// The id of a revocation
    #[arg(long, value_name = "ID")]
    target: Option<Id>,
    /// A token's `jti`
    #[arg(long)]
    jti: Option<String>,
    /// A token's SHA-256, see `revoke --help`
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
    /// A session
    #[arg(long)]
    sid: Option<String>,
    /// A subject
    #[arg(long)]
    sub: Option<String>,
    /// A client (`client_id`)
    #[arg(long)]
    client_id: Option<String>,
    /// A signing key
    #[arg(long)]
    kid: Option<String>,
    /// Its issuer; alone, the issuer itself
    #[arg(long)]
    iss: Option<String>,
}

/// A moment, or a while before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    At(i64),
    Ago(Duration),
}

impl When {
    fn parse(text: &str) -> Result<Self, String> {
        // A bare number is a time, as everywhere on this command line.
        if let Ok(at) = parse_time(text) {
            return Ok(When::At(at));
        }
        parse_duration(text).map(When::Ago).map_err(|_| "expected a time or a duration such as 24h".into())
    }

    fn seconds(self, now: i64) -> i64 {
        match self {
            When::At(at) => at,
            When::Ago(span) => now.saturating_sub(i64::try_from(span.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

impl Args {
    fn query(&self, now: i64) -> Vec<(&'static str, String)> {
        let Target { target, jti, sha256, sid, sub, client_id, kid, iss } = &self.target;
        let at = |when: Option<When>| when.map(|when| when.seconds(now).to_string());
        [
            ("since", at(self.since)),
            ("until", at(self.until)),
            ("client", self.client.clone()),
            ("source", self.source.clone()),
            ("action", self.action.clone()),
            ("order", self.oldest_first.then(|| "oldest".to_owned())),
            ("target", target.map(|id| id.to_string())),
            ("jti", jti.clone()),
            ("sha256", sha256.clone()),
            ("sid", sid.clone()),
            ("sub", sub.clone()),
            ("client_id", client_id.clone()),
            ("kid", kid.clone()),
            ("iss", iss.clone()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }
}

/// The most that one answer can have.
const PAGE: u64 = 1000;

/// Prints the records, page by page.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let query = args.query(Clock::system().now());
    let (mut left, mut after) = (args.limit.unwrap_or(u64::MAX), None::<String>);
    let mut status = output::Status::new();
    let mut count = 0;
    loop {
        let mut request = client.request(Method::GET, "/v1/audit").query(&query);
        request = request.query(&[("limit", left.min(PAGE))]);
        if let Some(after) = &after {
            request = request.query(&[("after", after)]);
        }
        let page: Value = client.send(request).await?.json().await.map_err(|e| client.unreachable(&e))?;
        let records = page["records"].as_array().map(Vec::as_slice).unwrap_or_default();
        for record in records {
            status.clear();
            output::line(&if args.json { record.to_string() } else { describe(record) })?;
            count += 1;
        }
        left = left.saturating_sub(records.len() as u64);
        after = page["next"].as_str().map(str::to_owned);
        if left == 0 || after.is_none() {
            break;
        }
        status.show(&format!("{count} records, and looking on"));
    }
    status.clear();
    if !args.json {
        status.note(&format!("{count} {}", if count == 1 { "record" } else { "records" }));
    }
    Ok(())
}

/// One record on one line.
fn describe(record: &Value) -> String {
    let text = |name: &str| output::text(record, name);
    let mut parts = vec![output::time(record["at"].as_f64().unwrap_or_default() as i64), text("action")];
    if record["action"] == "renew_epoch" {
        parts.push(text("epoch"));
    } else if let [target] = record["targets"].as_array().map(Vec::as_slice).unwrap_or_default() {
        parts.push(output::describe(target));
    } else {
        parts.push(format!("{} targets, positions {} to {}", text("count"), text("first_seq"), text("last_seq")));
    }
    if record["cause"] != "request" {
        parts.push(format!("cause {}", text("cause")));
    }
    for (name, word) in [
        ("client", "by"),
        ("source", "through"),
        ("address", "from"),
        ("forwarded_for", "for"),
        ("request_id", "request"),
    ] {
        if !record[name].is_null() {
            parts.push(format!("{word} {}", text(name)));
        }
    }
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_time_is_a_moment_or_a_while_ago() {
        assert_eq!(When::parse("24h"), Ok(When::Ago(Duration::from_secs(86_400))));
        assert_eq!(When::parse("1970-01-01T00:01:00Z"), Ok(When::At(60)));
        assert_eq!(When::parse("42"), Ok(When::At(42)));
        assert!(When::parse("yesterday").is_err());
        assert_eq!(When::Ago(Duration::from_secs(5)).seconds(7), 2);
    }

    #[test]
    fn a_record_is_one_line_whatever_others_have_said() {
        let record = json!({"at": 0.5, "action": "lift", "cause": "request", "source": "sts", "client": "ops\n",
            "address": "::1", "count": 1, "targets": [{"id": "ab", "kind": "session", "sid": "s"}]});
        let line = "1970-01-01T00:00:00Z  lift  session  sid=s  id ab  by ops\\n  through sts  from ::1";
        assert_eq!(describe(&record), line);
    }
}
