//! AMQP 0-9-1 (RabbitMQ, the WSO2 broker).
//!
//! Messages have the properties that WSO2's own publisher gives them (Andes client; wso2.md §2.5). They are published one
//! after the other without waiting, and then all confirms are waited for: order is kept, and the cursor moves only over
//! what the broker has taken. Nobody has to be subscribed, so nothing is `mandatory`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};

use super::form::{Formed, Former};
use super::publisher::{Connect, Sent, Session};
use crate::brokers::amqp::{Broker, Connected, answered, ensure_exchange};
use crate::config::Outlet;
use crate::formats::wso2::announce;
use crate::metrics::Metrics;
use crate::origin::{self, Origin};
use crate::revocation::Row;

/// Where WSO2 publishes.
const EXCHANGE: &str = "amq.topic";
const ROUTING_KEY: &str = "tokenRevocation";
/// How long the broker may take to confirm a page of rows. One that is out of memory or disk confirms nothing and says
/// nothing; then the connection is made anew, which is what people see.
const CONFIRM: Duration = Duration::from_secs(30);
/// Written to disk by the broker where it has a durable queue for it.
const PERSISTENT: u8 = 2;
/// What JMS calls the usual one.
const PRIORITY: u8 = 4;
/// The value of `JMS_QPID_DESTTYPE` for a topic.
const TOPIC: i32 = 2;

/// The way to the broker.
pub struct Connector {
    broker: Broker,
    target: Arc<Target>,
}

/// What every session of an outlet shares.
struct Target {
    exchange: String,
    routing_keys: Vec<String>,
    former: Former,
    origin: Origin,
}

impl Connector {
    /// Connects as configured.
    pub fn new(outlet: Outlet, origin: Origin, metrics: Arc<Metrics>) -> Self {
        let name = format!("revocation-hub outlet {}", outlet.name);
        let former = Former::new(&outlet.name, outlet.format, metrics);
        let tls = outlet.tls();
        let broker = Broker::new(name, outlet.url, outlet.username, outlet.password, tls);
        let exchange = outlet.exchange.unwrap_or_else(|| EXCHANGE.to_owned());
        let routing_keys = outlet.routing_keys.unwrap_or_else(|| vec![ROUTING_KEY.to_owned()]);
        Self { broker, target: Arc::new(Target { exchange, routing_keys, former, origin }) }
    }
}

#[async_trait]
impl Connect for Connector {
    async fn connect(&self) -> anyhow::Result<Box<dyn Session>> {
        let connected = self.broker.connect().await?;
        ensure_exchange(&connected.connection, &self.target.exchange).await?;
        let channel = answered("opening a channel", connected.connection.create_channel()).await?;
        let confirms = channel.confirm_select(ConfirmSelectOptions::default());
        answered("asking for confirms", confirms).await?;
        Ok(Box::new(Live { connected, channel, target: self.target.clone() }))
    }
}

struct Live {
    connected: Connected,
    channel: Channel,
    target: Arc<Target>,
}

#[async_trait]
impl Session for Live {
    async fn send(&mut self, rows: &[Row]) -> anyhow::Result<Sent> {
        let target = &*self.target;
        let origin = target.origin.name();
        let mut skipped = 0;
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            match target.former.form(row) {
                Some(formed) => {
                    messages.push((properties(row, &formed, &self.connected.login, origin.as_deref()), formed.body));
                }
                None => skipped += 1,
            }
        }
        tokio::time::timeout(CONFIRM, self.publish(&messages))
            .await
            .context("the broker did not confirm in time")??;
        Ok(Sent { done: rows.len(), skipped })
    }

    async fn check(&mut self) -> anyhow::Result<()> {
        anyhow::ensure!(self.connected.connection.status().connected(), "the connection broke");
        anyhow::ensure!(self.channel.status().connected(), "the broker closed the channel");
        Ok(())
    }
}

impl Live {
    /// Publishes to every key and waits for all confirms.
    async fn publish(&self, messages: &[(BasicProperties, Vec<u8>)]) -> anyhow::Result<()> {
        let target = &*self.target;
        let mut publishing = Vec::with_capacity(messages.len() * target.routing_keys.len());
        for (properties, body) in messages {
            for key in &target.routing_keys {
                let (exchange, key) = (target.exchange.as_str().into(), key.as_str().into());
                let options = BasicPublishOptions::default();
                let publish = self.channel.basic_publish(exchange, key, options, body, properties.clone());
                publishing.push(begun(publish).await);
            }
        }
        let mut confirms = Vec::with_capacity(publishing.len());
        for publish in publishing {
            confirms.push(publish.await.context("publishing")?);
        }
        for confirm in confirms {
            match confirm.await.context("waiting for a confirm")? {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(_)) => anyhow::bail!("the broker returned a message"),
                Confirmation::Nack(_) | Confirmation::NotRequested => {
                    anyhow::bail!("the broker could not take a message (is a queue full?)")
                }
            }
        }
        Ok(())
    }
}

/// A publish that is on its way.
type Publishing<'a> = Pin<Box<dyn Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a>>;

/// Begins a publish, which puts its frames behind those of all that began before it, and does not wait for its end.
async fn begun<'a>(publish: impl Future<Output = lapin::Result<PublisherConfirm>> + Send + 'a) -> Publishing<'a> {
    let mut publish: Publishing<'a> = Box::pin(publish);
    let mut early = None;
    std::future::poll_fn(|context| {
        if let Poll::Ready(result) = publish.as_mut().poll(context) {
            early = Some(result);
        }
        Poll::Ready(())
    })
    .await;
    match early {
        Some(result) => Box::pin(std::future::ready(result)),
        None => publish,
    }
}

/// The properties of wso2.md §2.5, and the header by which a source knows its own log's messages. The timestamp is in
/// milliseconds as JMS has it, although AMQP says seconds. RabbitMQ closes the channel over a user id that is not the
/// login's, and over the empty expiration of WSO2's publisher, which is left out: no consumer looks at it.
fn properties(row: &Row, formed: &Formed, login: &str, origin: Option<&str>) -> BasicProperties {
    let mut headers = FieldTable::default();
    headers.insert("JMS_QPID_DESTTYPE".into(), AMQPValue::LongInt(TOPIC));
    if let Some(origin) = origin {
        headers.insert(origin::HEADER.into(), AMQPValue::LongString(origin.into()));
    }
    let milliseconds = u64::try_from(row.revocation.revoked_at).unwrap_or(0).saturating_mul(1000);
    let mut properties = BasicProperties::default()
        .with_content_type(formed.content_type.into())
        .with_headers(headers)
        .with_delivery_mode(PERSISTENT)
        .with_priority(PRIORITY)
        .with_message_id(format!("ID:{}", announce::event_id(row.id, row.seq)).into())
        .with_timestamp(milliseconds)
        .with_user_id(login.into());
    if formed.text {
        properties = properties.with_content_encoding("UTF-8".into());
    }
    if let Some(event) = formed.event {
        properties = properties.with_type(event.into());
    }
    properties
}
