//! `revocation-hub revoke`: one revocation from options, or many from NDJSON.

use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::arrival::Arrival;
use super::client::{Client, Connection, RequestError};
use super::output::{self, Status};
use super::selector::{Selector, parse_time, read_token};
use crate::config::parse_duration;

/// What `--help` says below the options.
pub const AFTER_HELP: &str = "\
Wider rules (--sid, --sub, --client-id, --kid, --iss) need the scope `rules`; single tokens need `publish`. \
Without --exp and --ttl the revocation is kept as long as a token of this sender can live at most; see \
max_token_lifetime in `revocation-hub config default`.

--from reads one JSON object per line with the members of the native interface, and sends them in pieces. Each piece \
is stored whole or not at all. A piece with a bad line stops the command and names the line; what came before stays \
revoked, and sending the whole file again is safe.

--until-seen opens the event stream first, and succeeds when the stream brings the revocation: it tries the whole way from \
POST to the gateways. Needs the scope `read` too. What was revoked already does not come again, so use a new --jti.

Examples:
  revocation-hub revoke --jti 4f6d2a19 --iss https://login.example.com --ttl 1h
  revocation-hub revoke --token-file - < token.jwt
  revocation-hub revoke --sub u1 --iss https://login.example.com --reason \"laptop lost\"
  revocation-hub revoke --kid 2031-key-1 --exp 2031-06-01T00:00:00Z
  echo '{\"jti\":\"a\",\"ttl\":3600}' | revocation-hub revoke --from -";

/// Options of `revoke`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    selector: Selector,
    /// When the last token that is meant expires: seconds or RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse_time, conflicts_with = "ttl", help_heading = "Rule")]
    exp: Option<i64>,
    /// The same as a time from now, such as 1h or 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Rule")]
    ttl: Option<Duration>,
    /// Only tokens issued before this, for --sub, --client-id and --iss alone: seconds or RFC 3339 [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time, help_heading = "Rule")]
    issued_before: Option<i64>,
    /// Why, in words for people
    #[arg(long, value_name = "TEXT", help_heading = "Rule")]
    reason: Option<String>,
    /// Follow the event stream, and fail when it does not bring the revocation within this time, such as 30s
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "from")]
    until_seen: Option<Duration>,
    /// Read many revocations from a file of NDJSON; - is standard input
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Many",
        conflicts_with_all = ["exp", "ttl", "issued_before", "reason"]
    )]
    from: Option<PathBuf>,
    /// How many lines of --from are sent in one request
    #[arg(long, value_name = "LINES", default_value_t = 5000, help_heading = "Many", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    chunk: u32,
    /// Print the hub's answer as it is
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

impl Args {
    /// What clap cannot check.
    pub fn check(&self) -> Result<(), String> {
        match (&self.from, self.selector.is_empty()) {
            (Some(_), true) => Ok(()),
            (Some(_), false) => {
                Err("--from reads the targets from the file; leave the other target options out".into())
            }
            (None, _) => self.selector.target().map(drop),
        }
    }

    fn item(&self) -> anyhow::Result<Map<String, Value>> {
        let mut item = self.selector.target().map_err(anyhow::Error::msg)?;
        if let Some(file) = &self.selector.token_file {
            item.insert("token".into(), read_token(file)?.into());
        }
        if let Some(ttl) = self.ttl {
            // Up: a revocation that ends a moment too early would be none.
            item.insert("ttl".into(), (ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0)).into());
        }
        for (key, value) in [("exp", self.exp), ("issued_before", self.issued_before)] {
            if let Some(at) = value {
                item.insert(key.into(), at.into());
            }
        }
        if let Some(reason) = &self.reason {
            item.insert("reason".into(), reason.as_str().into());
        }
        Ok(item)
    }
}

/// Revokes.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    if let Some(file) = &args.from {
        return many(&client, file, &args).await;
    }
    let request = client.request(Method::POST, "/v1/revocations").json(&args.item()?);
    let stream = match args.until_seen {
        Some(limit) => Some((Arrival::open(&client, limit).await?, limit)),
        None => None,
    };
    let response = client.send(request).await?;
    let answer: Value = response.json().await.map_err(|e| client.unreachable(&e))?;
    if args.json {
        output::line(&answer.to_string())?;
    } else {
        let [status, id, cursor] = ["status", "id", "cursor"].map(|key| output::text(&answer, key));
        let text = match status.as_str() {
            "unchanged" => format!("unchanged {id} at {cursor} (it was revoked already)"),
            "expired" => format!("expired {id} (every token it could hit has expired, so nothing was stored)"),
            _ => format!("{status} {id} at {cursor}"),
        };
        output::line(&text)?;
    }
    if let Some((stream, limit)) = stream {
        let status = output::text(&answer, "status");
        anyhow::ensure!(status == "revoked", "nothing was put on the event stream, because it is {status}");
        stream.of(&output::text(&answer, "id"), limit).await?;
        if !args.json {
            output::line("seen on the event stream")?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Totals {
    revoked: u64,
    unchanged: u64,
    expired: u64,
    cursor: String,
}

async fn many(client: &Client, file: &Path, args: &Args) -> anyhow::Result<()> {
    let input: Box<dyn BufRead + Send> = if file == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = std::fs::File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        Box::new(BufReader::new(file))
    };
    let mut chunks = Chunks { input, line: 0, lines: args.chunk as usize };
    let mut status = Status::new();
    let mut totals = Totals::default();
    let mut sent = 0;
    while let Some(chunk) = chunks.next().with_context(|| format!("cannot read {}", file.display()))? {
        let answer = send(client, &chunk, &mut status).await?;
        let count = |key: &str| answer[key].as_u64().unwrap_or(0);
        totals.revoked += count("revoked");
        totals.unchanged += count("unchanged");
        totals.expired += count("expired");
        totals.cursor = output::text(&answer, "cursor");
        sent += chunk.lines.len();
        status.show(&format!("{sent} sent, {} revoked, at {}", totals.revoked, totals.cursor));
    }
    status.clear();
    let Totals { revoked, unchanged, expired, cursor } = totals;
    if args.json {
        let cursor = (!cursor.is_empty()).then_some(cursor);
        let all = serde_json::json!({"revoked": revoked, "unchanged": unchanged, "expired": expired, "cursor": cursor});
        output::line(&all.to_string())?;
    } else if sent == 0 {
        output::line("nothing to revoke: the input is empty")?;
    } else {
        output::line(&format!("{revoked} revoked, {unchanged} unchanged, {expired} expired, at {cursor}"))?;
    }
    Ok(())
}

/// Sends a piece, again and again for a while when the hub is away: the same piece twice does no harm.
async fn send(client: &Client, chunk: &Chunk, status: &mut Status) -> anyhow::Result<Value> {
    const TRIES: u32 = 6;
    let mut wait = Duration::from_millis(500);
    for left in (0..TRIES).rev() {
        let request = client
            .request(Method::POST, "/v1/revocations")
            .header(CONTENT_TYPE, "application/x-ndjson")
            .body(chunk.body.clone());
        let error = match client.send(request).await {
            Ok(response) => match response.json().await {
                Ok(answer) => return Ok(answer),
                Err(error) => client.unreachable(&error),
            },
            Err(error) => error,
        };
        if !error.is_transient() || left == 0 {
            return Err(chunk.explain(error));
        }
        let pause = error.retry_after().unwrap_or(wait);
        status.show(&format!("{error}; trying again in {} s", pause.as_secs_f32()));
        tokio::time::sleep(pause).await;
        wait *= 2;
    }
    anyhow::bail!("the hub did not take it")
}

/// Some lines that go in one request.
#[derive(Debug, Default)]
struct Chunk {
    body: Vec<u8>,
    /// The number of each line in the file, from 1: empty lines are not sent.
    lines: Vec<u64>,
}

impl Chunk {
    fn explain(&self, error: RequestError) -> anyhow::Error {
        let line = match &error {
            RequestError::Refused(problem) => problem.index.and_then(|i| self.lines.get(usize::try_from(i).ok()?)),
            RequestError::Unavailable { .. } => None,
        };
        let (first, last) = (self.lines.first().unwrap_or(&0), self.lines.last().unwrap_or(&0));
        let place = match line {
            Some(line) => format!("line {line} (nothing of lines {first} to {last} was stored)"),
            None => format!("lines {first} to {last}"),
        };
        anyhow::Error::new(error).context(place)
    }
}

struct Chunks<R> {
    input: R,
    line: u64,
    lines: usize,
}

impl<R: BufRead> Chunks<R> {
    /// The body limit of a hub is 16 MiB unless it was changed.
    const BYTES: usize = 8 << 20;
    const LINE: u64 = 1 << 20;

    fn next(&mut self) -> std::io::Result<Option<Chunk>> {
        let mut chunk = Chunk::default();
        while chunk.lines.len() < self.lines && chunk.body.len() < Self::BYTES {
            let start = chunk.body.len();
            let read = self.input.by_ref().take(Self::LINE).read_until(b'\n', &mut chunk.body)?;
            if read == 0 {
                break;
            }
            self.line += 1;
            if read as u64 == Self::LINE && !chunk.body.ends_with(b"\n") {
                return Err(std::io::Error::other(format!("line {} is longer than 1 MiB", self.line)));
            }
            if chunk.body[start..].trim_ascii().is_empty() {
                chunk.body.truncate(start);
                continue;
            }
            if !chunk.body.ends_with(b"\n") {
                chunk.body.push(b'\n');
            }
            chunk.lines.push(self.line);
        }
        Ok((!chunk.lines.is_empty()).then_some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Problem;

    #[test]
    fn a_file_is_cut_at_lines_and_keeps_their_numbers() {
        let mut chunks = Chunks { input: &b"\n{1}\n\r\n{2}\n{3}\n\n{4}"[..], line: 0, lines: 2 };
        let chunk = chunks.next().unwrap().unwrap();
        assert_eq!((chunk.body.as_slice(), chunk.lines.as_slice()), (&b"{1}\n{2}\n"[..], &[2, 4][..]));
        let problem = Problem { index: Some(1), status: 422, ..Problem::default() };
        let error = chunk.explain(RequestError::Refused(problem));
        assert_eq!(error.to_string(), "line 4 (nothing of lines 2 to 4 was stored)");
        let chunk = chunks.next().unwrap().unwrap();
        assert_eq!((chunk.body.as_slice(), chunk.lines.as_slice()), (&b"{3}\n{4}\n"[..], &[5, 7][..]));
        assert!(chunks.next().unwrap().is_none());
    }

    #[test]
    fn a_line_without_an_end_is_not_read_into_memory() {
        let mut chunks = Chunks { input: BufReader::new(std::io::repeat(b'x')), line: 0, lines: 2 };
        assert!(chunks.next().unwrap_err().to_string().contains("line 1 is longer"));
    }
}
