//! The log as text: what `revocation-hub export` writes and `import` reads.
//!
//! One JSON object a line. The first says where the rows come from, each further one is a row of the log in the order of
//! its positions, tombstones included, and the last says how many there were: a file without it was cut off. It holds all
//! that a row has, so also the text of opaque tokens where a source has `keep_opaque`: it is to be kept like a password.

use serde::{Deserialize, Serialize};

use super::Change;
use crate::revocation::{Expiry, Kind, Revocation, Row, Target};

/// The version of the format.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    revocation_hub_export: u32,
    epoch: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    rows: u64,
    head: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    issued_before: Option<i64>,
    /// Missing: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    revoked_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wso2_key: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    lifted: bool,
}

/// Why a text is no export, or no whole one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDump {
    /// The first line is not that of an export.
    #[error("line 1: this is not an export of revocation-hub, or one of a newer version: {0}")]
    Header(String),
    /// A line cannot be read.
    #[error("line {0}: {1}")]
    Line(usize, String),
    /// The last line is missing, or counts other rows than there are.
    #[error("the export is not whole: its last line is missing or does not fit; nothing was imported")]
    Cut,
}

/// The first line.
pub fn first(epoch: &str) -> String {
    line(&First { revocation_hub_export: VERSION, epoch: epoch.to_owned() })
}

/// The line of a row.
pub fn row(row: &Row) -> String {
    let r = &row.revocation;
    line(&Line {
        kind: r.target.kind.name().to_owned(),
        iss: r.target.iss.clone(),
        value: r.target.value.clone(),
        issued_before: r.issued_before,
        exp: r.exp.seconds(),
        revoked_at: r.revoked_at,
        reason: r.reason.clone(),
        source: r.source.clone(),
        wso2_key: r.wso2_key.clone(),
        lifted: row.lifted,
    })
}

/// The last line.
pub fn last(rows: u64, head: u64) -> String {
    line(&Last { rows, head })
}

fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("strings and numbers are JSON")
}

/// Reads a whole export; nothing of it counts unless all of it can be read.
pub fn parse(text: &str) -> Result<Vec<Change>, InvalidDump> {
    let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(|(_, line)| !line.is_empty());
    let header = lines.next().map_or("", |(_, line)| line);
    match serde_json::from_str::<First>(header) {
        Ok(first) if first.revocation_hub_export == VERSION => {}
        Ok(first) => return Err(InvalidDump::Header(format!("version {}", first.revocation_hub_export))),
        Err(error) => return Err(InvalidDump::Header(error.to_string())),
    }
    let mut changes = Vec::new();
    let mut end = None;
    for (at, line) in lines {
        if end.is_some() {
            return Err(InvalidDump::Line(at, "there is something behind the end".into()));
        }
        if let Ok(last) = serde_json::from_str::<Last>(line) {
            end = Some(last.rows);
        } else {
            changes.push(change(line).map_err(|why| InvalidDump::Line(at, why))?);
        }
    }
    if end == Some(changes.len() as u64) { Ok(changes) } else { Err(InvalidDump::Cut) }
}

fn change(line: &str) -> Result<Change, String> {
    let line: Line = serde_json::from_str(line).map_err(|e| e.to_string())?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == line.kind);
    let kind = kind.ok_or_else(|| format!("there is no kind of target {:?}", line.kind))?;
    let target = Target { kind, iss: line.iss, value: line.value };
    if line.lifted {
        return Ok(Change::Lift(target.id()));
    }
    Ok(Change::revoke(Revocation {
        target,
        issued_before: line.issued_before,
        exp: line.exp.map_or(Expiry::NEVER, Expiry),
        revoked_at: line.revoked_at,
        reason: line.reason,
        source: line.source,
        wso2_key: line.wso2_key,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_row(value: &str, lifted: bool) -> Row {
        let target = Target { kind: Kind::Session, iss: Some("https://sts".into()), value: value.into() };
        let revocation = Revocation {
            issued_before: None,
            exp: if lifted { Expiry(7) } else { Expiry::NEVER },
            revoked_at: 5,
            reason: Some("a \"reason\"\n".into()),
            source: "webhook".into(),
            wso2_key: Some("key".into()),
            target,
        };
        Row { seq: 3, id: revocation.target.id(), lifted, revocation }
    }

    fn text(lines: &[String]) -> String {
        lines.join("\n")
    }

    #[test]
    fn rows_come_back_as_they_went() {
        let rows = [some_row("a", false), some_row("b", true)];
        let whole = text(&[first("abcdefgh"), row(&rows[0]), row(&rows[1]), last(2, 9)]);
        let expected = [Change::revoke(rows[0].revocation.clone()), Change::Lift(rows[1].id)];
        assert_eq!(parse(&whole).unwrap(), expected);
    }

    #[test]
    fn nothing_of_a_text_that_is_not_whole_is_taken() {
        let one = row(&some_row("a", false));
        assert_eq!(parse(&text(&[first("abcdefgh"), one.clone()])), Err(InvalidDump::Cut));
        assert_eq!(parse(&text(&[first("abcdefgh"), one.clone(), last(2, 2)])), Err(InvalidDump::Cut));
        assert!(matches!(parse(&text(&[one.clone(), last(1, 1)])), Err(InvalidDump::Header(_))));
        assert!(matches!(parse(""), Err(InvalidDump::Header(_))));
        let newer = first("abcdefgh").replace(":1,", ":2,");
        assert!(matches!(parse(&text(&[newer, last(0, 0)])), Err(InvalidDump::Header(_))));
        let unknown = one.replace("\"session\"", "\"seance\"");
        assert!(matches!(parse(&text(&[first("abcdefgh"), unknown, last(1, 1)])), Err(InvalidDump::Line(2, _))));
        let behind = text(&[first("abcdefgh"), last(0, 0), one]);
        assert!(matches!(parse(&behind), Err(InvalidDump::Line(3, _))));
    }
}
