//! STOMP (ActiveMQ): every message with a receipt, which ActiveMQ sends when it has kept the message.

use std::collections::HashSet;

use anyhow::Context as _;
use async_trait::async_trait;

use super::form::Form;
use super::publisher::{Connect, Session};
use crate::brokers::DESTINATION;
use crate::brokers::stomp::connection::{Connection, PATIENCE};
use crate::brokers::stomp::frame::Frame;
use crate::config::Outlet;
use crate::formats::jms_map_xml;
use crate::origin::{self, Origin};
use crate::revocation::Row;

/// How many messages are on their way without a receipt. Small enough that neither side can wait for the other with full
/// buffers.
const WINDOW: usize = 64;

/// The way to the broker.
pub struct Connector {
    outlet: Outlet,
    origin: Origin,
}

impl Connector {
    /// Connects as configured.
    pub fn new(outlet: Outlet, origin: Origin) -> Self {
        Self { outlet, origin }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        let connection = Connection::open(&(&self.outlet).into(), None, WINDOW).await?;
        Ok(Box::new(Sending { connection, outlet: self.outlet.clone(), origin: self.origin.clone() }))
    }
}

struct Sending {
    connection: Connection,
    outlet: Outlet,
    origin: Origin,
}

impl Sending {
    /// The row as a frame; `None` when the format, or XML, cannot say it.
    fn frame(&self, row: &Row, origin: &str) -> Option<Frame> {
        let frame = Frame::new("SEND")
            .with("destination", self.outlet.destination.as_deref().unwrap_or(DESTINATION))
            .with("persistent", "true")
            .with(origin::HEADER, origin)
            .with("receipt", row.seq.to_string());
        // Neither has a content-length, because ActiveMQ would make a BytesMessage of it. No JSON or XML has a NUL.
        Some(match Form::of(row, self.outlet.format)? {
            Form::Text(text) => Frame { body: text.into(), ..frame },
            Form::Map(map) => {
                let xml = jms_map_xml::encode(&map).ok()?;
                Frame { body: xml.into(), ..frame.with("transformation", "jms-map-xml") }
            }
        })
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
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<u64> {
        let origin = self.origin.name().context("the log is not known")?;
        let mut skipped = 0;
        for window in rows.chunks(WINDOW) {
            let frames: Vec<Frame> = window.iter().filter_map(|row| self.frame(row, &origin)).collect();
            skipped += (window.len() - frames.len()) as u64;
            self.connection.send(&frames).await?;
            let receipts = frames.iter().filter_map(|frame| frame.header("receipt")).map(str::to_owned).collect();
            self.receipts(receipts).await?;
        }
        Ok(skipped)
    }
}
