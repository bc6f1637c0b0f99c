//! How the bench ends early: a flag that every loop looks at, and a way to take the child along from any thread.

use anyhow::bail;
use parking_lot::Mutex;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Shared by all threads of the bench.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    asked: AtomicBool,
    child: Mutex<Option<Child>>,
}

impl Stop {
    /// Ends everything: loops at their next turn, and the hub at once, so that nobody goes on waiting for it.
    pub fn now(&self) {
        self.0.asked.store(true, Ordering::Release);
        self.kill_child();
    }

    pub fn asked(&self) -> bool {
        self.0.asked.load(Ordering::Acquire)
    }

    pub fn check(&self) -> anyhow::Result<()> {
        if self.asked() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Puts `child` under this guard.
    pub fn adopt(&self, child: Child) -> anyhow::Result<()> {
        *self.0.child.lock() = Some(child);
        if self.asked() {
            self.kill_child();
        }
        self.check()
    }

    /// Looks at the child; none when it has been killed.
    pub fn with_child<T>(&self, f: impl FnOnce(&mut Child) -> T) -> Option<T> {
        self.0.child.lock().as_mut().map(f)
    }

    /// Kills the child, if there is one, and waits for it.
    pub fn kill_child(&self) {
        if let Some(mut child) = self.0.child.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
