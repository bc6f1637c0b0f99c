//! The far side: brokers that a test may kill, and clients of theirs in other languages.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::harness::{Place, Process, until};

/// A port that nobody listens on, nor on the one after it, below those that the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    std::iter::repeat_with(|| rand::random_range(20_000..32_000)).find(|port| free(*port) && free(*port + 1)).unwrap()
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A server of `scripts/servers`, with all of its processes. They go when this is dropped.
pub struct Server {
    script: &'static str,
    folder: tempfile::TempDir,
    pub port: u16,
    /// Where it listens for those who show a certificate.
    mutual: Option<u16>,
    child: Option<Child>,
}

impl Server {
    /// Starts it and waits until it listens.
    pub async fn start(script: &'static str) -> Self {
        Self::start_with(script, None).await
    }

    /// The same; over TLS only those get in who show a certificate of its authority.
    pub async fn start_mutual(script: &'static str) -> Self {
        Self::start_with(script, Some(free_port())).await
    }

    async fn start_with(script: &'static str, mutual: Option<u16>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // The servers have users of their own.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut server = Self { script, folder, port: free_port(), mutual, child: None };
        server.again();
        server.until_listening().await;
        server
    }

    /// Starts it again, on the same data, and does not wait.
    pub fn again(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut command = Command::new(repository("scripts/servers").join(self.script));
        command.arg(self.folder.path().join("data")).arg(self.port.to_string());
        if let Some(port) = self.mutual {
            command.args([&port.to_string(), "mutual"]);
        } else if self.script == "rabbitmq" {
            command.arg((self.port + 1).to_string()); // with TLS
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    pub async fn until_listening(&self) {
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap();
        let connects = async || {
            for port in [self.port].into_iter().chain(self.mutual) {
                tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            }
            Some(())
        };
        let wait = tokio::time::timeout(std::time::Duration::from_secs(120), async {
            while connects().await.is_none() {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        });
        wait.await.unwrap_or_else(|_| panic!("{} does not listen: {}", self.script, log()));
    }

    /// Ends all of its processes with a signal, and waits until they are gone.
    pub fn end(&mut self, signal: &str) {
        let Some(mut child) = self.child.take() else { return };
        let group = format!("-{}", child.id());
        let kill =
            |signal: &str| Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status().unwrap();
        kill(signal);
        child.wait().unwrap();
        while kill("-0").success() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The port of TLS with a certificate.
    pub fn mutual_port(&self) -> u16 {
        self.mutual.expect("it was started so")
    }

    /// A file of the server's.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("data").join(name)
    }

    /// The authority that RabbitMQ's certificate is of.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("data/ca.pem")
    }

    /// `kill -9`, and starts it again.
    pub fn crash(&mut self) {
        self.end("-KILL");
        self.again();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("-KILL");
    }
}

/// A program that takes commands and prints lines. It is killed when this is dropped.
pub struct Peer {
    child: Child,
    input: ChildStdin,
    output: PathBuf,
    _folder: tempfile::TempDir,
    /// How many lines were looked at.
    read: usize,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("output");
        let file = std::fs::File::create(&output).unwrap();
        let mut child = command.stdin(Stdio::piped()).stdout(file).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        Self { child, input, output, _folder: folder, read: 0 }
    }

    /// A JMS client of ActiveMQ, ready. `mode` is `publish` or `subscribe`; a destination `queue:NAME` is a queue.
    pub async fn java(broker: &Server, mode: &str, destination: &str) -> Self {
        let jars = [
            "activemq-client",
            "geronimo-jms_1.1_spec",
            "geronimo-j2ee-management-1.1-spec",
            "hawtbuf",
            "slf4j-api",
            "slf4j-nop",
        ];
        let jars: Vec<String> = jars.iter().map(|jar| format!("/usr/share/java/{jar}.jar")).collect();
        let mut command = Command::new("java");
        command.args(["-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars.join(":")]);
        command.arg(repository("tests/brokers/java/Peer.java"));
        command.args([&format!("tcp://127.0.0.1:{}", broker.port + 1), mode, destination]);
        let mut peer = Self::start(command);
        peer.expect("ready").await;
        peer
    }

    /// An AMQP 1.0 peer that listens on this port.
    pub async fn python(port: u16) -> Self {
        let mut command = Command::new("/usr/bin/python3"); // Debian's, which has the package
        command.arg(repository("tests/brokers/python/peer.py")).arg(port.to_string());
        let mut peer = Self::start(command);
        peer.expect("listening").await;
        peer
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// Says it and waits until it is done.
    pub async fn done(&mut self, line: &str) {
        self.say(line);
        self.expect("done").await;
    }

    /// Everything it has printed so far, complete lines only.
    pub fn printed(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.output).unwrap();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        complete.lines().map(str::to_owned).collect()
    }

    /// The next line that it prints.
    pub async fn line(&mut self) -> String {
        let line = until("the peer prints a line", async || self.printed().get(self.read).cloned()).await;
        self.read += 1;
        line
    }

    /// Panics when the next line is another one.
    pub async fn expect(&mut self, expected: &str) {
        assert_eq!(self.line().await, expected);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
    until("the links are connected", async || (hub.metric("link_up", "").await as usize == links).then_some(())).await;
}

/// The `jti` of the live revocations, in the order of their text.
pub async fn tokens(hub: &Process) -> Vec<String> {
    let Some(snapshot) = hub.try_snapshot().await else { return Vec::new() };
    let mut tokens: Vec<String> = snapshot.map.values().filter_map(|r| Some(r["jti"].as_str()?.to_owned())).collect();
    tokens.sort();
    tokens
}

/// Waits until exactly these are revoked.
pub async fn until_tokens(hub: &Process, expected: &[&str]) {
    let mut seen = Vec::new();
    let found = tokio::time::timeout(crate::harness::PATIENCE, async {
        loop {
            seen = tokens(hub).await;
            if seen == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    });
    if found.await.is_err() {
        panic!("expected {expected:?}, there are {seen:?}; the hub says {}", hub.printed());
    }
}

/// Waits until a link has so many messages of an outcome.
pub async fn until_messages(hub: &Process, outcome: &str, count: usize) {
    let label = format!("outcome=\"{outcome}\"");
    until(outcome, async || (hub.metric("link_messages_total", &label).await as usize >= count).then_some(())).await;
}
