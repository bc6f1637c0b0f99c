//! `revocation-hub completions` and `man`: what shells and `man` know of the command line, made from its definition.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, output};

/// The name that people type.
const NAME: &str = "revocation-hub";

/// What `completions --help` says below the options.
pub const COMPLETIONS_HELP: &str = "\
Prints the script to standard output. New shells then complete commands and options at Tab.

Examples:
  revocation-hub completions bash > ~/.local/share/bash-completion/completions/revocation-hub
  revocation-hub completions zsh > /usr/local/share/zsh/site-functions/_revocation-hub
  revocation-hub completions fish > ~/.config/fish/completions/revocation-hub.fish";

/// What `man --help` says below the options.
pub const MAN_HELP: &str = "\
Writes one page for the program and one for each command. Pages of the same names are replaced.

Examples:
  revocation-hub man /usr/local/share/man/man1
  revocation-hub man . && man ./revocation-hub-revoke.1";

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell that is to complete
    #[arg(value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub struct Man {
    /// The folder to write to; it has to exist
    folder: PathBuf,
}

/// Prints the script for a shell.
pub fn completions(args: &Completions) -> anyhow::Result<()> {
    let shell: Shell = args.shell.parse().map_err(anyhow::Error::msg)?;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), NAME, &mut script);
    // clap_complete 4.6 calls the parts of its script for bash by two different names when the program's has a hyphen, so that
    // nothing behind a command would be completed. Without effect once that is mended.
    let script = String::from_utf8(script)?.replace("revocation__subcmd__hub", "revocation__hub");
    Ok(output::line(script.trim_end())?)
}

/// Writes the pages and prints where.
pub fn man(args: &Man) -> anyhow::Result<()> {
    let folder = args.folder.display();
    // Looked at first, because the error of a page would name that page, and the folder is what is wrong.
    anyhow::ensure!(args.folder.is_dir(), "there is no folder {folder}; make it first: mkdir -p {folder}");
    let mut all = Cli::command();
    all.build();
    let mut left = vec![all];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands().filter(|c| !c.is_hide_set()).cloned());
        let page = clap_mangen::Man::new(command).source(concat!("revocation-hub ", env!("CARGO_PKG_VERSION")));
        page.generate_to(&args.folder).with_context(|| format!("cannot write {folder}/{}", page.get_filename()))?;
        output::line(&args.folder.join(page.get_filename()).display().to_string())?;
    }
    Ok(())
}
