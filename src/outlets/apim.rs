//! An operation of an Azure API Management (or any) gateway that is called for each revocation.

use async_trait::async_trait;

use super::publisher::{Connect, Session};
use crate::config::Outlet;

/// The way to the operation.
pub struct Connector {
    outlet: Outlet,
}

impl Connector {
    /// Calls as configured.
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
