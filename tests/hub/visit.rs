//! A visit of the doctor: `revocation-hub doctor`, as a script sees it.

use serde_json::Value;

use crate::harness::{Place, within};

/// What a doctor has said.
pub struct Visit {
    /// The exit code.
    pub code: i32,
    /// Everything it has printed.
    pub text: String,
    findings: Vec<Value>,
}

impl Visit {
    /// What was found of something, in words; the worst of it first. Panics when nothing was.
    pub fn of(&self, check: &str) -> (String, String) {
        let found = self.findings.iter().filter(|f| f["check"].as_str().unwrap().starts_with(check));
        let rank = |f: &&Value| ["ok", "warning", "failed"].iter().position(|s| f["severity"] == *s).unwrap();
        let mut found: Vec<&Value> = found.collect();
        found.sort_by_key(|f| std::cmp::Reverse(rank(f)));
        let words = found.iter().map(|f| format!("{} > {}\n", f["seen"], f["todo"]));
        let severity = found.first().unwrap_or_else(|| panic!("nothing of {check}: {}", self.text))["severity"].clone();
        (severity.as_str().unwrap().to_owned(), words.collect())
    }
}

/// Runs it with these settings, and these arguments, beside `--json`.
pub async fn doctor(place: &Place, settings: &str, arguments: &[&str]) -> Visit {
    let file = place.folder.path().join("doctor.toml");
    // A machine where tests run may have few open files.
    std::fs::write(
        &file,
        format!("{settings}\n[limits]\nmax_connections = 400\nmax_streams = 300\nmax_body_bytes = 65536\n"),
    )
    .unwrap();
    let program = env!("CARGO_BIN_EXE_revocation-hub");
    let mut command = tokio::process::Command::new(program);
    command.args(["doctor", "--json", "--config"]).arg(&file).args(arguments);
    if !settings.contains("database_url") {
        command.args(["--database-url", &place.url]);
    }
    let output = within("the doctor ends", command.output()).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text} {:?}", output.stderr));
    Visit { code: output.status.code().unwrap(), text, findings: report["findings"].as_array().unwrap().clone() }
}
