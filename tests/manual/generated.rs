//! Completions and manual pages, in the hands of the shells and of `man`. A shell that is not installed is passed over here;
//! `./scripts/test` installs them all.

use std::process::Command;

use clap::CommandFactory as _;
use revocation_hub::cli::Cli;

use crate::{hub, printed};

fn is_here(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn script(shell: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(if shell == "zsh" { "_revocation-hub" } else { "revocation-hub" });
    std::fs::write(&path, printed(hub().args(["completions", shell]))).unwrap();
    (folder, path)
}

#[test]
fn bash_completes_commands_and_options() {
    let (_folder, path) = script("bash");
    let complete = |words: &str| {
        let ask = r#"source "$1"; COMP_WORDS=($2 ""); [ "$3" ] && COMP_WORDS[-1]="$3"; COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            said=$(complete -p revocation-hub); said=${said#*-F }
            "${said%% *}" revocation-hub "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"; printf '%s\n' "${COMPREPLY[@]}""#;
        let (before, word) = words.rsplit_once(' ').unwrap();
        printed(Command::new("bash").args(["-euc", ask, "bash"]).arg(&path).args([before, word]))
    };
    assert!(complete("revocation-hub ").lines().any(|line| line == "doctor"));
    assert_eq!(complete("revocation-hub rev"), "revoke\n");
    assert!(complete("revocation-hub revoke --").lines().any(|line| line == "--token-file"));
    assert_eq!(complete("revocation-hub parked re"), "replay\n");
    assert_eq!(complete("revocation-hub completions z"), "zsh\n");
}

#[test]
fn zsh_and_fish_understand_theirs() {
    if is_here("zsh") {
        let (_folder, path) = script("zsh");
        printed(Command::new("zsh").arg("-n").arg(&path));
        // `compinit` takes a file for a function by this line.
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("#compdef revocation-hub\n"));
    }
    if is_here("fish") {
        let (_folder, path) = script("fish");
        let ask = format!("source {}; complete -C 'revocation-hub rev'", path.display());
        let answer = printed(Command::new("fish").args(["--no-config", "-c", &ask]).env("HOME", _folder.path()));
        assert_eq!(answer.lines().map(|line| line.split('\t').next().unwrap()).collect::<Vec<_>>(), ["revoke"]);
    }
}

#[test]
fn an_unknown_shell_is_told_the_known_ones() {
    let answer = hub().args(["completions", "csh"]).output().unwrap();
    assert_eq!(answer.status.code(), Some(2));
    let said = String::from_utf8(answer.stderr).unwrap();
    assert!(said.contains("bash, zsh, fish"), "{said}");
}

/// Each command has its page, `man` formats it without a complaint, and it says what `--help` says.
#[test]
fn every_command_has_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let written = printed(hub().arg("man").arg(folder.path()));
    let mut all = Cli::command();
    all.build();
    let mut left = vec![&all];
    let mut pages = 0;
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands());
        let path = folder.path().join(format!("{}.1", command.get_display_name().unwrap_or(command.get_name())));
        assert!(written.lines().any(|line| line == path.to_str().unwrap()), "{}: {written}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(".SH SYNOPSIS") && text.contains("revocation\\-hub "), "{text}");
        pages += 1;
    }
    assert_eq!(written.lines().count(), pages);
    if is_here("groff") {
        for page in written.lines() {
            let format = Command::new("groff").args(["-k", "-man", "-Tutf8", "-ww", "-z", page]).output().unwrap();
            assert!(format.status.success() && format.stderr.is_empty(), "{page}: {format:?}");
        }
    }
    let page = folder.path().join("revocation-hub.1");
    if is_here("man") {
        let text =
            printed(Command::new("man").arg("-l").arg(page).env("MANWIDTH", "100").env("MAN_KEEP_FORMATTING", ""));
        // One exit code on a line, and not all of them in one paragraph.
        assert!(text.lines().any(|line| line.trim() == "64  the configuration is wrong"), "{text}");
    }
}

#[test]
fn a_missing_folder_is_named() {
    let answer = hub().args(["man", "/nonexistent/man1"]).output().unwrap();
    assert_eq!(answer.status.code(), Some(1));
    let said = String::from_utf8(answer.stderr).unwrap();
    assert!(said.contains("there is no folder /nonexistent/man1") && said.contains("mkdir"), "{said}");
}
