//! What the commands print: results on standard output, progress and notes on standard error.

use std::borrow::Cow;
use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

/// Writes a line of results. An error here is mostly a reader that has gone (`| head`), which ends the program quietly.
pub fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Text from elsewhere, safe for a terminal: control characters are written as escapes.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

/// Rows of cells in columns that are as wide as they have to be. The first row is the heading.
pub fn table<const N: usize>(rows: &[[String; N]]) -> io::Result<()> {
    let widths: Vec<usize> = (0..N).map(|i| rows.iter().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        line(cells.join("  ").trim_end())?;
    }
    Ok(())
}

/// NumericDate seconds as people read them.
pub fn time(seconds: i64) -> String {
    // The last second that the format can show is the end of the year 9999.
    match u64::try_from(seconds) {
        Ok(s) if s <= 253_402_300_799 => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(s)).to_string()
        }
        _ => seconds.to_string(),
    }
}

/// A member of a JSON object as text; empty when it is not there.
pub fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::Null => String::new(),
        Value::String(text) => plain(text).into_owned(),
        other => other.to_string(),
    }
}

/// One revocation on one line: kind, target, and what else is known.
pub fn describe(revocation: &Value) -> String {
    let kind = text(revocation, "kind");
    let mut parts = vec![kind.clone()];
    for key in ["jti", "sha256", "sig", "sid", "sub", "client_id", "kid", "iss"] {
        if !revocation[key].is_null() {
            parts.push(format!("{key}={}", text(revocation, key)));
        }
    }
    for (key, name) in [("issued_before", "issued before"), ("exp", "until")] {
        if let Some(at) = revocation[key].as_i64() {
            parts.push(format!("{name} {}", time(at)));
        }
    }
    for (key, name) in [("source", "from"), ("reason", "because:")] {
        if !revocation[key].is_null() {
            parts.push(format!("{name} {}", text(revocation, key)));
        }
    }
    parts.push(format!("id {}", text(revocation, "id")));
    parts.join("  ")
}

/// A line at the bottom of the terminal that is written again and again; nothing when standard error is no terminal.
#[derive(Debug)]
pub struct Status {
    terminal: bool,
    shown: bool,
}

impl Status {
    /// On standard error.
    pub fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), shown: false }
    }

    /// Shows this instead of what was there.
    pub fn show(&mut self, text: &str) {
        if self.terminal {
            self.shown = true;
            let mut err = io::stderr().lock();
            // Progress that cannot be shown is no reason to stop.
            let _ = write!(err, "\r\x1b[2K{text}");
            let _ = err.flush();
        }
    }

    /// Takes the line away, before anything else is printed.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            let mut err = io::stderr().lock();
            let _ = write!(err, "\r\x1b[2K");
            let _ = err.flush();
        }
    }

    /// A note that stays.
    pub fn note(&mut self, text: &str) {
        self.clear();
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

impl Default for Status {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_elsewhere_controls_the_terminal() {
        assert_eq!(plain("ä b"), "ä b");
        assert_eq!(plain("a\x1b[2J\r\nb\u{9b}"), "a\\u{1b}[2J\\r\\nb\\u{9b}");
    }

    #[test]
    fn a_revocation_on_one_line() {
        let value = serde_json::json!({
            "id": "0f", "kind": "subject", "iss": "https://sts", "sub": "u1", "issued_before": 0, "exp": 60,
            "revoked_at": 1, "reason": "left\nus", "source": "hr",
        });
        assert_eq!(
            describe(&value),
            "subject  sub=u1  iss=https://sts  issued before 1970-01-01T00:00:00Z  until 1970-01-01T00:01:00Z  from hr  because: left\\nus  id 0f"
        );
        assert_eq!(time(i64::MAX), i64::MAX.to_string());
        assert_eq!(time(-1), "-1");
    }
}
