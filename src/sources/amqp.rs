//! AMQP 0-9-1 (RabbitMQ, the WSO2 broker).
//!
//! **Pattern.** One consumer on one queue. What has arrived is collected, at most [`MAX_BATCH`] messages, handed to the
//! inbox, and acknowledged with one `basic.ack` when that returns. While the store is away it does not return, and the
//! broker keeps the rest as soon as the prefetch limit is reached.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::{FutureExt as _, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use tokio_util::sync::CancellationToken;

use super::inbox::{MAX_BATCH, Message};
use super::start::Running;
use crate::brokers::amqp::{Broker, answered, ensure_exchange, header, is_missing};
use crate::config::Source;
use crate::origin;

/// The exchange of topics that every broker has.
const EXCHANGE: &str = "amq.topic";
/// The topic of WSO2.
const ROUTING_KEY: &str = "tokenRevocation";
/// A commit takes as many.
const PREFETCH: u16 = 500;

/// How often a source that hears nothing looks whether it is still connected.
const LOOK: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    let source = &running.source;
    let name = format!("revocation-hub source {}", source.name);
    let (username, password) = (source.username.clone(), source.password.clone());
    let broker = Broker::new(name, source.url.clone(), username, password, source.tls());
    crate::link::keep_up(&running.inbox.link, &stop, || session(&running, &broker)).await;
}

async fn session(running: &Running, broker: &Broker) -> anyhow::Result<Infallible> {
    let (source, inbox) = (&running.source, &running.inbox);
    let connected = broker.connect().await?;
    let (channel, mut consumer) = subscribe(&connected.connection, source).await?;
    inbox.link.is(inbox.usual);
    if source.queue.is_none() {
        // A private queue heard nothing while we were away. Now that it hears, lists can be pulled: whatever is revoked
        // from here on comes by the queue, and whatever was revoked before is in the list.
        inbox.pull_all();
    }
    loop {
        let mut deliveries = vec![first(&mut consumer, &connected.connection, &channel, &inbox.stop).await?];
        while deliveries.len() < MAX_BATCH
            && let Some(delivery) = consumer.next().now_or_never()
        {
            deliveries.push(next(delivery)?);
        }
        let last = deliveries.last().context("there is one")?.delivery_tag;
        let messages: Vec<Message> = deliveries.into_iter().map(|delivery| message(running, delivery)).collect();
        inbox.take(&messages).await?;
        answered("acknowledging", channel.basic_ack(last, BasicAckOptions { multiple: true })).await?;
    }
}

/// Waits for a message. Looks at the connection itself as well: a subscription that nobody has told of its end would be
/// deaf, and a source that is deaf looks like one that nothing is sent to.
async fn first(
    consumer: &mut Consumer,
    connection: &Connection,
    channel: &Channel,
    stop: &CancellationToken,
) -> anyhow::Result<Delivery> {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => anyhow::bail!("the hub is stopping"),
            delivery = tokio::time::timeout(LOOK, consumer.next()) => if let Ok(delivery) = delivery {
                return next(delivery);
            },
        }
        anyhow::ensure!(connection.status().connected() && channel.status().connected(), "the connection broke");
    }
}

fn next(delivery: Option<lapin::Result<Delivery>>) -> anyhow::Result<Delivery> {
    let delivery = delivery.context("the broker has ended the subscription; was the queue deleted?")?;
    delivery.context("the connection broke")
}

fn message(running: &Running, delivery: Delivery) -> Message {
    let properties = &delivery.properties;
    let of = properties.headers().as_ref().and_then(|headers| header(headers, origin::HEADER));
    Message {
        own: of.is_some_and(|name| running.origin.is(name)),
        content_type: properties.content_type().as_ref().map(|text| text.as_str().to_owned()),
        body: delivery.data.into(),
    }
}

/// Binds the queue and begins to consume.
async fn subscribe(connection: &Connection, source: &Source) -> anyhow::Result<(Channel, Consumer)> {
    let exchange = source.exchange.as_deref().unwrap_or(EXCHANGE);
    ensure_exchange(connection, exchange).await?;
    let queue = match &source.queue {
        Some(name) => find_queue(connection, name).await?,
        None => String::new(),
    };
    let channel = answered("opening a channel", connection.create_channel()).await?;
    let qos = channel.basic_qos(source.prefetch.unwrap_or(PREFETCH), BasicQosOptions { global: false });
    answered("limiting the prefetch", qos).await?;
    let queue = if source.queue.is_none() {
        // Nobody else hears it, and it goes with us. The broker makes its name.
        let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare("".into(), options, FieldTable::default());
        answered("declaring a private queue", declared).await?.name().to_string()
    } else {
        queue
    };
    let default = [ROUTING_KEY.to_owned()];
    for key in source.routing_keys.as_deref().unwrap_or(&default) {
        let (queue, exchange, key) = (queue.as_str().into(), exchange.into(), key.as_str().into());
        let bound = channel.queue_bind(queue, exchange, key, QueueBindOptions::default(), FieldTable::default());
        answered("binding the queue", bound).await?;
    }
    let (queue, tag) = (queue.as_str().into(), "revocation-hub".into());
    let consume = channel.basic_consume(queue, tag, BasicConsumeOptions::default(), FieldTable::default());
    let consumer = answered("consuming", consume).await?;
    Ok((channel, consumer))
}

/// A named queue is durable and shared by replicas. One that is there is taken as it is, so that its type and its limits are
/// the operators' affair. Returns the name as the broker has it: WSO2's is in lower case.
async fn find_queue(connection: &Connection, queue: &str) -> anyhow::Result<String> {
    let declare = async |passive| {
        let channel = answered("opening a channel", connection.create_channel()).await?;
        let options = QueueDeclareOptions { passive, durable: true, ..QueueDeclareOptions::default() };
        let declared = channel.queue_declare(queue.into(), options, FieldTable::default());
        let declared = answered(&format!("declaring the queue {queue}"), declared).await?;
        anyhow::Ok(declared.name().to_string())
    };
    match declare(true).await {
        Err(error) if is_missing(&error) => declare(false).await,
        other => other,
    }
}
