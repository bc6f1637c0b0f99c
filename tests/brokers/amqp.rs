//! AMQP 0-9-1 with RabbitMQ: the source, the outlet, and both in a storm.

pub mod broker;
mod outlet;
mod source;
mod storm;
