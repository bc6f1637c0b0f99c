//! Exit codes; everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    revocation_hub::memory::keep_tight();
    // First, because wrong options and --help need no runtime.
    ExitCode::from(revocation_hub::cli::run(revocation_hub::cli::Cli::parse()))
}
