//! One line on a terminal that says what is being measured. Silent everywhere else.

use std::io::{IsTerminal, Write};

#[derive(Clone, Copy, Debug)]
pub struct Progress {
    terminal: bool,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal() }
    }

    pub fn say(self, text: impl AsRef<str>) {
        if self.terminal {
            // To the line's start, erase it, write. A terminal that has gone away is no reason to stop measuring.
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{}", text.as_ref());
        }
    }

    pub fn clear(self) {
        self.say("");
    }
}
