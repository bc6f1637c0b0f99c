//! Brokers, and clients of theirs that are not the hub.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use futures_util::StreamExt as _;
use lapin::message::Delivery;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties, Consumer};

use crate::harness::{Place, Process, until, within};

/// The broker that `./scripts/test` has started, with the virtual host `/`.
pub fn shared() -> String {
    std::env::var("TEST_RABBITMQ_URL")
        .unwrap_or_else(|_| panic!("TEST_RABBITMQ_URL is not set: run ./scripts/test, which starts a RabbitMQ"))
}

/// A name that no other test has.
pub fn unique(what: &str) -> String {
    format!("{what}-{:016x}", rand::random::<u64>())
}

/// A port that nobody listens on, below those that the kernel gives to outgoing connections.
fn free_port() -> u16 {
    std::iter::repeat_with(|| rand::random_range(20_000..32_000))
        .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .unwrap()
}

/// A server of `scripts/servers` that the test may kill and start again. It goes when this is dropped.
pub struct Server {
    script: &'static str,
    folder: tempfile::TempDir,
    /// Where it listens.
    pub port: u16,
    /// RabbitMQ: where it listens with TLS.
    pub tls_port: u16,
    child: Option<Child>,
}

impl Server {
    /// Starts it and does not wait.
    pub fn start(script: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The servers have users of their own.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let mut server = Self { script, folder, port: free_port(), tls_port: free_port(), child: None };
        server.again();
        server
    }

    /// Starts it again, on the same data.
    pub fn again(&mut self) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers").join(self.script);
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(script);
        command.arg(self.data()).arg(self.port.to_string());
        if self.script == "rabbitmq" {
            command.arg(self.tls_port.to_string());
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The authority that RabbitMQ's certificate is of.
    pub fn ca_file(&self) -> PathBuf {
        self.data().join("ca.pem")
    }

    /// Ends all of its processes with a signal, and waits until they are gone.
    pub fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        let group = format!("-{}", child.id());
        let kill =
            |signal: &str| Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status().unwrap();
        kill(signal);
        child.wait().unwrap();
        // Its descendants are not our children, so that they can only be asked for.
        while kill("-0").success() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The URL of a RabbitMQ, virtual host `/`.
    pub fn amqp(&self) -> String {
        format!("amqp://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the last that {} said:\n{}", self.script, lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        self.end("-KILL");
    }
}

/// A client that is not the hub.
pub struct Client {
    _connection: Connection,
    pub channel: Channel,
}

impl Client {
    /// Connects as soon as the broker is there.
    pub async fn new(url: &str) -> Self {
        until("the broker answers", async || Self::try_new(url).await).await
    }

    /// `None` when it does not; the library can wait for ever for a broker that is just starting or ending.
    pub async fn try_new(url: &str) -> Option<Self> {
        tokio::time::timeout(std::time::Duration::from_secs(5), Self::connect(url)).await.ok()?
    }

    async fn connect(url: &str) -> Option<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await.ok()?;
        let channel = connection.create_channel().await.ok()?;
        channel.confirm_select(ConfirmSelectOptions::default()).await.ok()?;
        Some(Self { _connection: connection, channel })
    }

    /// Publishes to `amq.topic` and waits for the confirm.
    pub async fn publish(&self, key: &str, content_type: &str, body: &[u8]) {
        self.publish_with(key, body, BasicProperties::default().with_content_type(content_type.into())).await;
    }

    pub async fn publish_with(&self, key: &str, body: &[u8], properties: BasicProperties) {
        let options = BasicPublishOptions::default();
        let publish = self.channel.basic_publish("amq.topic".into(), key.into(), options, body, properties);
        assert!(publish.await.unwrap().await.unwrap().is_ack());
    }

    /// A durable queue, bound to `amq.topic` with these keys.
    pub async fn queue(&self, name: &str, keys: &[&str]) {
        let options = QueueDeclareOptions { durable: true, ..Default::default() };
        self.channel.queue_declare(name.into(), options, FieldTable::default()).await.unwrap();
        for key in keys {
            let bind = self.channel.queue_bind(
                name.into(),
                "amq.topic".into(),
                (*key).into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            );
            bind.await.unwrap();
        }
    }

    /// Messages in a queue that nobody has in hand, and how many consume.
    pub async fn counts(&self, queue: &str) -> (u32, u32) {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let queue = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await.unwrap();
        (queue.message_count(), queue.consumer_count())
    }

    /// Waits until so many messages of a queue are in nobody's hand.
    pub async fn until_ready(&self, queue: &str, messages: u32) {
        until("the queue has so many messages", async || (self.counts(queue).await.0 == messages).then_some(())).await;
    }

    /// Consumes from a queue without acknowledging.
    pub async fn consume(&self, queue: &str) -> Consumer {
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        self.channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.unwrap()
    }
}

/// The next message.
pub async fn next(consumer: &mut Consumer) -> Delivery {
    within("a message comes", consumer.next()).await.unwrap().unwrap()
}

/// The next message's body as JSON.
pub async fn next_json(consumer: &mut Consumer) -> serde_json::Value {
    serde_json::from_slice(&next(consumer).await.data).unwrap()
}

/// A hub with these settings, ready and with this many of its links connected.
pub async fn hub(place: &Place, settings: &str, links: usize) -> Process {
    let mut hub = Process::launch(place, settings, &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    until_linked(&hub, links).await;
    hub
}

pub async fn until_linked(hub: &Process, links: usize) {
    // One that is not waited for may be connected all the same.
    until("the links are connected", async || (hub.metric("link_up", "").await as usize >= links).then_some(())).await;
}

/// The settings of a source.
pub fn source(url: &str, more: &str) -> String {
    format!("[[sources]]\nname = \"in\"\nkind = \"amqp\"\nurl = \"{url}\"\n{more}\n")
}

/// The settings of an outlet.
pub fn outlet(name: &str, url: &str, more: &str) -> String {
    format!("[[outlets]]\nname = \"{name}\"\nkind = \"amqp\"\nurl = \"{url}\"\n{more}\n")
}

/// The values of the live revocations, in the order of their text.
pub async fn values(hub: &Process, field: &str) -> Vec<String> {
    let mut values: Vec<String> =
        hub.snapshot().await.map.values().filter_map(|r| Some(r[field].as_str()?.to_owned())).collect();
    values.sort();
    values
}

/// Waits until so many revocations are live.
pub async fn until_live(hub: &Process, count: usize) {
    until("the revocations are there", async || {
        let live = hub.metric("live_revocations", "").await as usize;
        let _ = hub.try_snapshot().await?;
        (live == count).then_some(())
    })
    .await;
}
