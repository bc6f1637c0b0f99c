//! Exit codes and the runtime; everything else is in the library.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    keep_memory_tight();
    // First, because wrong options and --help need no runtime.
    let cli = revocation_hub::cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("revocation-hub: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    ExitCode::from(runtime.block_on(revocation_hub::cli::run(cli)))
}

/// glibc keeps what a burst of requests has used, in up to eight arenas a core, and learns to put large blocks there too.
/// Two arenas, and blocks from 128 KiB on mapped and returned one by one, save some 60 bytes a revocation after loading a
/// million. (mimalloc was tried and took more, above all for idle streams.)
fn keep_memory_tight() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) only sets parameters, and no other thread exists yet.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}
