//! What the doctor has to say, for people and for scripts.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::output::{line, plain};
use crate::config::Config;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing to do.
    Ok,
    /// It works, and somebody should know or do something.
    Warning,
    /// A hub does not work with it, or does not keep what it promises.
    Failed,
}

/// What was seen of one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, such as `store` or `source "broker"`.
    pub check: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen.
    pub seen: String,
    /// What to do about it; nothing when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub todo: Option<String>,
}

/// One check, and what it has found so far.
#[derive(Debug)]
pub struct Check {
    name: String,
    findings: Vec<Finding>,
}

impl Check {
    /// Runs a check for `limit` at the most. What it has found by then counts.
    pub async fn run(name: impl Into<String>, limit: Duration, work: impl AsyncFnOnce(&mut Self)) -> Vec<Finding> {
        let mut check = Self { name: name.into(), findings: Vec::new() };
        if timeout(limit, work(&mut check)).await.is_err() {
            check.failed(
                format!("not done within {limit:?}"),
                "see whether what it looks at hangs or the network drops packets; --timeout gives it longer",
            );
        }
        check.findings
    }

    /// All is well.
    pub fn ok(&mut self, seen: impl Into<String>) {
        self.add(Severity::Ok, seen.into(), None);
    }

    /// It works, but.
    pub fn warning(&mut self, seen: impl Into<String>, todo: impl Into<String>) {
        self.add(Severity::Warning, seen.into(), Some(todo.into()));
    }

    /// It does not work.
    pub fn failed(&mut self, seen: impl Into<String>, todo: impl Into<String>) {
        self.add(Severity::Failed, seen.into(), Some(todo.into()));
    }

    /// Whether something has failed.
    pub fn has_failed(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Failed)
    }

    fn add(&mut self, severity: Severity, seen: String, todo: Option<String>) {
        self.findings.push(Finding { check: self.name.clone(), severity, seen, todo });
    }
}

#[cfg(test)]
impl Check {
    /// For tests of what is made of facts.
    pub fn of(judge: impl FnOnce(&mut Self)) -> Vec<Finding> {
        let mut check = Self { name: "test".into(), findings: Vec::new() };
        judge(&mut check);
        check.findings
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub struct Report {
    findings: Vec<Finding>,
    /// What must not be printed. Nothing that is printed is made of secrets; this is for what others' errors repeat.
    secrets: Vec<String>,
}

/// A shorter secret is too likely to be a part of something else.
const SHORTEST: usize = 6;

impl Report {
    /// A report on this configuration, without its secrets.
    pub fn new(config: &Config) -> Self {
        let mut secrets: Vec<_> = config.secrets().into_iter().filter(|s| s.len() >= SHORTEST).collect();
        // What contains another goes first, or a piece of it would be left.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { findings: Vec::new(), secrets }
    }

    /// Adds findings.
    pub fn extend(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for mut finding in findings {
            finding.seen = self.clean(&finding.seen);
            finding.todo = finding.todo.map(|text| self.clean(&text));
            self.findings.push(finding);
        }
    }

    fn clean(&self, text: &str) -> String {
        let text = self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "***"));
        plain(&text).into_owned()
    }

    /// The worst of it.
    pub fn worst(&self) -> Severity {
        self.findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Ok)
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|f| f.severity == severity).count()
    }

    /// One JSON object.
    pub fn print_json(&self) -> std::io::Result<()> {
        let report = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "worst": self.worst(),
            "findings": self.findings,
        });
        line(&format!("{report:#}"))
    }

    /// A line for each finding, and one for what to do about it; the sum at the end.
    pub fn print_text(&self) -> std::io::Result<()> {
        let width = self.findings.iter().map(|f| f.check.chars().count()).max().unwrap_or(0);
        for Finding { check, severity, seen, todo } in &self.findings {
            let severity = match severity {
                Severity::Ok => "ok",
                Severity::Warning => "warning",
                Severity::Failed => "FAILED",
            };
            line(&format!("{severity:<7}  {check:<width$}  {seen}"))?;
            if let Some(todo) = todo {
                line(&format!("{:<7}  {:<width$}  > {todo}", "", ""))?;
            }
        }
        let (ok, warnings, failed) =
            (self.count(Severity::Ok), self.count(Severity::Warning), self.count(Severity::Failed));
        line(&format!("{ok} ok, {warnings} to look at, {failed} failed"))
    }
}

/// Does what can hang (a file on a network that is away) on a thread of its own, which the end of the program does not wait
/// for. `None` when the work has died.
pub async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;

    #[tokio::test]
    async fn a_check_that_hangs_keeps_what_it_has_found() {
        let findings = Check::run("x", Duration::from_millis(1), async |check| {
            check.ok("first");
            std::future::pending().await
        });
        let severities: Vec<_> = findings.await.iter().map(|f| f.severity).collect();
        assert_eq!(severities, [Severity::Ok, Severity::Failed]);
    }

    #[test]
    fn no_secret_is_printed_whatever_an_error_repeats() {
        let url = DatabaseUrl::new("postgres://hub:hunter%212@db/hub");
        let mut report = Report::new(&Config { database_url: url, ..Config::default() });
        report.extend(Check::of(|check| check.failed("no login with hunter!2", "hunter%212 or hub?")));
        let found = &report.findings[0];
        assert_eq!((&*found.seen, found.todo.as_deref()), ("no login with ***", Some("*** or hub?")));
        assert_eq!(report.worst(), Severity::Failed);
    }
}
