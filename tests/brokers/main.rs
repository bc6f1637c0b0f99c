//! The hub and real message brokers: one module per protocol. `./scripts/test` installs and starts them; tests that restart
//! a broker start their own.

#[macro_use]
#[allow(dead_code, unused_macros)]
#[path = "../hub/harness.rs"]
mod harness;

mod amqp;
mod amqp1;
mod doctor;
mod far;
mod stomp;
mod tls;
#[path = "../hub/visit.rs"]
mod visit;
