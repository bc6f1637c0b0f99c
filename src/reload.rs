//! What changes while the hub runs: certificates and clients. They are read again when somebody says so (SIGHUP, which reads
//! the configuration again too) and when their files have changed, which is looked for by reading them: a mounted Secret is
//! a link that points elsewhere all of a sudden, and a network file system tells nobody anything.
//!
//! All or nothing: whatever is wrong, the hub goes on with what it had, and says so in the log and by a metric until it is
//! put right. Nothing that is open notices, but for the streams of clients that are gone or are others now.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{ClientCertificates, Config, ConfigError};
use crate::http::Authenticator;
use crate::http::webhook::Webhooks;
use crate::metrics::Metrics;
use crate::tls::accept::Acceptor;
use crate::tls::server::Identity;

/// What can be read again, and who has to know.
pub struct Reloader {
    /// What is in force.
    state: Mutex<State>,
    /// Who accepts connections, and what it asks of clients when that is not what the settings say.
    pub acceptors: Vec<(Arc<Acceptor>, Option<ClientCertificates>)>,
    /// Who knows the clients.
    pub authenticator: Arc<Authenticator>,
    /// Who knows those of them that sign.
    pub webhooks: Arc<Webhooks>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Judges certificates.
    pub clock: Clock,
}

struct State {
    config: Config,
    digest: Option<[u8; 32]>,
    /// What was wrong the last time, so that it is not said every few seconds.
    wrong: Option<String>,
}

/// Everything that was read and found good.
struct Candidate {
    config: Config,
    identities: Vec<Identity>,
    digest: Option<[u8; 32]>,
}

impl Reloader {
    /// A reloader for a hub that runs with these settings and shows this.
    pub fn new(
        config: Config,
        identity: Option<&Identity>,
        acceptors: Vec<(Arc<Acceptor>, Option<ClientCertificates>)>,
        authenticator: Arc<Authenticator>,
        webhooks: Arc<Webhooks>,
        metrics: Arc<Metrics>,
        clock: Clock,
    ) -> Arc<Self> {
        let state = State { config, digest: identity.map(|identity| identity.digest), wrong: None };
        let this = Self { state: Mutex::new(state), acceptors, authenticator, webhooks, metrics, clock };
        if let Some(identity) = identity {
            this.tell_dates(identity);
        }
        Arc::new(this)
    }

    /// Puts settings into force that were read again: clients and certificates. Those that need a restart are named in the
    /// log. Says whether anything has changed.
    pub fn reload(&self, settings: Result<Config, ConfigError>) -> Result<bool, ConfigError> {
        let mut state = self.state.lock();
        let waiting = settings.as_ref().map(|new| need_restart(&state.config, new)).unwrap_or_default();
        let candidate = settings.and_then(|new| {
            let mut config = state.config.clone();
            config.clients = new.clients;
            // Whether there is TLS at all is decided at the start.
            if config.tls.files().is_some() && new.tls.files().is_some() {
                config.tls = crate::config::Tls { handshake_timeout: config.tls.handshake_timeout, ..new.tls };
            }
            self.candidate(&state, config)
        });
        state.wrong = None;
        let changed = self.settle(&mut state, candidate)?;
        if !waiting.is_empty() {
            tracing::warn!("these settings have changed and need a restart: {}", waiting.join(", "));
        }
        if !changed {
            tracing::info!("read again: certificates and clients are as they were");
        }
        Ok(changed)
    }

    /// Looks at the files of certificates and of clients' secrets.
    pub fn look(&self) -> Result<bool, ConfigError> {
        let mut state = self.state.lock();
        let mut config = state.config.clone();
        let candidate = config.read_client_files_again().and_then(|()| self.candidate(&state, config));
        self.settle(&mut state, candidate)
    }

    /// Looks again and again. Files may be on a network, so it is done beside the threads that serve.
    pub async fn watch(self: Arc<Self>, interval: Duration, stop: CancellationToken) {
        loop {
            let pause = if interval.is_zero() { Duration::MAX } else { interval };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let this = self.clone();
            // What is wrong has been said.
            let _ = tokio::task::spawn_blocking(move || drop(this.look())).await;
        }
    }

    fn candidate(&self, state: &State, config: Config) -> Result<Candidate, ConfigError> {
        config.validate()?;
        if state.config.has_credentials() && !config.has_credentials() {
            let message =
                "there are none any more, so everybody on this machine could revoke; restart the hub if that is meant";
            return Err(ConfigError::Invalid { key: "clients".into(), message: message.into() });
        }
        let mut identities = Vec::new();
        for (_, clients) in &self.acceptors {
            identities.extend(Identity::load_with(&config.tls, clients.unwrap_or(config.tls.client_certificates))?);
        }
        let digest = identities.first().map(|identity| identity.digest);
        Ok(Candidate { config, identities, digest })
    }

    fn settle(&self, state: &mut State, candidate: Result<Candidate, ConfigError>) -> Result<bool, ConfigError> {
        let Candidate { config, identities, digest } = match candidate {
            Ok(candidate) => candidate,
            Err(error) => {
                let why = error.to_string();
                self.metrics.reload_failing.set(1);
                if state.wrong.as_ref() != Some(&why) {
                    self.metrics.reloads.with_label_values(&["failed"]).inc();
                    tracing::error!("what was read again cannot be used, and the hub goes on with what it had: {why}");
                    state.wrong = Some(why);
                }
                return Err(error);
            }
        };
        self.metrics.reload_failing.set(0);
        if state.wrong.take().is_some() {
            tracing::info!("what was wrong with certificates or clients has been put right");
        }
        let clients = config.clients != state.config.clients;
        let certificates = digest != state.digest || config.tls != state.config.tls;
        if certificates {
            for ((acceptor, _), identity) in self.acceptors.iter().zip(&identities) {
                acceptor.renew(identity);
            }
            if let Some(identity) = identities.first() {
                self.tell_dates(identity);
                for warning in identity.warnings(&config.tls, self.clock.now()) {
                    tracing::warn!("{warning}");
                }
            }
            tracing::info!("certificates were read again; connections that begin from here on get them");
        }
        if clients {
            self.authenticator.renew(&config.clients);
            self.webhooks.renew(&config.clients);
            tracing::info!("clients were read again");
        }
        state.config = config;
        state.digest = digest;
        if clients || certificates {
            self.metrics.reloads.with_label_values(&["applied"]).inc();
        }
        Ok(clients || certificates)
    }

    fn tell_dates(&self, identity: &Identity) {
        for (certificate, dates) in &identity.dates {
            self.metrics.tls_not_after.with_label_values(&[certificate]).set(dates.until);
        }
    }
}

/// The settings that differ and are read at the start only.
fn need_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    // Every setting has its place here: a new one does not compile without a decision.
    let Config {
        listen,
        database_url,
        database_url_file,
        migrate_on_start,
        clock_skew,
        default_max_token_lifetime,
        bookmark_interval,
        keep_opaque,
        keep_signature,
        wso2_organization,
        cloudevents_origins,
        tls,
        admin,
        reload_interval,
        audit,
        limits,
        store,
        feed,
        streams,
        wso2,
        proxy,
        shutdown,
        log,
        clients: _,
        issuers,
        sources,
        outlets,
    } = old;
    let tls_as_such =
        (tls.files().is_some(), tls.handshake_timeout) != (new.tls.files().is_some(), new.tls.handshake_timeout);
    let all = [
        ("listen", *listen != new.listen),
        ("database_url", *database_url != new.database_url || *database_url_file != new.database_url_file),
        ("migrate_on_start", *migrate_on_start != new.migrate_on_start),
        ("clock_skew", *clock_skew != new.clock_skew),
        ("default_max_token_lifetime", *default_max_token_lifetime != new.default_max_token_lifetime),
        ("bookmark_interval", *bookmark_interval != new.bookmark_interval),
        ("keep_opaque", *keep_opaque != new.keep_opaque),
        ("keep_signature", *keep_signature != new.keep_signature),
        ("wso2_organization", *wso2_organization != new.wso2_organization),
        ("cloudevents_origins", *cloudevents_origins != new.cloudevents_origins),
        ("tls", tls_as_such),
        ("admin", *admin != new.admin),
        ("reload_interval", *reload_interval != new.reload_interval),
        ("audit", *audit != new.audit),
        ("limits", *limits != new.limits),
        ("store", *store != new.store),
        ("feed", *feed != new.feed),
        ("streams", *streams != new.streams),
        ("wso2", *wso2 != new.wso2),
        ("proxy", *proxy != new.proxy),
        ("shutdown", *shutdown != new.shutdown),
        ("log", *log != new.log),
        ("issuers", *issuers != new.issuers),
        ("sources", *sources != new.sources),
        ("outlets", *outlets != new.outlets),
    ];
    all.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect()
}
