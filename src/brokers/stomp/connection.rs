//! A connection to a STOMP broker: signing in, heart-beats both ways, receipts.
//!
//! **Concurrency.** One task per connection reads and beats, so that both go on while whoever has the connection waits for
//! the store. It ends with the connection, and its end is an error of [`Connection::next`].

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::sync::{Mutex, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::frame::{Decoder, Frame, Item};
use crate::brokers::dial::{Route, Wire};

/// Without TLS and with.
const PORTS: (u16, u16) = (61613, 61614);
/// How often we offer to show life, and want the broker to.
const BEAT: Duration = Duration::from_secs(10);
/// How long the broker may take to answer, and to take what is written.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The most bytes of one message that are kept; what is longer is set aside.
pub const MAX_BODY: usize = 4 << 20;

/// See the module's documentation.
pub struct Connection {
    writer: Writer,
    incoming: mpsc::Receiver<anyhow::Result<Frame>>,
    /// Messages that came before the receipt of the subscription.
    early: VecDeque<Frame>,
    /// Whether it is STOMP 1.1, in which messages are acknowledged by another header.
    old: bool,
    _task: AbortOnDropHandle<()>,
}

/// The way out of a connection.
#[derive(Clone)]
struct Writer(Arc<Mutex<WriteHalf<Box<dyn Wire>>>>);

impl Writer {
    async fn write(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let write = async {
            let mut half = self.0.lock().await;
            half.write_all(bytes).await?;
            half.flush().await
        };
        in_time("to take what is written", write).await?.context("cannot write to the broker")
    }
}

/// The way in of a connection.
struct Reader {
    half: ReadHalf<Box<dyn Wire>>,
    decoder: Decoder,
    buffer: BytesMut,
}

impl Reader {
    async fn next(&mut self) -> anyhow::Result<Item> {
        loop {
            if let Some(item) = self.decoder.decode(&mut self.buffer).context("the broker does not speak STOMP")? {
                return Ok(item);
            }
            if self.half.read_buf(&mut self.buffer).await.context("cannot read from the broker")? == 0 {
                bail!("the broker has closed the connection");
            }
        }
    }

    /// The next frame, signs of life left out.
    async fn frame(&mut self) -> anyhow::Result<Frame> {
        loop {
            if let Item::Frame(frame) = self.next().await? {
                return Ok(frame);
            }
        }
    }
}

impl Connection {
    /// Connects and signs in. Up to `ahead` frames are read before anybody asks for them.
    pub async fn open(route: &Route, client_id: Option<&str>, ahead: usize) -> anyhow::Result<Self> {
        let dialled = route.dial(PORTS).await?;
        let host = if dialled.path.is_empty() { dialled.host } else { dialled.path };
        let beat = BEAT.as_millis();
        let mut connect = Frame::new("CONNECT")
            .with("accept-version", "1.1,1.2")
            .with("host", host)
            .with("heart-beat", format!("{beat},{beat}"));
        if let Some((username, password)) = dialled.login {
            connect = connect.with("login", username).with("passcode", password.expose());
        }
        if let Some(client_id) = client_id {
            connect = connect.with("client-id", client_id);
        }
        let (half, writer) = tokio::io::split(dialled.wire);
        let writer = Writer(Arc::new(Mutex::new(writer)));
        let mut bytes = Vec::new();
        connect.encode(&mut bytes);
        writer.write(&bytes).await?;
        let mut reader = Reader { half, decoder: Decoder::new(MAX_BODY), buffer: BytesMut::with_capacity(16 << 10) };
        let connected = in_time("to let us in", reader.frame()).await??;
        match connected.command.as_str() {
            "CONNECTED" => {}
            "ERROR" => bail!("the broker does not let us in: {}", complaint(&connected)),
            _ => bail!("the broker does not speak STOMP: it answers with something else than CONNECTED"),
        }
        let version = connected.header("version").unwrap_or("1.0");
        anyhow::ensure!(matches!(version, "1.1" | "1.2"), "the broker speaks neither STOMP 1.1 nor 1.2");
        let (theirs, wanted) = beats(connected.header("heart-beat"));
        let (sender, incoming) = mpsc::channel(ahead.max(1));
        let task = tokio::spawn(live(reader, writer.clone(), theirs, wanted, sender));
        let old = version == "1.1";
        Ok(Self { writer, incoming, early: VecDeque::new(), old, _task: AbortOnDropHandle::new(task) })
    }

    /// Sends frames, in one piece.
    pub async fn send(&self, frames: &[Frame]) -> anyhow::Result<()> {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.encode(&mut bytes));
        self.writer.write(&bytes).await
    }

    /// The frame that acknowledges a message, and with `ack:client` those before it.
    pub fn ack(&self, message: &Frame) -> anyhow::Result<Frame> {
        let name = if self.old { "message-id" } else { "ack" };
        let id = message.header(name).with_context(|| format!("the broker sends a message without {name}"))?;
        Ok(if self.old {
            Frame::new("ACK").with("message-id", id).with("subscription", message.header("subscription").unwrap_or("0"))
        } else {
            Frame::new("ACK").with("id", id)
        })
    }

    /// The next frame. An error is the end of the connection. Cancel-safe.
    pub async fn next(&mut self) -> anyhow::Result<Frame> {
        match self.early.pop_front() {
            Some(frame) => Ok(frame),
            None => self.incoming.recv().await.context("the connection has ended")?,
        }
    }

    /// A frame that is there already.
    pub fn try_next(&mut self) -> Option<anyhow::Result<Frame>> {
        self.early.pop_front().map(Ok).or_else(|| self.incoming.try_recv().ok())
    }

    /// Waits for the answer to a request that has no token in it, so that what an ERROR says can be told.
    pub async fn receipt(&mut self, id: &str) -> anyhow::Result<()> {
        let answer = async {
            loop {
                let frame = self.incoming.recv().await.context("the connection has ended")??;
                match frame.command.as_str() {
                    "RECEIPT" if frame.header("receipt-id") == Some(id) => return Ok(()),
                    // A subscription begins before it is confirmed. There are no more than the prefetch limit.
                    "MESSAGE" => self.early.push_back(frame),
                    "ERROR" => bail!("the broker refuses: {}", complaint(&frame)),
                    _ => bail!("the broker answers with something else than a receipt"),
                }
            }
        };
        in_time("to answer", answer).await?
    }
}

/// What the broker says is wrong. Only of answers to frames without tokens: others may be quoted.
fn complaint(error: &Frame) -> String {
    error.header("message").unwrap_or("no reason given").chars().take(200).collect()
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => Ok(done),
        Err(_) => bail!("the broker takes longer than {PATIENCE:?} {what}"),
    }
}

/// What was agreed on (1.2 §"Heart-beating"): how often the broker shows life, and how often it wants us to.
fn beats(header: Option<&str>) -> (Option<Duration>, Option<Duration>) {
    let (can, want) = header.and_then(|header| header.split_once(',')).unwrap_or(("0", "0"));
    let agreed = |number: &str| match number.trim().parse::<u32>() {
        Ok(0) | Err(_) => None,
        Ok(millis) => Some(BEAT.max(Duration::from_millis(millis.into()))),
    };
    (agreed(can), agreed(want))
}

/// Reads and beats until either cannot go on.
async fn live(
    mut reader: Reader,
    writer: Writer,
    theirs: Option<Duration>,
    wanted: Option<Duration>,
    sender: mpsc::Sender<anyhow::Result<Frame>>,
) {
    let read = async {
        loop {
            let item = match theirs {
                // Twice, because clocks and networks are not exact.
                Some(every) => match tokio::time::timeout(every * 2, reader.next()).await {
                    Ok(item) => item?,
                    Err(_) => bail!("the broker shows no sign of life"),
                },
                None => reader.next().await?,
            };
            if let Item::Frame(frame) = item
                && sender.send(Ok(frame)).await.is_err()
            {
                return anyhow::Ok(());
            }
        }
    };
    let beat = async {
        let Some(every) = wanted else { return std::future::pending::<anyhow::Result<()>>().await };
        loop {
            // Twice as often, for the same reason.
            tokio::time::sleep(every / 2).await;
            writer.write(b"\n").await?;
        }
    };
    let ended = tokio::select! {
        ended = read => ended,
        ended = beat => ended,
    };
    if let Err(error) = ended {
        let _ = sender.send(Err(error)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_agreed_on_by_the_slower_side() {
        let seconds = |s| Some(Duration::from_secs(s));
        assert_eq!(beats(Some("10000,10000")), (seconds(10), seconds(10)));
        assert_eq!(beats(Some("30000,5")), (seconds(30), seconds(10)));
        assert_eq!(beats(Some("0,20000")), (None, seconds(20)));
        assert_eq!(beats(Some("nonsense")), (None, None));
        assert_eq!(beats(None), (None, None));
    }
}
