//! The migrations of each engine, compiled in.
