//! The log in SQLite, the default.
