//! The hub end to end: one module per promise of the guarantees table, and what else has to hold for a whole hub.
//!
//! Postgres: a superuser's URL in `TEST_POSTGRES_URL`; each test makes a database of its own. No test sleeps to let
//! something happen: it waits for the thing itself, for a bounded time. Every event stream goes through the promise
//! checker.

#[macro_use]
mod harness;

mod access;
mod audit;
mod bounded;
mod check;
mod closed;
mod complete;
mod consumer;
mod current;
mod doctor;
mod durable;
mod epoch;
mod events;
mod hostile;
mod idempotent;
mod inbox;
mod isolated;
mod metrics;
mod native;
mod openapi;
mod ordered;
mod overload;
mod parked;
mod process;
mod raw;
mod resumable;
mod snapshot;
mod stalled;
mod stopping;
mod tokens;
mod transfer;
mod visit;
mod wso2;
