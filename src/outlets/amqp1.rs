//! AMQP 1.0.

use async_trait::async_trait;

use super::publisher::{Connect, Session};
use crate::config::Outlet;

/// The way to the broker.
pub struct Connector {
    outlet: Outlet,
}

impl Connector {
    /// Connects as configured.
    pub fn new(outlet: Outlet) -> Self {
        Self { outlet }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        anyhow::bail!("{}: not built yet", self.outlet.name)
    }
}
