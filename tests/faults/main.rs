//! What the hub promises while everything around it breaks: real hubs in processes of their own, a real Postgres that is
//! killed, stopped, filled up and failed over, and a wire between them that breaks in every way in which networks break.
//!
//! [`each`] breaks one thing at a time and looks at every promise. [`deaf`] is about hubs that hear nothing any more, [`full`]
//! about disks, [`failover`] about a standby that knows less than the primary did. [`history`] breaks things at random while
//! many write and read, and then looks whether everybody was told the truth.
//!
//! `TEST_FAULT_TRIALS` repeats the single faults, `TEST_FAULT_SEEDS` says how many histories there are, `TEST_FAULT_SEED`
//! runs one of them again, and `TEST_FAULT_TABLE` names a file that collects what was tried; `./scripts/faults` uses all four.

#[macro_use]
#[allow(dead_code, unused_macros)]
#[path = "../hub/harness.rs"]
mod harness;

mod deaf;
mod each;
mod failover;
mod full;
mod history;
mod postgres;
mod scene;
mod tally;
