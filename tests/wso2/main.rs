//! What WSO2 systems reach over HTTP, and what is fetched from them: the vectors of their formats, real servers where
//! there are any, and raw TCP for what only a broken server says.
//!
//! Postgres: a superuser's URL in `TEST_POSTGRES_URL`. etcd with the v2 keys interface: `TEST_ETCD_URL`. nginx is started by
//! the tests that need it.

#[macro_use]
#[path = "../hub/harness.rs"]
#[allow(dead_code, unused_macros)]
mod harness;
#[path = "../hub/raw.rs"]
#[allow(dead_code)]
mod raw;
#[path = "../hub/snippets.rs"]
mod snippets;
#[path = "../hub/visit.rs"]
mod visit;

mod activemq;
mod blind;
mod doctor;
mod etcd;
mod notify;
mod outage;
mod proxy;
mod pull;
mod real_etcd;
mod recipes;
mod setup;
mod source_test;
mod trust;
