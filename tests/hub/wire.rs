//! A wire between a hub and a server that a test can break in every way in which networks break.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::Place;

/// What the wire does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Lets everything through.
    Good,
    /// Ends every connection with a reset, and each new one as soon as it is there.
    Cut,
    /// The same, but nobody listens any more: "connection refused".
    #[allow(dead_code, reason = "for the tests with faults")]
    Refused,
    /// Holds every piece back for so long, each way.
    #[allow(dead_code, reason = "for the tests with faults")]
    Slow(Duration),
    /// Accepts connections and keeps every byte back: a network that swallows. What it kept goes on when it is good again.
    Mute,
}

impl Wire {
    fn is_broken(self) -> bool {
        matches!(self, Wire::Cut | Wire::Refused)
    }
}

/// A connection that is open.
struct Open {
    /// The port that the server sees it come from.
    port: u16,
    /// Whether it has become a hole.
    hole: watch::Sender<bool>,
}

/// The wire.
pub struct Proxy {
    address: SocketAddr,
    wire: watch::Sender<Wire>,
    target: Arc<Mutex<String>>,
    #[allow(dead_code, reason = "for the tests with faults")]
    open: Arc<Mutex<Vec<Open>>>,
}

impl Proxy {
    /// A wire to the place's Postgres.
    pub async fn new(place: &Place) -> Self {
        let url = reqwest::Url::parse(&place.url).unwrap();
        Self::to(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5432))).await
    }

    /// A wire to an address.
    pub async fn to(target: String) -> Self {
        // Below the ports that the kernel gives to outgoing connections: while the wire refuses, nobody holds the port.
        let listener = loop {
            let port = rand::random_range(20_000..32_000);
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
                break listener;
            }
        };
        let address = listener.local_addr().unwrap();
        let (wire, state) = watch::channel(Wire::Good);
        let (target, open) = (Arc::new(Mutex::new(target)), Arc::default());
        tokio::spawn(accept(listener, state, target.clone(), Arc::clone(&open)));
        Self { address, wire, target, open }
    }

    /// Where it begins.
    #[allow(dead_code, reason = "for the tests with brokers")]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// New connections lead to another address from now on.
    #[allow(dead_code, reason = "for the tests with faults")]
    pub fn lead_to(&self, target: String) {
        *self.target.lock() = target;
    }

    /// Makes holes of the connections that are open and that the server sees come from a port that is asked for: no byte
    /// gets through any more, either way, and neither end is told, for ever. New connections are as good as before. Returns
    /// how many.
    #[allow(dead_code, reason = "for the tests with faults")]
    pub fn swallow(&self, which: impl Fn(u16) -> bool) -> usize {
        let mut open = self.open.lock();
        open.retain(|open| !open.hole.is_closed());
        open.iter().filter(|open| which(open.port) && !open.hole.send_replace(true)).count()
    }

    /// The place's database by this wire.
    pub fn url(&self, place: &Place) -> String {
        let mut url = reqwest::Url::parse(&place.url).unwrap();
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(self.address.port())).unwrap();
        url.into()
    }
}

/// Takes connections as long as the wire is there.
async fn accept(
    listener: TcpListener,
    mut state: watch::Receiver<Wire>,
    target: Arc<Mutex<String>>,
    open: Arc<Mutex<Vec<Open>>>,
) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let wire = *state.borrow_and_update();
        if wire == Wire::Refused {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.expect("nobody has taken the port meanwhile"));
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = accepted => {
                let Ok((near, _)) = accepted else { return };
                let target = target.lock().clone();
                tokio::spawn(connection(near, target, state.clone(), open.clone()));
            }
        }
    }
}

async fn connection(
    mut near: TcpStream,
    target: String,
    mut state: watch::Receiver<Wire>,
    open: Arc<Mutex<Vec<Open>>>,
) {
    if state.borrow().is_broken() {
        return reset(&near);
    }
    // Whoever is not answered for a while is not answered by what lies behind either.
    if state.wait_for(|wire| *wire != Wire::Mute).await.is_err() || state.borrow().is_broken() {
        return reset(&near);
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return reset(&near) };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (hole, mut swallowed) = watch::channel(false);
    open.lock().push(Open { port: far.local_addr().unwrap().port(), hole });
    {
        let (near_in, near_out) = near.split();
        let (far_in, far_out) = far.split();
        let mut breaks = state.clone();
        tokio::select! {
            biased;
            _ = swallowed.wait_for(|hole| *hole) => {}
            _ = breaks.wait_for(|wire| wire.is_broken()) => {}
            () = carry(near_in, far_out, state.clone()) => {}
            () = carry(far_in, near_out, state.clone()) => {}
        }
    }
    if *swallowed.borrow() {
        // Both ends stay as they are for as long as the wire exists.
        while state.changed().await.is_ok() {}
    } else if state.borrow().is_broken() {
        reset(&near);
    }
}

/// What is dropped afterwards ends with RST and not with FIN.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Carries bytes one way until either end goes away.
async fn carry(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut state: watch::Receiver<Wire>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let wire = state.wait_for(|wire| *wire != Wire::Mute).await.map(|wire| *wire);
        match wire {
            // Whoever ends the connection may hear of it a moment after this. What was kept back shall not slip through.
            Ok(wire) if wire.is_broken() => return,
            Ok(Wire::Slow(delay)) => tokio::time::sleep(delay).await,
            Ok(_) => {}
            Err(_) => return,
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
