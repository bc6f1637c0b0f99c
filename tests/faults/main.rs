//! What the hub promises while everything around it breaks: real hubs in processes of their own, a real Postgres that is
//! killed, stopped, filled up and failed over, and a wire between them that breaks in every way in which networks break.
//!
//! [`each`] breaks one thing at a time and looks at every promise. [`deaf`] is about hubs that hear nothing any more, [`full`]
//! about disks, [`clock`] about clocks, [`failover`] about a standby that knows less than the primary did, [`restore`] about
//! databases that come back older, empty or as others, [`brokers`] about message brokers, [`stopping`] about hubs that are
//! told to end, [`overload`] about more than there is room for. [`history`] breaks things at random while many write and read,
//! and then looks whether everybody was told the truth.
//!
//! `TEST_FAULT_TRIALS` repeats the single faults, `TEST_FAULT_SEEDS` says how many histories there are, `TEST_FAULT_SEED`
//! runs one of them again, and `TEST_FAULT_TABLE` names a file that collects what was tried; `./scripts/faults` uses all four.

#[macro_use]
#[allow(dead_code, unused_macros)]
#[path = "../hub/harness.rs"]
mod harness;

#[allow(dead_code)]
#[path = "../brokers/amqp/broker.rs"]
mod broker;
#[path = "../hub/stalled.rs"]
mod stalled;

mod brokers;
mod clock;
mod deaf;
mod each;
mod failover;
mod full;
mod history;
mod overload;
mod postgres;
mod restore;
mod scene;
mod stopping;
mod tally;
