//! AMQP 1.0 (Artemis, Qpid, Azure Service Bus, RabbitMQ): messages are sent unsettled, and confirmed when the broker accepts.
//!
//! A map goes out as a value, with the annotation that makes it a MapMessage for Qpid's JMS clients; JSON as data with its
//! content type, because Azure's clients (Choreo Connect's too) read nothing else and JMS clients take it for a text.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use fe2o3_amqp::Sender;
use fe2o3_amqp::link::delivery::DeliveryFut;
use fe2o3_amqp::link::{SendError, delivery::Sendable};
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::annotations::OwnedKey;
use fe2o3_amqp::types::messaging::{
    AmqpValue, ApplicationProperties, Body, Data, Header, Message, MessageAnnotations, Outcome, Properties,
};
use fe2o3_amqp::types::primitives::{Binary, LazyValue, Symbol, Value};
use futures_util::FutureExt as _;
use serde_amqp::read::SliceReader;

use super::form::{Formed, Former, Maps};
use super::publisher::{Connect, Sent, Session};
use crate::brokers::DESTINATION;
use crate::brokers::amqp1::{Open, PATIENCE, open};
use crate::config::Outlet;
use crate::formats::amqp1_value;
use crate::metrics::Metrics;
use crate::origin::{self, Origin};
use crate::revocation::Row;

/// How many messages are on their way without being accepted.
const WINDOW: usize = 128;
/// How long the broker may take to accept as many; it has to end before the outlet's lease.
const CONFIRM: Duration = PATIENCE;
/// Qpid's JMS mapping (AMQP JMS Mapping §3.2.1.1): this annotation with 2 is a MapMessage.
const JMS_TYPE: (&str, i8) = ("x-opt-jms-msg-type", 2);

/// The way to the broker.
pub struct Connector {
    outlet: Outlet,
    target: Arc<Target>,
}

/// What every session of an outlet shares.
struct Target {
    former: Former,
    origin: Origin,
}

impl Connector {
    /// Connects as configured.
    pub fn new(outlet: Outlet, origin: Origin, metrics: Arc<Metrics>) -> Self {
        let former = Former::new(&outlet.name, outlet.format, metrics).with_maps(Maps::Amqp1);
        Self { outlet, target: Arc::new(Target { former, origin }) }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        let name = format!("revocation-hub-{}", self.outlet.name);
        let mut session = open(&(&self.outlet).into(), &name).await?;
        let attach = Sender::builder()
            .name(name)
            .target(self.outlet.destination.as_deref().unwrap_or(DESTINATION))
            .sender_settle_mode(SenderSettleMode::Unsettled)
            .attach(&mut session.session);
        let sender = tokio::time::timeout(PATIENCE, attach)
            .await
            .context("the broker takes too long to attach the link")?
            .context("the broker refuses the link")?;
        Ok(Box::new(Sending { session, sender, target: self.target.clone() }))
    }
}

struct Sending {
    session: Open,
    sender: Sender,
    target: Arc<Target>,
}

#[async_trait]
impl Session for Sending {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
        let target = self.target.clone();
        let origin = target.origin.name().context("the log is not known")?;
        let mut sent = Sent::default();
        for window in rows.chunks(WINDOW) {
            let messages: Vec<_> =
                window.iter().filter_map(|row| Some(message(target.former.form(row)?, &origin))).collect();
            let skipped = (window.len() - messages.len()) as u64;
            let confirmed = tokio::time::timeout(CONFIRM, self.confirmed(messages)).await;
            if let Err(error) = confirmed.context("the broker does not confirm in time").flatten() {
                return sent.or(error);
            }
            sent.add(window.len(), skipped);
        }
        Ok(sent)
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.session.session.is_ended(), "the broker has ended the session");
        match self.sender.on_detach().now_or_never() {
            None => Ok(()),
            Some(_) => bail!("the broker has ended the link"),
        }
    }
}

impl Sending {
    async fn confirmed(&mut self, messages: Vec<Message<Body<LazyValue>>>) -> anyhow::Result<()> {
        let mut open: Vec<DeliveryFut<Result<Outcome, SendError>>> = Vec::with_capacity(messages.len());
        for message in messages {
            let sendable = Sendable::builder().message(message).build();
            open.push(self.sender.send_batchable(sendable).await.context("cannot send to the broker")?);
        }
        for delivery in open {
            match delivery.await.context("the link has ended")? {
                Outcome::Accepted(_) => {}
                Outcome::Rejected(_) => bail!("the broker rejects a message"),
                Outcome::Released(_) => bail!("the broker gives a message back"),
                Outcome::Modified(_) => bail!("the broker gives a message back, modified"),
            }
        }
        Ok(())
    }
}

fn message(formed: Formed, origin: &str) -> Message<Body<LazyValue>> {
    let durable = Header { durable: true, ..Header::default() };
    let mut properties = ApplicationProperties::builder().insert(origin::HEADER, origin);
    if let Some(event) = formed.event {
        properties = properties.insert("event", event);
    }
    let builder = Message::builder().header(durable).application_properties(properties.build());
    if formed.content_type == amqp1_value::CONTENT_TYPE {
        let value = LazyValue::from_reader(&mut SliceReader::new(&formed.body)).expect("we have encoded it");
        let mut annotations = MessageAnnotations::default();
        annotations.0.insert(OwnedKey::Symbol(Symbol::from(JMS_TYPE.0)), Value::Byte(JMS_TYPE.1));
        return builder.message_annotations(annotations).body(Body::Value(AmqpValue(value))).build();
    }
    let json = Properties::builder().content_type(Symbol::from("application/json")).build();
    builder.properties(json).body(Body::Data(vec![Data(Binary::from(formed.body))].into())).build()
}
