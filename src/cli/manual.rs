//! What other programs say of the command line: completions for shells, and manual pages. Both are made from its definition.

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Cli;

/// After the help of `completions`.
pub const COMPLETIONS_HELP: &str = "\
Examples:
  revocation-hub completions bash >~/.local/share/bash-completion/completions/revocation-hub
  revocation-hub completions zsh >~/.zfunc/_revocation-hub
  revocation-hub completions fish >~/.config/fish/completions/revocation-hub.fish";

/// After the help of `man`.
pub const MAN_HELP: &str = "\
Examples:
  revocation-hub man ~/.local/share/man/man1
  man revocation-hub-serve";

/// For which shell.
#[derive(clap::Args, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Where to.
#[derive(clap::Args, Debug)]
pub struct Man {
    /// The folder that the pages are written to, one for each command; it is made when it is missing. Without it the page of
    /// the whole program goes to standard output
    folder: Option<PathBuf>,
}

/// Prints a script that completes words in a shell.
pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "revocation-hub", &mut text);
    std::io::stdout().write_all(&text).context("cannot write to standard output")
}

/// Writes the pages of section 1 of the manual.
pub fn man(args: &Man) -> anyhow::Result<()> {
    let Some(folder) = &args.folder else {
        let mut out = std::io::stdout();
        return clap_mangen::Man::new(Cli::command()).render(&mut out).context("cannot write to standard output");
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    clap_mangen::generate_to(Cli::command(), folder)
        .with_context(|| format!("cannot write to {}", folder.display()))?;
    if std::io::stdout().is_terminal() {
        println!("the pages are in {}", folder.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_its_page() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("man1");
        man(&Man { folder: Some(pages.clone()) }).unwrap();
        let mut command = Cli::command();
        command.build();
        for sub in command.get_subcommands() {
            let page = std::fs::read_to_string(pages.join(format!("revocation-hub-{}.1", sub.get_name()))).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{}", sub.get_name());
        }
        assert!(std::fs::read_to_string(pages.join("revocation-hub.1")).unwrap().contains("revocation\\-hub"));
    }

    #[test]
    fn each_shell_is_told_of_each_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "revocation-hub", &mut text);
            let text = String::from_utf8(text).unwrap();
            for sub in Cli::command().get_subcommands() {
                assert!(text.contains(sub.get_name()), "{shell}: {}", sub.get_name());
            }
        }
    }
}
