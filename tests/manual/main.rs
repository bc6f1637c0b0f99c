//! What people read to get along: manual pages, completions, and the messages of a program that was started wrongly.
//! Everything is done by the program that people get.

mod generated;
mod strangers;

use std::process::{Command, Output};

/// The program, with nothing of this shell's settings.
fn hub() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("REVOCATION_HUB") {
            command.env_remove(name);
        }
    }
    command
}

/// What it printed, when it worked.
fn printed(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(status.success(), "{command:?}: {status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}
