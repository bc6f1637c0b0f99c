//! AMQP 1.0 (Artemis, Qpid, Azure Service Bus, RabbitMQ): messages are sent unsettled, and confirmed when the broker accepts.
//!
//! A map goes out as a value, with the annotation that makes it a MapMessage for Qpid's JMS clients; JSON as data with its
//! content type, because Azure's clients (Choreo Connect's too) read nothing else and JMS clients take it for a text.

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
use fe2o3_amqp::types::primitives::{Binary, OrderedMap, Symbol, Value};

use super::form::Form;
use super::publisher::{Connect, Session};
use crate::brokers::DESTINATION;
use crate::brokers::amqp1::{Open, PATIENCE, open};
use crate::config::Outlet;
use crate::formats::wso2::value::{Map, Value as Ours};
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
        Ok(Box::new(Sending { _session: session, sender, outlet: self.outlet.clone(), origin: self.origin.clone() }))
    }
}

struct Sending {
    _session: Open,
    sender: Sender,
    outlet: Outlet,
    origin: Origin,
}

#[async_trait]
impl Session for Sending {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<u64> {
        let origin = self.origin.name().context("the log is not known")?;
        let mut skipped = 0;
        for window in rows.chunks(WINDOW) {
            let messages: Vec<_> = window.iter().filter_map(|row| message(row, &self.outlet, &origin)).collect();
            skipped += (window.len() - messages.len()) as u64;
            let confirmed = tokio::time::timeout(CONFIRM, self.confirmed(messages)).await;
            confirmed.context("the broker does not confirm in time")??;
        }
        Ok(skipped)
    }
}

impl Sending {
    async fn confirmed(&mut self, messages: Vec<Message<Body<Value>>>) -> anyhow::Result<()> {
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

/// The row as a message; `None` when the format cannot say it.
fn message(row: &Row, outlet: &Outlet, origin: &str) -> Option<Message<Body<Value>>> {
    let durable = Header { durable: true, ..Header::default() };
    let properties = ApplicationProperties::builder().insert(origin::HEADER, origin).build();
    let builder = Message::builder().header(durable).application_properties(properties);
    Some(match Form::of(row, outlet.format)? {
        Form::Text(text) => {
            let json = Properties::builder().content_type(Symbol::from("application/json")).build();
            let data = Data(Binary::from(text.into_bytes()));
            builder.properties(json).body(Body::Data(vec![data].into())).build()
        }
        Form::Map(map) => {
            let mut annotations = MessageAnnotations::default();
            annotations.0.insert(OwnedKey::Symbol(Symbol::from(JMS_TYPE.0)), Value::Byte(JMS_TYPE.1));
            builder.message_annotations(annotations).body(Body::Value(AmqpValue(value(map)))).build()
        }
    })
}

fn value(map: Map) -> Value {
    let entries = map.0.into_iter().map(|(key, value)| {
        let value = match value {
            Ours::Text(text) => Value::String(text),
            Ours::I64(number) => Value::Long(number),
            Ours::I32(number) => Value::Int(number),
            Ours::Bool(bool) => Value::Bool(bool),
            // The payload of WSO2 has no others.
            _ => Value::Null,
        };
        (Value::String(key), value)
    });
    Value::Map(entries.collect::<OrderedMap<Value, Value>>())
}
