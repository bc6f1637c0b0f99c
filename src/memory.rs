//! Giving memory back to the system. The ledger is large and stays; what requests use is large and goes at once.
//!
//! glibc keeps what a burst has used, in up to eight arenas a core, and learns to put large blocks there too. (mimalloc was
//! tried instead and took more, above all for idle streams.)

/// Two arenas, and blocks from 128 KiB on mapped and returned one by one. To be called before there are other threads.
pub fn keep_tight() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt(3) takes two numbers and only sets parameters.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
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
