//! The hub: all rooms put together, started and stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{ClientCertificates, Config, ConfigError};
use crate::feed::{self, Feed};
use crate::http::Authenticator;
use crate::http::admission::Admission;
use crate::http::body::BodyBounds;
use crate::http::server::Server;
use crate::http::webhook::Webhooks;
use crate::intake::{Bounds, Intake};
use crate::issuers::Issuers;
use crate::ledger::Ledger;
use crate::lifecycle::{Lifecycle, TaskDied};
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::outlets::{self, Outlets};
use crate::proxy::Proxy;
use crate::reload::Reloader;
use crate::revocation::{Cursor, Id};
use crate::router::{self, admin_router, router};
use crate::sources::native::Origins;
use crate::sources::{self, Defaults, Sources};
use crate::store::pruner::{self, Pruner};
use crate::store::{self, Store, StoreError};
use crate::tls::accept::Acceptor;
use crate::tls::server::Identity;

/// Why a hub did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The configuration is not one to run with.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}{}", listen_advice(source))]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// A task that should have lived has ended.
    #[error(transparent)]
    Died(#[from] TaskDied),
}

/// What a person can do, in front of what the system says.
fn listen_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            " (another program does, perhaps a hub that runs already; `ss -ltnp` shows which; give another address with --listen)"
        }
        std::io::ErrorKind::AddrNotAvailable => " (this machine has no such address; `ip address` shows those it has)",
        std::io::ErrorKind::PermissionDenied => {
            " (ports below 1024 need the capability CAP_NET_BIND_SERVICE; take a higher one, such as 8080)"
        }
        _ => "",
    }
}

/// A running hub.
pub struct Hub {
    addresses: Vec<SocketAddr>,
    admin_addresses: Vec<SocketAddr>,
    reloader: Arc<Reloader>,
    intake: Intake,
    stop: CancellationToken,
    insist: CancellationToken,
    done: JoinHandle<Result<(), TaskDied>>,
}

/// How long the first attempt at the store holds up the start. Afterwards the hub listens and says that it knows nothing.
const FIRST_ATTEMPT: Duration = Duration::from_secs(5);

impl Hub {
    /// Starts a hub. It listens when this returns; it is ready when `/readyz` says so. An address with port 0 gets a free
    /// one.
    pub async fn start(config: Config, clock: Clock) -> Result<Self, HubError> {
        config.validate()?;
        // Descriptors first: a hub that can hold 1,024 connections is a surprise nobody likes.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
        let identity = Identity::load(&config.tls)?;
        let admin_identity = match config.admin.tls {
            Some(false) => None,
            _ => Identity::load_with(&config.tls, ClientCertificates::Optional)?,
        };
        if let Some(identity) = &identity {
            for warning in identity.warnings(&config.tls, clock.now()) {
                tracing::warn!("{warning}");
            }
        }
        let proxy = Proxy::new(&config.proxy)?;
        let listeners = listen_on(&config.listen).await?;
        let admin_listeners = listen_on(&config.admin.listen).await?;
        let options = store::Options {
            max_connections: config.store.max_connections,
            timeout: config.store.timeout,
            listen_notify: config.store.listen_notify,
            beat_interval: config.store.beat_interval,
        };
        let store = store::connect(config.database_url.expose(), &options).await?;
        if store.has_clock() {
            clock.wait();
        }
        let prepared = prepare_once(&*store, config.migrate_on_start).await?;

        let skew = seconds(config.clock_skew);
        let metrics = Metrics::new();
        metrics.feed_max_lag.set(config.feed.max_lag.as_secs_f64());
        metrics.max_clock_offset.set(config.store.max_clock_offset.as_secs_f64());
        // What never succeeds has not succeeded since now.
        metrics.prune_last_success.set(clock.now());
        metrics.audit_prune_last_success.set(clock.now());
        let ledger = Ledger::new(&config.wso2_organization);
        let bounds =
            Bounds { max_text: config.limits.max_text, max_reason: config.limits.max_reason, clock_skew: skew };
        let (intake, committer) = Intake::new(store.clone(), clock.clone(), bounds, metrics.clone());
        let pace = feed::Pace {
            poll_interval: config.store.poll_interval,
            bookmark_interval: config.bookmark_interval,
            sweep_interval: config.store.prune_interval,
            clock_skew: skew,
            migrate: config.migrate_on_start,
            max_clock_offset: config.store.max_clock_offset,
        };
        let (over, is_over) = mpsc::unbounded_channel();
        let feed = Feed::new(store.clone(), ledger.clone(), clock.clone(), pace, metrics.clone(), over);

        let mut life = Lifecycle::new(config.shutdown.drain);
        let (commits, committed) = mpsc::channel(256);
        life.spawn("committer", committer.run(commits, feed.applied()));
        let gate = Gate { store: store.clone(), migrate: config.migrate_on_start, rest: life.rest.clone() };
        let pruning = pruner::Pace {
            interval: config.store.prune_interval,
            batch: config.store.prune_batch,
            clock_skew: skew,
            audit_retention: config.audit.retention,
        };
        let behind = {
            let (store, clock, metrics, rest) = (store.clone(), clock.clone(), metrics.clone(), life.rest.clone());
            async move {
                if prepared || gate.wait().await {
                    let pruner = Pruner { store: store.clone(), clock, pace: pruning, metrics, over: is_over };
                    tokio::join!(feed.run(committed, rest.clone()), pruner.run(rest.clone()));
                }
                store.close().await;
            }
        };
        life.spawn("feed and pruner", behind);

        let body = BodyBounds { max_bytes: config.limits.max_body_bytes, timeout: config.limits.body_timeout };
        let defaults = Defaults {
            keep_opaque: config.keep_opaque,
            keep_signature: config.keep_signature,
            max_token_lifetime: seconds(config.default_max_token_lifetime),
        };
        let issuers = Issuers::new(&config.issuers, clock.clone(), skew, &metrics);
        if !issuers.is_empty() {
            life.spawn("issuers", issuers.clone().keep_fresh(life.soft.clone()));
        }
        let parts = sources::start::Parts {
            intake: intake.clone(),
            known: ledger.clone(),
            parking: store.clone(),
            issuers: issuers.clone(),
            seen: store.clone(),
            max_parked: config.limits.max_parked,
            max_items: config.limits.max_items,
            defaults,
            origin: Origin::of(ledger.clone()),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        let running = sources::start::start(&config.sources, &parts, &mut life);
        let sources = Sources {
            intake: intake.clone(),
            body,
            max_items: config.limits.max_items,
            defaults,
            running,
            parking: store.clone(),
            issuers: issuers.clone(),
            seen: store.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        };
        let parts = outlets::start::Parts {
            ledger: ledger.clone(),
            positions: store.clone(),
            metrics: metrics.clone(),
            clock: clock.clone(),
        };
        let audit = outlets::audit::Records { store: store.clone(), ledger: ledger.clone() };
        let links = outlets::start::start(&config.outlets, &parts, &mut life);
        let (stopping, streams, draining) = (life.soft.clone(), ledger.clone(), metrics.clone());
        life.spawn("stopping", async move {
            stopping.cancelled().await;
            draining.draining.set(1);
            streams.close();
        });
        let authenticator =
            Arc::new(Authenticator::new(&config.clients, clock.clone()).with_tokens(issuers.clone(), {
                let ledger = ledger.clone();
                Box::new(move |claims| ledger.is_loaded().then(|| ledger.check(claims).is_some()))
            }));
        let outlets = Outlets {
            ledger,
            metrics: metrics.clone(),
            body,
            max_stream_age: config.streams.max_age,
            retry: config.streams.retry,
            max_lag: config.feed.max_lag,
            links,
            issuers,
            clock: clock.clone(),
            blind: Default::default(),
            stopping: life.soft.clone(),
            drain: life.drain.clone(),
            admission: Admission::new(&config.limits, metrics.clone()),
            small_load: config.limits.small_load,
            first_load_timeout: config.limits.first_load_timeout,
        };
        let origins = Origins { known: config.cloudevents_origins.clone().into(), metrics: metrics.clone() };
        let webhooks = Webhooks::new(&config.clients, store.clone(), body, clock.clone(), metrics.clone());
        let (sources, outlets) = (Arc::new(sources), Arc::new(outlets));
        let administered_elsewhere = !admin_listeners.is_empty();
        let admin_admission = Admission::new(&config.limits, metrics.clone());
        let admin_router = admin_router(&authenticator, &sources, &outlets, &audit, admin_admission);
        let accept = |identity: &Identity| Acceptor::new(identity, config.tls.handshake_timeout, metrics.clone());
        let acceptor = identity.as_ref().map(accept);
        let admin_acceptor = admin_identity.as_ref().map(accept);
        let acceptors = acceptor.iter().map(|acceptor| (acceptor.clone(), None));
        let lenient = Some(ClientCertificates::Optional);
        let acceptors = acceptors.chain(admin_acceptor.iter().map(|acceptor| (acceptor.clone(), lenient))).collect();
        let reloader = Reloader::new(
            config.clone(),
            identity.as_ref(),
            acceptors,
            authenticator.clone(),
            webhooks.clone(),
            metrics.clone(),
            clock.clone(),
        );
        life.spawn("reloader", reloader.clone().watch(config.reload_interval, life.soft.clone()));
        let parts =
            router::Parts { authenticator, webhooks, origins, sources, outlets, audit, proxy, administered_elsewhere };
        let server = Server {
            tls: acceptor,
            router: router(parts, &config.wso2),
            header_timeout: config.limits.header_timeout,
            stall_timeout: config.limits.stall_timeout,
            connections: Arc::new(Semaphore::new(config.limits.max_connections)),
            metrics,
            stopping: life.soft.clone(),
            stop: life.closing.clone(),
            cut: life.hard.clone(),
            tasks: life.connections.clone(),
            clock: clock.clone(),
        };
        let admin_server = Server {
            router: admin_router,
            tls: admin_acceptor,
            // Probes are answered when the others are full, and the other way round.
            connections: Arc::new(Semaphore::new(config.admin.max_connections)),
            ..server.clone()
        };
        let mut admin_addresses = Vec::new();
        for (listener, address) in admin_listeners.into_iter().zip(&config.admin.listen) {
            let address = listener.local_addr().map_err(|source| HubError::Listen { address: *address, source })?;
            let scheme = if admin_server.tls.is_some() { "https" } else { "http" };
            tracing::info!("administration on {scheme}://{address}");
            admin_addresses.push(address);
            life.spawn("admin listener", admin_server.clone().run(listener));
        }
        let mut addresses = Vec::new();
        for (listener, address) in listeners.into_iter().zip(&config.listen) {
            let address = listener.local_addr().map_err(|source| HubError::Listen { address: *address, source })?;
            let scheme = if identity.is_some() { "https" } else { "http" };
            tracing::info!("listening on {scheme}://{address}");
            addresses.push(address);
            life.spawn("listener", server.clone().run(listener));
        }
        announce(&config, &*store);
        let (stop, insist) = (life.soft.clone(), life.insist.clone());
        let done = tokio::spawn(life.run(config.shutdown.grace));
        Ok(Self { addresses, admin_addresses, reloader, intake, stop, insist, done })
    }

    /// The addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The addresses for those who look after it.
    pub fn admin_addresses(&self) -> &[SocketAddr] {
        &self.admin_addresses
    }

    /// Reads certificates and clients again.
    pub fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// The way in for sources that live in this process.
    pub fn intake(&self) -> &Intake {
        &self.intake
    }

    /// Begins to stop: no longer ready, no new streams, open ones leave, requests finish.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Cuts what is still open and waits for nothing.
    pub fn cut(&self) {
        self.insist.cancel();
        self.stop.cancel();
    }

    /// Waits until the hub has ended.
    pub async fn wait(self) -> Result<(), HubError> {
        let Self { intake, done, .. } = self;
        // The committer ends when nobody can send to it any more.
        drop(intake);
        match done.await {
            Ok(result) => Ok(result?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

impl sources::Known for Ledger {
    fn cursor(&self) -> Option<Cursor> {
        Ledger::cursor(self)
    }

    fn is_lifted(&self, id: Id) -> bool {
        Ledger::is_lifted(self, id)
    }
}

/// Runs a hub until SIGTERM or SIGINT. A second signal cuts what is still open. At SIGHUP the settings are read again with
/// `again`; see [`crate::reload`].
pub async fn serve(
    config: Config,
    again: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
) -> Result<(), HubError> {
    // Before it is needed: until somebody listens for it, the signal ends the process.
    let hangup = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup());
    // Before anything else is there, and once for both signals: none is missed, however close they come to each other.
    let mut signals = Signals::new();
    let hub = tokio::select! {
        hub = Hub::start(config, Clock::system()) => hub?,
        // Nothing has been acknowledged yet.
        () = signals.next() => return Ok(()),
    };
    let (stop, insist) = (hub.stop.clone(), hub.insist.clone());
    let reloader = hub.reloader.clone();
    let reloading = tokio::spawn(async move {
        let Ok(mut hangup) = hangup else { return tracing::error!("cannot listen for SIGHUP") };
        let again = Arc::new(again);
        while hangup.recv().await.is_some() {
            let (reloader, again) = (reloader.clone(), again.clone());
            // What is wrong has been said.
            let _ = tokio::task::spawn_blocking(move || drop(reloader.reload(again()))).await;
        }
    });
    let signals = tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping; a second signal cuts what is still open");
        stop.cancel();
        signals.next().await;
        insist.cancel();
    });
    let result = hub.wait().await;
    signals.abort();
    reloading.abort();
    result
}

/// SIGTERM and SIGINT, from the moment on at which this was made.
struct Signals(Option<(Signal, Signal)>);

impl Signals {
    fn new() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
        Self(both.inspect_err(|error| tracing::error!(%error, "cannot listen for signals")).ok())
    }

    /// Waits for the next of either.
    async fn next(&mut self) {
        let Some((terminate, interrupt)) = &mut self.0 else { return std::future::pending().await };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

async fn listen_on(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, HubError> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(listen(*address).await.map_err(|source| HubError::Listen { address: *address, source })?);
    }
    Ok(listeners)
}

async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // A restart must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // A fleet that reconnects at once has to fit; the kernel caps it at net.core.somaxconn.
    socket.listen(4096)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn announce(config: &Config, store: &dyn Store) {
    let place = store.describe();
    if config.database_url.expose().starts_with("sqlite") {
        tracing::info!("store: {place}; for Postgres give --database-url postgres://user@host/database");
    } else {
        tracing::info!("store: {place}");
    }
    if !config.has_credentials() {
        tracing::warn!("no [[clients]] are configured: everybody on this machine may read and revoke");
    }
}

/// Prepares the store if it answers; says whether it did. An error that waiting cannot heal ends the start.
async fn prepare_once(store: &dyn Store, migrate: bool) -> Result<bool, StoreError> {
    match tokio::time::timeout(FIRST_ATTEMPT, store.prepare(migrate)).await {
        Ok(Ok(applied)) => {
            report(&applied);
            Ok(true)
        }
        Ok(Err(error)) if error.is_transient() => {
            tracing::error!(%error, "starting without the store; nothing is answered until it is there");
            Ok(false)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            tracing::error!("the store is slow; nothing is answered until it is prepared");
            Ok(false)
        }
    }
}

fn report(applied: &[String]) {
    if !applied.is_empty() {
        tracing::info!("applied migrations: {}", applied.join(", "));
    }
}

/// Holds the feed back until the store is prepared.
struct Gate {
    store: Arc<dyn Store>,
    migrate: bool,
    rest: CancellationToken,
}

impl Gate {
    /// Whether the store is prepared; false when the hub stops first.
    async fn wait(self) -> bool {
        let mut pause = Duration::from_millis(200);
        loop {
            tokio::select! {
                () = self.rest.cancelled() => return false,
                prepared = self.store.prepare(self.migrate) => match prepared {
                    Ok(applied) => {
                        report(&applied);
                        tracing::info!("the store is there");
                        return true;
                    }
                    Err(error) if error.is_transient() => tracing::debug!(%error, "waiting for the store"),
                    // It was away at the start, and now that it is there it needs a person: end loudly.
                    Err(error) => panic!("{error}"),
                },
            }
            tokio::select! {
                () = self.rest.cancelled() => return false,
                () = tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())) => {}
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}
