//! STOMP (ActiveMQ): every message with a receipt, which ActiveMQ sends when it has kept the message.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;

use super::form::{Former, Maps};
use super::publisher::{Connect, Sent, Session};
use crate::brokers::DESTINATION;
use crate::brokers::stomp::connection::{Connection, PATIENCE};
use crate::brokers::stomp::frame::Frame;
use crate::config::Outlet;
use crate::formats::jms_map_xml;
use crate::metrics::Metrics;
use crate::origin::{self, Origin};
use crate::revocation::Row;

/// How many messages are on their way without a receipt. Small enough that neither side can wait for the other with full
/// buffers.
const WINDOW: usize = 64;

/// The way to the broker.
pub struct Connector {
    outlet: Outlet,
    target: Arc<Target>,
}

/// What every session of an outlet shares.
struct Target {
    destination: String,
    former: Former,
    origin: Origin,
}

impl Connector {
    /// Connects as configured.
    pub fn new(outlet: Outlet, origin: Origin, metrics: Arc<Metrics>) -> Self {
        let former = Former::new(&outlet.name, outlet.format, metrics).with_maps(Maps::Xml);
        let destination = outlet.destination.clone().unwrap_or_else(|| DESTINATION.to_owned());
        Self { outlet, target: Arc::new(Target { destination, former, origin }) }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        let connection = Connection::open(&(&self.outlet).into(), None, WINDOW).await?;
        Ok(Box::new(Sending { connection, target: self.target.clone() }))
    }
}

struct Sending {
    connection: Connection,
    target: Arc<Target>,
}

impl Target {
    /// The row as a frame; `None` when the format, or XML, cannot say it.
    fn frame(&self, row: &Row, origin: &str) -> Option<Frame> {
        let formed = self.former.form(row)?;
        // No content-length, because ActiveMQ would make a BytesMessage of it. No JSON or XML has a NUL.
        let mut frame = Frame::new("SEND")
            .with("destination", &self.destination)
            .with("persistent", "true")
            .with(origin::HEADER, origin)
            .with("receipt", row.seq.to_string());
        if formed.content_type == jms_map_xml::CONTENT_TYPE {
            frame = frame.with("transformation", "jms-map-xml");
        }
        if let Some(event) = formed.event {
            frame = frame.with("event", event);
        }
        Some(Frame { body: formed.body.into(), ..frame })
    }
}

impl Sending {
    /// Sends frames and waits until all of them are confirmed.
    async fn confirmed(&mut self, frames: &[Frame]) -> anyhow::Result<()> {
        self.connection.send(frames).await?;
        let receipts = frames.iter().filter_map(|frame| frame.header("receipt")).map(str::to_owned).collect();
        self.receipts(receipts).await
    }

    /// Waits for these receipts, in whatever order.
    async fn receipts(&mut self, mut missing: HashSet<String>) -> anyhow::Result<()> {
        while !missing.is_empty() {
            let next = tokio::time::timeout(PATIENCE, self.connection.next()).await;
            let frame = next.context("the broker does not confirm in time")??;
            // What it says in an ERROR may quote a message.
            anyhow::ensure!(frame.command == "RECEIPT", "the broker refuses a message");
            missing.remove(frame.header("receipt-id").unwrap_or_default());
        }
        Ok(())
    }
}

#[async_trait]
impl Session for Sending {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
        let target = self.target.clone();
        let origin = target.origin.name().context("the log is not known")?;
        let mut sent = Sent::default();
        for window in rows.chunks(WINDOW) {
            let frames: Vec<Frame> = window.iter().filter_map(|row| target.frame(row, &origin)).collect();
            if let Err(error) = self.confirmed(&frames).await {
                return sent.or(error);
            }
            sent.add(window.len(), (window.len() - frames.len()) as u64);
        }
        Ok(sent)
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        match self.connection.try_next() {
            None => Ok(()),
            Some(Err(error)) => Err(error),
            Some(Ok(_)) => anyhow::bail!("the broker says something that nobody asked for"),
        }
    }
}
