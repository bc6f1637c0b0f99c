//! From the broker into the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use lapin::options::QueueDeleteOptions;
use lapin::types::{AMQPValue, FieldTable};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::broker::*;
use crate::harness::{Place, Proxy, Wire, until};

on_postgres!(
    every_form_arrives_on_one_queue,
    nothing_is_acknowledged_before_it_is_committed,
    what_cannot_be_read_is_parked_and_stops_nothing,
    a_queue_that_is_deleted_or_a_wire_that_dies_heals_and_lists_are_pulled,
    replicas_share_a_durable_queue,
    tls_with_an_authority_of_ones_own_and_several_addresses,
);

/// The map messages of WSO2's own encoder: API Manager 3.2, a JWT; null type and no end, in the older form.
const MAP: &str = "000000a700000006076576656e744964980000002437623166306335322d366133652d346430612d396331312d3565326638613930643462370a65787069727954696d6531000003bb2cc3d8000874656e616e74496421fffffb2e0c7265766f6b6564546f6b656e980000002463306138663364322d343162362d346535372d386639612d326437623663316535613330047479706598000000034a57540374746c980000000435303030";
const LEGACY_MAP: &str = "000000066576656e744964000a65300065787069727954696d6500077fffffffffffffff74656e616e7449640006000000007265766f6b6564546f6b656e000a74300074797065000b74746c000a3530303000";
const TEXT: &str = r#"{"event":{"payloadData":{"eventId":"e1","revokedToken":"a1b2c3d4-opaque","ttl":"5000","expiryTime":4102444800000,"type":"Default","tenantId":-1234}}}"#;

fn native(jti: impl std::fmt::Display) -> String {
    format!(r#"{{"jti":"{jti}","exp":4102444800}}"#)
}

async fn every_form_arrives_on_one_queue(place: &Place) {
    let key = unique("key");
    let hub = hub(place, &source(&shared(), &format!("routing_keys = [\"{key}\"]")), 1).await;
    let client = Client::new(&shared()).await;
    let event = format!(
        r#"{{"specversion":"1.0","id":"1","source":"/sts","type":"revoked","datacontenttype":"application/json","data":{}}}"#,
        native("ce-1")
    );
    client.publish(&key, "amqp/map", &hex::decode(MAP).unwrap()).await;
    client.publish(&key, "jms/map-message", &hex::decode(LEGACY_MAP).unwrap()).await;
    client.publish(&key, "text/plain", TEXT.as_bytes()).await;
    client.publish(&key, "application/json", native("native-1").as_bytes()).await;
    client.publish(&key, "application/cloudevents+json", event.as_bytes()).await;
    let committed = async || hub.metric("link_messages_total", "committed").await;
    until("five messages are committed", async || (committed().await == 5.0).then_some(())).await;
    let jtis = values(&hub, "jti").await;
    assert_eq!(jtis, ["c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30", "ce-1", "native-1", "t0"]);
    let hashes = values(&hub, "sha256").await;
    assert!(hashes.contains(&hex::encode(Sha256::digest("a1b2c3d4-opaque"))), "{hashes:?}");
}

async fn nothing_is_acknowledged_before_it_is_committed(place: &Place) {
    const ALL: u32 = 350;
    let (queue, key) = (unique("queue"), unique("key"));
    let client = Client::new(&shared()).await;
    let settings = source(&shared(), &format!("queue = \"{queue}\"\nrouting_keys = [\"{key}\"]\nprefetch = 100"));
    let wire = Proxy::new(place).await;
    let cut = Place { url: wire.url(place), folder: tempfile::tempdir().unwrap() };
    let mut first = hub(&cut, &settings, 1).await;
    wire.set(Wire::Cut);
    for n in 0..ALL {
        client.publish(&key, "application/json", native(n).as_bytes()).await;
    }
    // The hub has as many in hand as it may have, and the broker keeps the rest.
    client.until_ready(&queue, ALL - 100).await;
    until("the hub says that it holds back", async || {
        (first.metric("link_failures_total", "source").await >= 1.0).then_some(())
    })
    .await;
    assert_eq!(place.rows().await, 0);
    first.kill();
    client.until_ready(&queue, ALL).await;

    wire.set(Wire::Good);
    let second = hub(&cut, &settings, 1).await;
    until_live(&second, ALL as usize).await;
    client.until_ready(&queue, 0).await;

    // And without anybody's help.
    wire.set(Wire::Cut);
    for n in ALL..2 * ALL {
        client.publish(&key, "application/json", native(n).as_bytes()).await;
    }
    client.until_ready(&queue, ALL - 100).await;
    wire.set(Wire::Good);
    until_live(&second, 2 * ALL as usize).await;
    second.terminate();
    until("nobody consumes", async || (client.counts(&queue).await == (0, 0)).then_some(())).await;
}

async fn what_cannot_be_read_is_parked_and_stops_nothing(place: &Place) {
    let (queue, key) = (unique("queue"), unique("key"));
    let settings = source(&shared(), &format!("queue = \"{queue}\"\nrouting_keys = [\"{key}\"]"));
    let client = Client::new(&shared()).await;
    let hub = hub(place, &settings, 1).await;
    client.publish(&key, "application/json", native("before").as_bytes()).await;
    client.publish(&key, "amqp/map", &[0, 0, 0, 0x17, 0, 0, 0, 1, 1, b't', 0x98, 0x7f, 0xff, 0xff, 0xff, b't']).await;
    client.publish(&key, "application/json", br#"{"jti":"x","exp":4102444800000}"#).await;
    client.publish(&key, "application/json", native("after").as_bytes()).await;
    until_live(&hub, 2).await;
    assert_eq!(values(&hub, "jti").await, ["after", "before"]);
    until("both are parked", async || (place.number("select count(*) from parked").await == 2).then_some(())).await;
    hub.terminate();
    until("nothing is left", async || (client.counts(&queue).await == (0, 0)).then_some(())).await;
}

async fn a_queue_that_is_deleted_or_a_wire_that_dies_heals_and_lists_are_pulled(place: &Place) {
    let pulls = Arc::new(AtomicUsize::new(0));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wso2 = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(empty_lists(listener, pulls.clone()));

    let (queue, private, durable) = (unique("queue"), unique("key"), unique("key"));
    let wire = Proxy::to(shared().trim_start_matches("amqp://").to_owned()).await;
    let url = format!("amqp://{}?heartbeat=1", wire.address());
    let named = source(&shared(), &format!("queue = \"{queue}\"\nrouting_keys = [\"{durable}\"]"));
    let settings = source(&url, &format!("routing_keys = [\"{private}\"]"))
        + &named.replace("\"in\"", "\"named\"")
        + &format!("[[sources]]\nname = \"list\"\nkind = \"wso2_snapshot\"\nurl = \"{wso2}\"\ninterval = \"1h\"\n");
    let hub = hub(place, &settings, 3).await;
    let client = Client::new(&shared()).await;
    until("the list is pulled", async || (pulls.load(Ordering::SeqCst) > 0).then_some(())).await;

    let failures = async |name: &str| hub.metric("link_failures_total", &format!("name=\"{name}\"")).await;
    let before_trouble = failures("named").await;
    // Ended at once, and then swallowed without a word: only heartbeats find that.
    for (round, trouble) in [Wire::Cut, Wire::Mute].into_iter().enumerate() {
        let before = (failures("in").await, pulls.load(Ordering::SeqCst));
        wire.set(trouble);
        until("the hub notices", async || (failures("in").await > before.0).then_some(())).await;
        wire.set(Wire::Good);
        until_linked(&hub, 3).await;
        until("the list is pulled again", async || (pulls.load(Ordering::SeqCst) > before.1).then_some(())).await;
        client.publish(&private, "application/json", native(format!("private-{round}")).as_bytes()).await;
        until_live(&hub, round + 1).await;
    }
    assert_eq!(failures("named").await, before_trouble, "{}", hub.printed());
    client.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await.unwrap();
    until("the hub notices", async || (failures("named").await > before_trouble).then_some(())).await;
    until_linked(&hub, 3).await;
    client.publish(&durable, "application/json", native("named").as_bytes()).await;
    until_live(&hub, 3).await;
    server.abort();
}

/// A WSO2 API Manager in which nothing is revoked, and which counts how often it is asked.
async fn empty_lists(listener: TcpListener, pulls: Arc<AtomicUsize>) {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]";
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") && stream.read_buf(&mut request).await.unwrap() > 0 {}
        pulls.fetch_add(1, Ordering::SeqCst);
        stream.write_all(ANSWER).await.unwrap();
    }
}

async fn replicas_share_a_durable_queue(place: &Place) {
    let (queue, key) = (unique("queue"), unique("key"));
    let settings = source(&shared(), &format!("queue = \"{queue}\"\nrouting_keys = [\"{key}\"]\nprefetch = 5"));
    let (one, two) = (hub(place, &settings, 1).await, hub(place, &settings, 1).await);
    let client = Client::new(&shared()).await;
    assert_eq!(client.counts(&queue).await, (0, 2));
    for n in 0..200 {
        client.publish(&key, "application/json", native(n).as_bytes()).await;
    }
    for hub in [&one, &two] {
        until_live(hub, 200).await;
        assert!(hub.metric("link_messages_total", "committed").await > 0.0);
    }
    assert_eq!(place.rows().await, 200);
}

async fn tls_with_an_authority_of_ones_own_and_several_addresses(place: &Place) {
    let server = Server::start("rabbitmq");
    let client = Client::new(&format!("amqp://127.0.0.1:{}/carbon", server.port)).await;
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, "secret\n").unwrap();
    // The first address refuses.
    let urls = format!("[\"amqps://127.0.0.1:1/carbon\", \"amqps://localhost:{}/carbon\"]", server.tls_port);
    let login = format!("username = \"hub\"\npassword_file = \"{}\"", secret.display());
    let plain = source("URLS", &login).replace("\"URLS\"", &urls);
    let trusting = format!("{plain}ca_file = \"{}\"\n", server.ca_file().display());
    let hub = hub(place, &trusting, 1).await;
    client.publish("tokenRevocation", "text/plain", TEXT.as_bytes()).await;
    until_live(&hub, 1).await;

    // The system knows nothing of this authority, and the password does not get into the log.
    let mut other = crate::harness::Process::launch(place, &plain, &[]);
    other.until_listening().await;
    until("the connection is refused", async || {
        (other.metric("link_failures_total", "source").await >= 2.0).then_some(())
    })
    .await;
    assert!(other.printed().contains("certificate"), "{}", other.printed());
    assert!(!other.printed().contains("secret\""), "{}", other.printed());
    assert_eq!(other.metric("link_up", "").await, 0.0);
}

/// The header by which messages of the hub's own are known.
pub fn from_log(name: &str) -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("revocation-hub".into(), AMQPValue::LongString(name.into()));
    headers
}
