//! STOMP (ActiveMQ): a subscription, durable if it has a name.
//!
//! **Invariants.** A message is acknowledged when it is committed or parked, never before; the acknowledgement of the last
//! of a batch is that of all (`ack:client`). What was not acknowledged the broker delivers again on the next connection.

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::inbox::{MAX_BATCH, Message};
use super::start::Running;
use crate::brokers::stomp::connection::Connection;
use crate::brokers::stomp::frame::Frame;
use crate::brokers::{DESTINATION, PREFETCH, TOO_LONG};
use crate::formats::jms_map_xml;
use crate::link::{State, keep_up};
use crate::origin;

/// Asks ActiveMQ for map messages in XML. It has no effect on texts.
const TRANSFORMATION: (&str, &str) = ("transformation", "jms-map-xml");

/// Runs until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    keep_up(&running.inbox.link, &stop, || session(&running)).await;
}

async fn session(running: &Running) -> anyhow::Result<Infallible> {
    let (source, inbox) = (&running.source, &running.inbox);
    let prefetch = source.prefetch.unwrap_or(PREFETCH);
    // The broker keeps durable subscriptions by client, so that there has to be one.
    let own_name = || source.subscription.as_ref().map(|_| format!("revocation-hub-{}", source.name));
    let client_id = source.client_id.clone().or_else(own_name);
    let mut connection = Connection::open(&source.into(), client_id.as_deref(), prefetch.into()).await?;
    let mut subscribe = Frame::new("SUBSCRIBE")
        .with("id", "0")
        .with("destination", source.destination.as_deref().unwrap_or(DESTINATION))
        .with("ack", "client")
        .with(TRANSFORMATION.0, TRANSFORMATION.1)
        .with("activemq.prefetchSize", prefetch.to_string())
        .with("receipt", "subscribed");
    if let Some(subscription) = &source.subscription {
        subscribe = subscribe.with("activemq.subscriptionName", subscription);
    }
    connection.send(&[subscribe]).await?;
    connection.receipt("subscribed").await?;
    inbox.link.is(State::Connected);
    loop {
        let mut frames = vec![delivered(connection.next().await?)?];
        while frames.len() < MAX_BATCH
            && let Some(frame) = connection.try_next()
        {
            frames.push(delivered(frame?)?);
        }
        let messages: Vec<Message> = frames.iter().map(|frame| message(frame, running)).collect();
        inbox.take(&messages).await?;
        if let Some(last) = frames.last() {
            connection.send(&[connection.ack(last)?]).await?;
        }
    }
}

/// The frame, if it is a message.
fn delivered(frame: Frame) -> anyhow::Result<Frame> {
    // What the broker says in an ERROR may quote a message.
    anyhow::ensure!(frame.command == "MESSAGE", "the broker sends {} where messages are expected", known(&frame));
    Ok(frame)
}

fn known(frame: &Frame) -> &'static str {
    if frame.command == "ERROR" { "an ERROR" } else { "something else" }
}

fn message(frame: &Frame, running: &Running) -> Message {
    let own = frame.header(origin::HEADER).is_some_and(|name| running.origin.is(name));
    // The transformation stands on texts too; bytes have a length.
    let is_map = frame.header(TRANSFORMATION.0) == Some(TRANSFORMATION.1)
        && frame.header("content-length").is_none()
        && frame.body.trim_ascii_start().first() == Some(&b'<');
    let content_type = match frame.header("content-type") {
        _ if frame.cut => Some(TOO_LONG),
        _ if is_map => Some(jms_map_xml::CONTENT_TYPE),
        given => given,
    };
    Message { content_type: content_type.map(str::to_owned), body: frame.body.clone(), own }
}
