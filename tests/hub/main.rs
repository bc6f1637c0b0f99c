//! The hub end to end: one module per promise of the guarantees table, and what else has to hold for a whole hub.
//!
//! Postgres: a superuser's URL in `TEST_POSTGRES_URL`; each test makes a database of its own. No test sleeps to let
//! something happen: it waits for the thing itself, for a bounded time. Every event stream goes through the promise
//! checker.

#[macro_use]
#[allow(dead_code, unused_macros, reason = "not every helper has its test yet")]
mod harness;

mod complete;
mod durable;
mod idempotent;
mod ordered;
mod resumable;
