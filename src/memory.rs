//! Giving memory back to the system. The ledger is large and stays; what requests use is large and goes at once.
//!
//! glibc keeps what a burst has used, in up to eight arenas a core, and learns to put large blocks there too. (mimalloc was
//! tried instead and took more, above all for idle streams.)

/// Two arenas, blocks from 1 MiB on mapped and returned one by one, and up to 16 MiB kept at the end of an arena: a batch of a
/// thousand lines would otherwise have its pages fetched and returned several times over. Sweeps give back what is kept. To be
/// called before there are other threads.
pub fn keep_tight() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) takes two numbers and only sets parameters.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 20);
    }
}

/// Returns free pages to the system; takes some milliseconds of processor time.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim(3) only touches what is free, under the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}
