//! Makes `docs/configuration.md` from `default.toml`, and says when it is stale.

use std::fmt::Write as _;
use std::path::Path;

use super::{Config, ConfigError, DEFAULT_TOML, Overrides, PREFIX};

const HEAD: &str = "\
<!-- Made from src/config/default.toml: WRITE_REFERENCE=1 cargo test --lib config::reference -->

# Configuration

Every setting with its default, its unit, its reason and its environment variable. `revocation-hub config default` prints the same
as a file to start from, `revocation-hub config check FILE` says what is wrong in yours.

";

/// A setting at one place of the file, or what stands between settings.
enum Part {
    /// `[name]` or the name of a list of tables, and what is said about all of it.
    Section {
        name: String,
        list: bool,
    },
    Setting(Setting),
    Text(Vec<&'static str>),
    Example(Vec<&'static str>),
}

struct Setting {
    name: String,
    /// Whether it is not set unless somebody writes it.
    off: bool,
    /// The default as TOML; when it is off an example.
    value: &'static str,
    about: Vec<&'static str>,
}

impl Setting {
    fn default(&self) -> String {
        if self.off { "none".into() } else { format!("`{}`", self.value) }
    }

    fn variable(&self) -> String {
        format!("{PREFIX}{}", self.name.to_uppercase().replace('.', "__"))
    }

    fn unit(&self) -> &'static str {
        let about = self.about.join(" ");
        let named = [("(duration", "duration"), ("(count)", "count"), ("(percent)", "percent"), ("in bytes", "bytes")];
        if let Some((_, unit)) = named.iter().find(|(word, _)| about.contains(word)) {
            return unit;
        }
        match self.value.as_bytes()[0] {
            b'[' => "list",
            b't' | b'f' => "true or false",
            b'"' if self.name.ends_with("_file") => "path of a file",
            b'"' => "text",
            _ => panic!("{} does not say its unit", self.name),
        }
    }
}

/// `name = value`, at the beginning of the line.
fn assignment(line: &'static str) -> Option<(&'static str, &'static str)> {
    let (name, value) = line.split_once(" = ")?;
    name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_').then_some((name, value))
}

fn comment(line: &'static str) -> &'static str {
    line.strip_prefix("# ").or_else(|| line.strip_prefix('#')).unwrap_or(line)
}

/// The file, taken apart. A paragraph is a comment and the settings that it is about.
fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut section = String::new();
    for paragraph in DEFAULT_TOML.lines().collect::<Vec<_>>().split(|line| line.is_empty()) {
        let table = |line: &&'static str| comment(line).strip_prefix("[[").and_then(|rest| rest.strip_suffix("]]"));
        if let Some(at) = paragraph.iter().position(|line| table(line).is_some()) {
            let name = table(&paragraph[at]).unwrap();
            if section != name {
                section = name.to_owned();
                parts.push(Part::Section { name: section.clone(), list: true });
            }
            parts.push(Part::Text(paragraph[..at].iter().map(|line| comment(line)).collect()));
            parts.push(Part::Example(paragraph[at..].iter().map(|line| comment(line)).collect()));
            continue;
        }
        let mut about = Vec::new();
        let mut settings = Vec::new();
        for line in paragraph {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').to_owned();
                parts.push(Part::Section { name: section.clone(), list: false });
            } else if let Some((name, value)) = assignment(comment(line)) {
                let name = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
                settings.push((name, line.starts_with('#'), value));
            } else {
                about.push(comment(line));
            }
        }
        if settings.is_empty() {
            parts.push(Part::Text(about));
            continue;
        }
        for (name, off, value) in settings {
            parts.push(Part::Setting(Setting { name, off, value, about: about.clone() }));
        }
    }
    parts
}

/// Text as Markdown shows it: what looks like a tag is one only in code.
fn escaped(text: &str) -> String {
    let parts = text.split('`').enumerate();
    let parts = parts.map(|(i, part)| if i % 2 == 1 { part.to_owned() } else { part.replace('<', "\\<") });
    parts.collect::<Vec<_>>().join("`")
}

/// Two blanks or more, where a column ends.
fn columns(line: &'static str) -> Option<(&'static str, &'static str)> {
    let (first, rest) = line.split_once("  ")?;
    (!first.is_empty()).then(|| (first, rest.trim_start()))
}

/// A comment: sentences, and tables of what is written in two columns.
fn text(out: &mut String, lines: &[&'static str]) {
    // Where the values of a setting begin that has a list of them, and whether a table or code is open.
    let mut values_at = None;
    let (mut table, mut code) = (false, false);
    for &line in lines {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if table && indent < 3 {
            out.push_str(" |\n");
        }
        match indent {
            0 => {
                if table || code {
                    out.push('\n');
                }
                (table, code) = (false, false);
                writeln!(out, "{}", escaped(text)).unwrap();
            }
            2 if text.starts_with(PREFIX) => {
                out.push_str(if code { "" } else { "\n" });
                code = true;
                writeln!(out, "    {text}").unwrap();
            }
            2 => {
                out.push_str(if table { "" } else { "\n| | |\n|---|---|\n" });
                table = true;
                let (name, about) = columns(text).unwrap_or((text, ""));
                values_at = columns(about).map(|_| line.len() - about.len());
                write!(out, "| `{}` |", name.trim_matches('"')).unwrap();
                if !about.is_empty() {
                    write!(out, " {}", cell(about)).unwrap();
                }
            }
            _ if columns(text).is_some() => write!(out, "<br>{}", cell(text)).unwrap(),
            _ if values_at == Some(indent) => write!(out, "<br>`{text}`:").unwrap(),
            _ => write!(out, " {}", cell(text)).unwrap(),
        }
    }
    if table {
        out.push_str(" |\n");
    }
}

/// A value and what it means, or a sentence.
fn cell(line: &'static str) -> String {
    let plain = |text: &str| escaped(text).replace('|', "\\|");
    match columns(line) {
        Some((name, about)) => format!("`{}`: {}", name.trim_matches('"'), plain(about)),
        None => plain(line),
    }
}

fn reference() -> String {
    let parts = parts();
    let mut out = HEAD.to_owned();
    out.push_str("| setting | default | unit |\n|---|---|---|\n");
    for part in &parts {
        match part {
            Part::Setting(setting) => {
                let anchor = setting.name.replace('.', "");
                writeln!(out, "| [`{}`](#{anchor}) | {} | {} |", setting.name, setting.default(), setting.unit())
                    .unwrap();
            }
            Part::Section { name, list: true } => {
                writeln!(out, "| [`[[{name}]]`](#{name}) | | list of tables |").unwrap();
            }
            _ => {}
        }
    }
    out.push_str("\n## How it is read\n\nWhat the default file says of itself:\n\n");
    for part in &parts {
        match part {
            Part::Section { name, list: false } => write!(out, "\n## `[{name}]`\n\n").unwrap(),
            Part::Section { name, list: true } => {
                let variable = format!("{PREFIX}{}", name.to_uppercase());
                write!(out, "\n## `[[{name}]]`\n\nIn the environment: `{variable}`, the whole list as TOML.\n\n")
                    .unwrap();
            }
            Part::Setting(setting) => {
                write!(out, "\n### `{}`\n\n", setting.name).unwrap();
                writeln!(out, "Default {} · {} · `{}`\n", setting.default(), setting.unit(), setting.variable())
                    .unwrap();
                text(&mut out, &setting.about);
                if setting.off {
                    write!(out, "\nFor example `{}`.\n", setting.value).unwrap();
                }
            }
            Part::Text(lines) if lines.is_empty() => {}
            Part::Text(lines) => {
                out.push('\n');
                text(&mut out, lines);
            }
            Part::Example(lines) => {
                let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
                if out.ends_with("```\n") {
                    out.truncate(out.len() - "```\n".len());
                    write!(out, "\n{lines}```\n").unwrap();
                } else {
                    write!(out, "\n```toml\n{lines}```\n").unwrap();
                }
            }
        }
    }
    // Paragraphs bring their own empty lines; two are one too many.
    while out.contains("\n\n\n") {
        out = out.replace("\n\n\n", "\n\n");
    }
    out
}

#[test]
fn the_reference_is_what_the_default_file_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    if std::env::var_os("WRITE_REFERENCE").is_some() {
        std::fs::write(&path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference(),
        "docs/configuration.md is stale: WRITE_REFERENCE=1 cargo test --lib config::reference"
    );
}

/// A variable that the reference names is one that the program takes.
#[test]
fn each_variable_of_the_reference_sets_its_setting() {
    let refused = |variable: String| {
        let taken = Config::load_from(None, [(variable.into(), "no value of anything".into())], Overrides::default());
        matches!(taken, Err(ConfigError::Unknown { .. }))
    };
    assert!(refused(format!("{PREFIX}LIMITS__MAX_NOTHING")));
    for part in parts() {
        let variable = match part {
            Part::Setting(setting) => setting.variable(),
            Part::Section { name, list: true } => format!("{PREFIX}{}", name.to_uppercase()),
            _ => continue,
        };
        assert!(!refused(variable.clone()), "{variable}");
    }
}
