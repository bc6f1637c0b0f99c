//! What the documents say is there: links, anchors, commands, metrics, settings, log lines, and the code of the consumer.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Command, CommandFactory as _};
use revocation_hub::cli::Cli;

/// A document, with its code set apart.
struct Document {
    name: String,
    path: PathBuf,
    /// Paragraphs outside of blocks of code.
    text: Vec<String>,
    /// The same without what is code in them.
    prose: Vec<String>,
    /// Code in lines.
    spans: Vec<String>,
    /// Lines of blocks; those that go on after a backslash are one.
    code: Vec<String>,
    anchors: BTreeSet<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|why| panic!("{name}: {why}"))
}

fn files(folder: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, suffix, found);
        } else if path.to_str().is_some_and(|name| name.ends_with(suffix)) {
            found.push(path);
        }
    }
}

/// Everything that is written for people who use or run a hub.
fn documents() -> Vec<Document> {
    let mut found = vec![root().join("README.md"), root().join("CHANGELOG.md"), root().join("benches/README.md")];
    files(&root().join("docs"), ".md", &mut found);
    files(&root().join("integrations"), ".md", &mut found);
    found.sort();
    found.into_iter().map(Document::read).collect()
}

impl Document {
    fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.strip_prefix(root()).unwrap().display().to_string();
        let mut document = Self {
            name,
            path,
            text: Vec::new(),
            prose: Vec::new(),
            spans: Vec::new(),
            code: Vec::new(),
            anchors: BTreeSet::new(),
        };
        let (mut fenced, mut text_before, mut goes_on) = (false, String::new(), false);
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                fenced = !fenced;
            } else if fenced || line.starts_with("    ") {
                let (line, next) = match line.trim().strip_suffix('\\') {
                    Some(line) => (line.trim(), true),
                    None => (line.trim(), false),
                };
                match document.code.last_mut() {
                    Some(last) if goes_on => *last = format!("{last} {line}"),
                    _ => document.code.push(line.to_owned()),
                }
                goes_on = next;
            } else {
                goes_on = false;
                // Code in a line may go on in the next one of its paragraph.
                if line.trim().is_empty() {
                    document.paragraph(&std::mem::take(&mut text_before));
                } else if line.starts_with('#') {
                    document.paragraph(&std::mem::take(&mut text_before));
                    document.heading(line.trim_start_matches('#').trim());
                } else {
                    text_before = format!("{text_before} {}", line.trim());
                }
            }
        }
        assert!(!fenced, "{}: a block of code that does not end", document.name);
        document.paragraph(&text_before);
        document
    }

    fn paragraph(&mut self, text: &str) {
        let mut prose = String::new();
        for (i, part) in text.split('`').enumerate() {
            if i % 2 == 1 {
                self.spans.push(part.to_owned());
            } else {
                prose.push_str(part);
            }
        }
        self.prose.push(prose);
        self.text.push(text.to_owned());
    }

    /// As GitHub and most others make anchors of headings.
    fn heading(&mut self, text: &str) {
        let kept = text.to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        let slug: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let mut anchor = slug.clone();
        for n in 1.. {
            if self.anchors.insert(anchor) {
                break;
            }
            anchor = format!("{slug}-{n}");
        }
    }

    /// Words of names in code and prose: letters, digits, `_` and `.`.
    fn words(&self) -> impl Iterator<Item = &str> {
        let lines = self.prose.iter().chain(&self.spans).chain(&self.code);
        lines.flat_map(|line| line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')))
    }
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    let anchors: HashMap<_, _> = documents.iter().map(|d| (d.path.canonicalize().unwrap(), &d.anchors)).collect();
    let mut links = 0;
    for document in &documents {
        for prose in &document.prose {
            let targets = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            for target in targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
                links += 1;
                let (file, anchor) = target.split_once('#').map_or((target, None), |(file, a)| (file, Some(a)));
                let path = match file {
                    "" => document.path.clone(),
                    file => document.path.parent().unwrap().join(file),
                };
                let path = path.canonicalize().unwrap_or_else(|_| panic!("{}: {target} is not there", document.name));
                if let Some(anchor) = anchor {
                    let known =
                        anchors.get(&path).unwrap_or_else(|| panic!("{}: {target} is no document", document.name));
                    assert!(known.contains(anchor), "{}: {target}: no such heading", document.name);
                }
            }
        }
        for span in &document.spans {
            let first = span.split('/').next().unwrap();
            let plain = span.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
            if plain && !first.is_empty() && span.contains('/') && root().join(first).is_dir() {
                assert!(root().join(span).exists(), "{}: {span} is not there", document.name);
            }
        }
    }
    assert!(links > 30, "{links} links");
}

/// The words of a shell's line up to what is for the shell: pipes, redirections, comments.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some(_), c) => words.last_mut().unwrap().push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '|' | '>' | '<' | '&' | ';' | ')') => break,
            (None, '#') if words.last().unwrap().is_empty() => break,
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (None, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// The command lines of ours in a line of code.
fn commands(line: &str) -> impl Iterator<Item = Vec<String>> {
    let line = line.replace("cargo run --release -- ", "revocation-hub ");
    let starts: Vec<usize> = line
        .match_indices("revocation-hub ")
        .map(|(at, _)| at)
        .filter(|&at| {
            let before = line[..at].trim_end();
            let assigned = before.rsplit(' ').next().is_some_and(|word| word.starts_with("REVOCATION_HUB_"));
            before.is_empty()
                || assigned
                || before.ends_with(['$', '|', ';', '&', '('])
                || before.ends_with(" --")
                || before.ends_with("sudo")
        })
        .collect();
    starts.into_iter().map(move |at| words(&line[at..])).collect::<Vec<_>>().into_iter()
}

#[test]
fn every_command_line_in_a_block_is_one() {
    let mut seen = 0;
    for document in documents() {
        for line in &document.code {
            for words in commands(line) {
                seen += 1;
                let refused = Cli::command().try_get_matches_from(&words).err();
                let refused =
                    refused.filter(|e| !matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion));
                assert!(refused.is_none(), "{}: {line}\n{}", document.name, refused.unwrap());
            }
        }
    }
    assert!(seen > 10, "{seen} command lines");
}

/// In a line of text a command may be named in part; what is named of it has to be there.
#[test]
fn every_command_in_a_sentence_is_there() {
    for document in documents() {
        for span in document.spans.iter().filter(|span| span.starts_with("revocation-hub ")) {
            let mut top = Cli::command();
            top.build();
            let mut command: &Command = &top;
            for word in words(span).iter().skip(1) {
                if let Some(option) = word.strip_prefix("--") {
                    let name = option.split('=').next().unwrap();
                    let known =
                        command.get_opts().any(|o| o.get_long() == Some(name)) || name == "help" || name == "version";
                    assert!(known, "{}: `{span}`: no option --{name}", document.name);
                } else if command.has_subcommands() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'-') {
                    let found = command.get_subcommands().find(|c| c.get_name() == word);
                    command = found.unwrap_or_else(|| panic!("{}: `{span}`: no command {word}", document.name));
                }
            }
        }
    }
}

/// The names in `src/metrics.rs`, without `revocation_hub_`.
fn metrics() -> BTreeSet<String> {
    let text = read("src/metrics.rs");
    let definitions = text.split_once("metrics! {").unwrap().1;
    let kinds = ["IntCounter", "IntGauge", "IntCounterVec", "IntGaugeVec", "Gauge", "Histogram"];
    let lines = definitions.lines().filter_map(|line| line.split_once(": ")?.1.split_once("(\""));
    let names =
        lines.filter(|(kind, _)| kinds.contains(kind)).map(|(_, rest)| rest.split('"').next().unwrap().to_owned());
    names.collect()
}

#[test]
fn every_metric_is_one() {
    let known = metrics();
    assert!(known.len() > 40, "{known:?}");
    let is_known = |name: &str| {
        let plain = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
        known.contains(name) || plain.is_some_and(|plain| known.contains(plain))
    };
    for document in documents() {
        for word in document.words() {
            let word = word.trim_matches('.');
            if let Some(name) = word.strip_prefix("revocation_hub_") {
                assert!(is_known(name), "{}: no metric {word}", document.name);
            } else if word.ends_with("_total") && document.spans.iter().any(|span| span == word) {
                assert!(is_known(word), "{}: no metric revocation_hub_{word}", document.name);
            }
        }
    }
}

/// The reference is made from the settings; here the other documents are compared with it.
#[test]
fn every_setting_is_one() {
    let reference = read("docs/configuration.md");
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| [`")?.split('`').next());
    let known: BTreeSet<&str> = rows.map(|name| name.trim_matches(['[', ']'])).collect();
    assert!(known.len() > 50, "{known:?}");
    let tables: BTreeSet<&str> = known.iter().filter_map(|name| Some(name.split_once('.')?.0)).collect();
    let of_clients = ["CONFIG", "URL", "USER", "PASSWORD", "PASSWORD_FILE", "BEARER", "BEARER_FILE"];
    for document in documents() {
        for word in document.words() {
            let word = word.trim_matches('.');
            if let Some(name) = word.strip_prefix("REVOCATION_HUB_") {
                let setting = name.to_lowercase().replace("__", ".");
                let known = name.is_empty() || of_clients.contains(&name) || known.contains(&*setting);
                assert!(known, "{}: {word} sets nothing", document.name);
            }
        }
        for span in &document.spans {
            let span = span.split(" =").next().unwrap();
            let Some((table, name)) = span.split_once('.') else { continue };
            let is_name = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let is_file = ["md", "crt", "key", "rs", "db", "toml", "yaml", "json", "py", "ndjson"].contains(&name);
            if tables.contains(table) && is_name && !is_file {
                // A secret may be given in a file or as it is.
                let twin = format!("{span}_file");
                assert!(known.contains(span) || known.contains(&*twin), "{}: no setting {span}", document.name);
            }
        }
    }
}

/// In `docs/troubleshooting.md` text in quotes is what the program says.
#[test]
fn every_message_that_is_quoted_is_one() {
    let mut sources = Vec::new();
    files(&root().join("src"), ".rs", &mut sources);
    let sources: Vec<String> = sources.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let document = Document::read(root().join("docs/troubleshooting.md"));
    let mut seen = 0;
    for paragraph in &document.text {
        for message in paragraph.split('"').skip(1).step_by(2) {
            seen += 1;
            for part in message.split('…').filter(|part| !part.is_empty()) {
                assert!(sources.iter().any(|text| text.contains(part)), "nobody says {part:?}");
            }
        }
    }
    assert!(seen > 15, "{seen} messages");
}

#[test]
fn the_consumer_that_is_shown_is_the_one_that_is_tested() {
    let code = read("integrations/consumer/consumer.py");
    let document = read("docs/clients.md");
    assert!(document.contains(&format!("```python\n{code}```\n")), "docs/clients.md shows another consumer.py");
}
