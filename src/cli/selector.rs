//! Naming a token, or a rule that is wider than one token, on the command line.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use serde_json::{Map, Value};

/// What is meant. The token itself never stands on the command line, which everyone on the machine can read.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Target")]
pub struct Selector {
    /// The token's `jti`
    #[arg(long)]
    pub jti: Option<String>,
    /// SHA-256 in hex: over header.payload of a JWT without jti, over the whole of an opaque token
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// A file with the token itself, JWT or opaque; - is standard input
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// A session (`sid`)
    #[arg(long)]
    pub sid: Option<String>,
    /// A subject (`sub`)
    #[arg(long)]
    pub sub: Option<String>,
    /// A client (`client_id`, `azp` or `appid`)
    #[arg(long)]
    pub client_id: Option<String>,
    /// A signing key (`kid` of the header)
    #[arg(long)]
    pub kid: Option<String>,
    /// The issuer; with another option it confines that one, alone it is the target
    #[arg(long)]
    pub iss: Option<String>,
}

impl Selector {
    /// The claims that were given, as members of the native interface; not the token.
    pub fn claims(&self) -> Vec<(&'static str, &str)> {
        [
            ("jti", &self.jti),
            ("sha256", &self.sha256),
            ("sid", &self.sid),
            ("sub", &self.sub),
            ("client_id", &self.client_id),
            ("kid", &self.kid),
            ("iss", &self.iss),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value.as_deref()?)))
        .collect()
    }

    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        self.token_file.is_none() && self.claims().is_empty()
    }

    /// The members of one revocation: exactly one target, and perhaps an issuer.
    pub fn target(&self) -> Result<Map<String, Value>, String> {
        let claims = self.claims();
        let targets = claims.iter().filter(|(key, _)| *key != "iss").count() + usize::from(self.token_file.is_some());
        if targets > 1 {
            return Err(
                "give one of --jti, --sha256, --token-file, --sid, --sub, --client-id, --kid, not several".into()
            );
        }
        if self.is_empty() {
            return Err(
                "say what to revoke: --jti, --sha256, --token-file, --sid, --sub, --client-id, --kid or --iss; \
                        or many with --from"
                    .into(),
            );
        }
        Ok(claims.into_iter().map(|(key, value)| (key.to_owned(), Value::from(value))).collect())
    }
}

/// Reads a token from a file or standard input. White space around it is not part of it.
pub fn read_token(file: &Path) -> anyhow::Result<String> {
    /// No token is larger.
    const MAX: u64 = 1 << 20;
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin()
            .take(MAX + 1)
            .read_to_string(&mut text)
            .context("cannot read the token from standard input")?;
    } else {
        std::fs::File::open(file)
            .and_then(|f| f.take(MAX + 1).read_to_string(&mut text))
            .with_context(|| format!("cannot read the token from {}", file.display()))?;
    }
    anyhow::ensure!(text.len() as u64 <= MAX, "{} is larger than 1 MiB, which is no token", file.display());
    let token = text.trim();
    anyhow::ensure!(!token.is_empty(), "there is no token in {}", file.display());
    Ok(token.into())
}

/// A moment on the command line: NumericDate seconds or RFC 3339.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    humantime::parse_rfc3339_weak(text)
        .ok()
        .and_then(|at| i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok())
        .ok_or_else(|| "expected seconds since 1970 or a UTC time such as 2031-05-01T12:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revocation_has_one_target() {
        let one = Selector { jti: Some("a".into()), iss: Some("i".into()), ..Selector::default() };
        assert_eq!(Value::from(one.target().unwrap()), serde_json::json!({"jti": "a", "iss": "i"}));
        let issuer = Selector { iss: Some("i".into()), ..Selector::default() };
        assert_eq!(Value::from(issuer.target().unwrap()), serde_json::json!({"iss": "i"}));
        assert!(Selector::default().target().unwrap_err().contains("--from"));
        let two = Selector { sid: Some("s".into()), token_file: Some("-".into()), ..Selector::default() };
        assert!(two.target().unwrap_err().contains("not several"));
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        assert_eq!(parse_time("42"), Ok(42));
        assert_eq!(parse_time("1970-01-01T00:01:00Z"), Ok(60));
        assert_eq!(
            parse_time("1970-01-02"),
            Err("expected seconds since 1970 or a UTC time such as 2031-05-01T12:00:00Z".into())
        );
    }
}
