//! AMQP 1.0 (Artemis, Qpid, Azure Service Bus, RabbitMQ): a receiver, with a durable subscription if it has a name.
//!
//! **Invariants.** A message is accepted when it is committed or parked, never before. The broker may send as many more as
//! were accepted (credit), so that no more than `prefetch` are here at any time.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::{Bytes, BytesMut};
use fe2o3_amqp::link::RecvError;
use fe2o3_amqp::link::delivery::DeliveryInfo;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::definitions::SenderSettleMode;
use fe2o3_amqp::types::messaging::{
    AmqpValue, Body, Message as Received, Source as Terminus, TerminusDurability, TerminusExpiryPolicy,
};
use fe2o3_amqp::types::primitives::{LazyValue, SimpleValue, Symbol};
use fe2o3_amqp::{Delivery, Receiver};
use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::inbox::{MAX_BATCH, Message};
use super::start::Running;
use crate::brokers::amqp1::{MAX_BODY, Open, PATIENCE, open};
use crate::brokers::{DESTINATION, PREFETCH, TOO_LONG};
use crate::formats::amqp1_value;
use crate::link::{State, keep_up};
use crate::origin;

/// The content type under which a message is set aside whose sections are no AMQP 1.0; the library does not give its bytes.
const BROKEN: &str = "application/x-amqp-broken";
/// The same for a body that is a sequence, or none at all.
const NO_VALUE: &str = "application/x-amqp-sequence";

type Got = Result<Delivery<Body<LazyValue>>, RecvError>;

/// Runs until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    keep_up(&running.inbox.link, &stop, || session(&running)).await;
}

/// A receiver and its session. Fields are dropped in this order, so that the wire is cut before the receiver could say
/// goodbye.
struct Subscription {
    _session: Open,
    receiver: Receiver,
}

async fn subscribe(running: &Running) -> anyhow::Result<Subscription> {
    let source = &running.source;
    // The broker keeps durable subscriptions by container and link name.
    let name = format!("revocation-hub-{}", source.name);
    let mut session = open(&source.into(), source.client_id.as_deref().unwrap_or(&name)).await?;
    let mut terminus = Terminus::builder().address(source.destination.as_deref().unwrap_or(DESTINATION));
    if source.subscription.is_some() {
        terminus = terminus
            .durable(TerminusDurability::UnsettledState)
            .expiry_policy(TerminusExpiryPolicy::Never)
            // What a JMS client says of a topic; Artemis would look for a queue otherwise.
            .capabilities(vec![Symbol::from("topic")]);
    }
    let attach = Receiver::builder()
        .name(source.subscription.as_deref().unwrap_or(&name))
        .source(terminus.build())
        .sender_settle_mode(SenderSettleMode::Unsettled)
        .credit_mode(CreditMode::Auto(source.prefetch.unwrap_or(PREFETCH).into()))
        .attach(&mut session.session);
    let receiver = tokio::time::timeout(PATIENCE, attach)
        .await
        .context("the broker takes too long to attach the link")?
        .context("the broker refuses the link")?;
    Ok(Subscription { _session: session, receiver })
}

async fn session(running: &Running) -> anyhow::Result<Infallible> {
    let inbox = &running.inbox;
    let mut subscription = subscribe(running).await?;
    let receiver = &mut subscription.receiver;
    inbox.link.is(State::Connected);
    loop {
        let mut batch = vec![read(receiver.recv().await, running)?];
        while batch.len() < MAX_BATCH
            && let Some(got) = receiver.recv().now_or_never()
        {
            batch.push(read(got, running)?);
        }
        let (infos, messages): (Vec<DeliveryInfo>, Vec<Message>) = batch.into_iter().unzip();
        inbox.take(&messages).await?;
        receiver.accept_all(infos).await.context("the broker cannot be told that messages were taken")?;
    }
}

/// How to accept what was received, and what it is. An error is the end of the link.
fn read(got: Got, running: &Running) -> anyhow::Result<(DeliveryInfo, Message)> {
    match got {
        Ok(delivery) => {
            let (info, message) = delivery.into_parts();
            Ok((info, translate(message, running)))
        }
        Err(RecvError::MessageDecode(broken)) => {
            let message = Message { content_type: Some(BROKEN.to_owned()), body: Bytes::new(), own: false };
            Ok((broken.info, message))
        }
        Err(error) => Err(error).context("the link has ended"),
    }
}

fn translate(received: Received<Body<LazyValue>>, running: &Running) -> Message {
    let of = received.application_properties.as_ref().and_then(|properties| properties.get(origin::HEADER));
    let own = matches!(of, Some(SimpleValue::String(name)) if running.origin.is(name));
    let given = received.properties.and_then(|properties| properties.content_type).map(|symbol| symbol.0);
    let (content_type, mut body) = match received.body {
        Body::Value(AmqpValue(value)) => (Some(amqp1_value::CONTENT_TYPE.to_owned()), value.into_bytes()),
        Body::Data(sections) => {
            let mut all = BytesMut::new();
            sections.into_iter().for_each(|section| all.extend_from_slice(&section.0));
            (given, all.freeze())
        }
        Body::Sequence(_) | Body::Empty => (Some(NO_VALUE.to_owned()), Bytes::new()),
    };
    if body.len() > MAX_BODY {
        body.truncate(MAX_BODY);
        return Message { content_type: Some(TOO_LONG.to_owned()), body, own };
    }
    Message { content_type, body, own }
}
