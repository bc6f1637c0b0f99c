//! Exit codes and the runtime; everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    revocation_hub::memory::keep_tight();
    // First, because wrong options and --help need no runtime.
    let cli = revocation_hub::cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("revocation-hub: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(revocation_hub::cli::run(cli));
    // What still runs is the lookup of a name or the like. A resolver that is away must not hold up the end.
    runtime.shutdown_background();
    ExitCode::from(code)
}
