//! TLS to brokers that want to see a certificate: a source and an outlet of each kind, and what they are told without one.

use crate::far::{Server, hub, until_linked, until_tokens};
use crate::harness::{Place, Process, token, until};

/// A source and an outlet of a kind, with these settings of the connection.
fn links(kind: &str, url: &str, more: &str) -> String {
    let destination = if kind == "amqp" { "" } else { "destination = \"/topic/tokenRevocation\"\n" };
    // What the outlet sends comes back, and the hub knows it for its own.
    format!(
        "[[sources]]\nname = \"in\"\nkind = \"{kind}\"\nurl = \"{url}\"\n{destination}{more}\
         [[outlets]]\nname = \"out\"\nkind = \"{kind}\"\nurl = \"{url}\"\nformat = \"native\"\n{destination}{more}"
    )
}

async fn a_certificate_is_shown(place: &Place, script: &'static str, kind: &str, url: impl Fn(u16) -> String) {
    let broker = Server::start_mutual(script).await;
    let url = url(broker.mutual_port());
    let file = |setting: &str, name: &str| format!("{setting} = {:?}\n", broker.file(name));
    let trusting = file("ca_file", "ca.pem");
    let shown = trusting.clone() + &file("certificate_file", "client.pem") + &file("key_file", "client.key");
    let hub = hub(place, &links(kind, &url, &shown), 2).await;
    hub.revoke(&token("a")).await;
    let confirmed = async || (hub.metric("link_messages_total", "confirmed").await >= 1.0).then_some(());
    until("the broker has confirmed it", confirmed).await;
    until_tokens(&hub, &["a"]).await;
    drop(hub);

    // Without it the broker lets nobody in, and the hub says so and goes on trying.
    let mut without = Process::launch(place, &links(kind, &url, &trusting), &[]);
    without.until_listening().await;
    let failed = async || (without.metric("link_failures_total", "name=\"in\"").await >= 2.0).then_some(());
    until("the broker refuses", failed).await;
    until_linked(&without, 0).await;
    assert!(!without.printed().contains("PRIVATE"), "{}", without.printed());
}

async fn rabbitmq_over_amqp_0_9_1(place: &Place) {
    a_certificate_is_shown(place, "rabbitmq", "amqp", |port| format!("amqps://hub:secret@localhost:{port}/carbon"))
        .await;
}

async fn rabbitmq_over_amqp_1_0(place: &Place) {
    a_certificate_is_shown(place, "rabbitmq", "amqp1", |port| format!("amqps://guest:guest@localhost:{port}")).await;
}

async fn activemq_over_stomp(place: &Place) {
    a_certificate_is_shown(place, "activemq", "stomp", |port| format!("stomp+ssl://localhost:{port}")).await;
}

on_sqlite!(rabbitmq_over_amqp_0_9_1, rabbitmq_over_amqp_1_0, activemq_over_stomp);
