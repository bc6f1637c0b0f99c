//! Starts the configured outlets that send.

use std::sync::Arc;

use super::publisher::{Connect, Publisher};
use super::{amqp, amqp1, apim, stomp};
use crate::clock::Clock;
use crate::config::{Outlet, OutletKind};
use crate::ledger::Ledger;
use crate::lifecycle::Lifecycle;
use crate::link::{Direction, Link, State};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::store::positions::Positions;

/// What every outlet that sends is made from.
pub struct Parts {
    /// What is read.
    pub ledger: Arc<Ledger>,
    /// Where cursors are.
    pub positions: Arc<dyn Positions>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The one clock.
    pub clock: Clock,
}

/// Starts every outlet that sends; returns what people see of them.
pub fn start(outlets: &[Outlet], parts: &Parts, life: &mut Lifecycle) -> Vec<Arc<Link>> {
    let mut links = Vec::new();
    let origin = Origin::of(parts.ledger.clone());
    for outlet in outlets {
        let (clock, metrics) = (parts.clock.clone(), parts.metrics.clone());
        let link = Link::new(Direction::Out, &outlet.name, outlet.kind.name(), State::Connecting, clock, metrics);
        links.push(link.clone());
        let connect: Box<dyn Connect> = match outlet.kind {
            OutletKind::Amqp => Box::new(amqp::Connector::new(outlet.clone(), origin.clone(), parts.metrics.clone())),
            OutletKind::Amqp1 => Box::new(amqp1::Connector::new(outlet.clone(), origin.clone(), parts.metrics.clone())),
            OutletKind::Stomp => Box::new(stomp::Connector::new(outlet.clone(), origin.clone(), parts.metrics.clone())),
            OutletKind::Apim => Box::new(apim::Connector::new(outlet.clone(), parts.clock.clone())),
        };
        let publisher = Publisher {
            name: outlet.name.clone(),
            start: outlet.start,
            except_sources: outlet.except_sources.clone(),
            positions: parts.positions.clone(),
            ledger: parts.ledger.clone(),
            link,
            connect,
        };
        life.spawn_link("outlet", publisher.run(life.soft.clone()));
    }
    links
}
