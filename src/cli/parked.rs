//! `revocation-hub parked`: messages that nobody could read, for a person.

use std::io::Write as _;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Client, Connection, RequestError};
use super::output;

/// What `--help` says below the commands.
pub const AFTER_HELP: &str = "\
A message that a source brought and nobody could read, or that was refused, is acknowledged there and parked here: the \
revocations in it are not in force. Look why, mend the cause (a setting of the source, a newer revocation-hub), and \
replay it. Parked messages may hold tokens. All of this needs the scope `admin`.

Examples:
  revocation-hub parked list
  revocation-hub parked show 17
  revocation-hub parked show 17 --raw | xxd
  revocation-hub parked replay 17 18
  revocation-hub parked replay --all
  revocation-hub parked drop 17";

/// What can be done with parked messages.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// List them, oldest first, without their bodies
    List(ListArgs),
    /// Show one with its body
    Show(ShowArgs),
    /// Read them again; those that are committed go, the others stay and the exit code is 1
    Replay(SomeArgs),
    /// Forget them
    Drop(SomeArgs),
}

/// Options of `list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Print the hub's JSON, one message per line
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Its number
    number: u64,
    /// Print the hub's JSON as it is
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Print the body and nothing else, byte for byte
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    raw: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Options of `replay` and `drop`.
#[derive(Debug, clap::Args)]
pub struct SomeArgs {
    /// Their numbers
    #[arg(value_name = "NUMBER", required_unless_present = "all", conflicts_with = "all")]
    numbers: Vec<u64>,
    /// All that are parked now
    #[arg(long)]
    all: bool,
    /// Print the hub's answers as they are, one per line
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Does it.
pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::List(args) => list(args).await,
        Command::Show(args) => show(args).await,
        Command::Replay(args) => each(args, Verb { done: "replayed", method: Method::POST, path: "/replay" }).await,
        Command::Drop(args) => each(args, Verb { done: "dropped", method: Method::DELETE, path: "" }).await,
    }
}

async fn get(client: &Client, path: &str) -> anyhow::Result<Value> {
    let response = client.send(client.request(Method::GET, path)).await?;
    Ok(response.json().await.map_err(|e| client.unreachable(&e))?)
}

/// All of them, page by page.
async fn all(client: &Client) -> anyhow::Result<Vec<Value>> {
    let (mut after, mut found) = (0, Vec::new());
    loop {
        let mut page = get(client, &format!("/v1/parked?limit=1000&after={after}")).await?;
        if let Some(messages) = page["parked"].as_array_mut() {
            found.append(messages);
        }
        match page["next"].as_u64() {
            Some(next) => after = next,
            None => return Ok(found),
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    let found = all(&args.connection.client()?).await?;
    if args.json {
        return Ok(found.iter().try_for_each(|message| output::line(&message.to_string()))?);
    }
    if !found.is_empty() {
        let heading = ["NUMBER", "RECEIVED", "SOURCE", "REASON", "BYTES", "CONTENT TYPE", "DETAIL"].map(String::from);
        let rows: Vec<_> = std::iter::once(heading).chain(found.iter().map(row)).collect();
        output::table(&rows)?;
    }
    let plural = if found.len() == 1 { "message is" } else { "messages are" };
    output::Status::new().note(&format!("{} {plural} parked", found.len()));
    Ok(())
}

fn row(message: &Value) -> [String; 7] {
    let text = |key: &str| output::text(message, key);
    let received = message["received_at"].as_i64().map_or_else(String::new, output::time);
    [text("number"), received, text("source"), text("reason"), text("bytes"), text("content_type"), text("detail")]
}

async fn show(args: ShowArgs) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let message = get(&client, &format!("/v1/parked/{}", args.number)).await?;
    if args.json {
        return Ok(output::line(&message.to_string())?);
    }
    let body = STANDARD.decode(message["body"].as_str().unwrap_or_default()).context("the hub sent no base64")?;
    if args.raw {
        let mut out = std::io::stdout().lock();
        out.write_all(&body)?;
        return Ok(out.flush()?);
    }
    for key in ["number", "source", "reason", "detail", "content_type", "bytes"] {
        if !message[key].is_null() {
            output::line(&format!("{:14}{}", format!("{key}:"), output::text(&message, key)))?;
        }
    }
    if let Some(at) = message["received_at"].as_i64() {
        output::line(&format!("{:14}{}", "received_at:", output::time(at)))?;
    }
    output::line("")?;
    match message["text"].as_str() {
        // Line by line, so that what is made of lines can be read and nothing controls the terminal.
        Some(text) => text.lines().try_for_each(|line| output::line(&output::plain(line)))?,
        None => body.chunks(16).enumerate().try_for_each(|(i, bytes)| output::line(&dump(i * 16, bytes)))?,
    }
    Ok(())
}

/// One line of a dump: where, the bytes, and those of them that are letters.
fn dump(at: usize, bytes: &[u8]) -> String {
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let letter = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { char::from(*b) } else { '.' };
    format!("{at:08x}  {:47}  {}", hex.join(" "), bytes.iter().map(letter).collect::<String>())
}

struct Verb {
    done: &'static str,
    method: Method,
    path: &'static str,
}

/// One after the other. What the hub refuses is said and the others follow; when it does not answer that is the end.
async fn each(args: SomeArgs, verb: Verb) -> anyhow::Result<()> {
    let client = args.connection.client()?;
    let numbers = match args.all {
        true => all(&client).await?.iter().filter_map(|message| message["number"].as_u64()).collect(),
        false => args.numbers,
    };
    let (total, mut refused) = (numbers.len(), 0);
    let mut status = output::Status::new();
    for (i, number) in numbers.into_iter().enumerate() {
        status.show(&format!("{} of {total}", i + 1));
        let request = client.request(verb.method.clone(), &format!("/v1/parked/{number}{}", verb.path));
        match client.send(request).await {
            Ok(response) => {
                let answer: Value = response.json().await.map_err(|e| client.unreachable(&e))?;
                status.clear();
                match args.json {
                    true => output::line(&answer.to_string())?,
                    false => output::line(&format!("{} {number}{}", verb.done, counts(&answer)))?,
                }
            }
            // Of many, those that have gone meanwhile are no failure: somebody else was quicker.
            Err(RequestError::Refused(problem)) if args.all && problem.status == 404 => {}
            Err(RequestError::Refused(problem)) if matches!(problem.status, 404 | 422) => {
                refused += 1;
                status.note(&format!("{number} stays as it is: {problem}"));
                if args.json {
                    output::line(&json!({"number": number, "code": problem.code}).to_string())?;
                }
            }
            Err(error) => return Err(anyhow::Error::new(error).context(format!("{number}"))),
        }
    }
    status.clear();
    anyhow::ensure!(refused == 0, "{refused} of {total} not {}", verb.done);
    Ok(())
}

fn counts(answer: &Value) -> String {
    let count = |key: &str| answer[key].as_u64().filter(|n| *n > 0).map(|n| format!("{n} {key}"));
    let counts: Vec<String> = ["revoked", "unchanged", "expired"].into_iter().filter_map(count).collect();
    if counts.is_empty() { String::new() } else { format!(": {}", counts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_bytes_and_letters() {
        assert_eq!(dump(32, b"\0\x1b[2Jabc"), "00000020  00 1b 5b 32 4a 61 62 63                          ..[2Jabc");
        assert_eq!(counts(&json!({"revoked": 2, "unchanged": 0, "expired": 1})), ": 2 revoked, 1 expired");
        assert_eq!(counts(&json!({"status": "dropped"})), "");
    }
}
