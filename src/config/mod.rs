//! The configuration: a TOML file, then the environment, then flags, in rising order of strength.
//!
//! `default.toml` is the manual: every setting with its unit, its default and why. `revocation-hub config default`
//! prints it. The types here say the same to the compiler, and a test holds the two together.

mod check;
mod clients;
mod duration;
mod environment;
mod error;
mod files;
mod issuers;
mod links;
mod listen;
mod load;
mod proxy;
#[cfg(test)]
mod reference;
mod secret;
#[cfg(test)]
mod tests;
mod tls;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use clients::{Basic, Bearer, CertificateName, Client, Scope, Shown};
pub use duration::parse as parse_duration;
pub use environment::PREFIX;
pub use error::ConfigError;
pub use files::{Holds, Named};
pub use issuers::{Algorithm, Credentials, Issuer};
pub use links::{Format, Outlet, OutletKind, ServerUrl, Source, SourceKind, Start, Untyped};
pub use load::Overrides;
pub use proxy::Proxy;
pub use secret::{DatabaseUrl, Secret};
pub use tls::{Admin, ClientCertificates, Tls};

/// The commented default file, which is the manual.
pub const DEFAULT_TOML: &str = include_str!("default.toml");

/// Everything that can be set. Get one with [`Config::load`]; [`Config::default`] is what `default.toml` says.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP is served.
    #[serde(deserialize_with = "listen::deserialize")]
    pub listen: Vec<SocketAddr>,
    /// The store.
    pub database_url: DatabaseUrl,
    /// A file that holds the database URL. [`Config::load`] has already read it into `database_url`.
    pub database_url_file: Option<PathBuf>,
    /// Whether `serve` applies pending migrations.
    pub migrate_on_start: bool,
    /// How much longer than its expiry a revocation is kept.
    #[serde(deserialize_with = "duration::deserialize")]
    pub clock_skew: Duration,
    /// How long a revocation is kept whose source gave neither `exp` nor `ttl`.
    #[serde(deserialize_with = "duration::deserialize")]
    pub default_max_token_lifetime: Duration,
    /// How often a stream says that it is current.
    #[serde(deserialize_with = "duration::deserialize")]
    pub bookmark_interval: Duration,
    /// Whether the text of opaque tokens is kept, for WSO2 gateways.
    pub keep_opaque: bool,
    /// Whether the signature of JWTs with `jti` is kept too, for gateways of WSO2 3.0 and 3.1.
    pub keep_signature: bool,
    /// The organization that the object shape of the WSO2 snapshot names.
    pub wso2_organization: String,
    /// The origins of CloudEvents that get consent to deliver; `*` is any.
    pub cloudevents_origins: Vec<String>,
    /// TLS on the addresses of `listen`.
    pub tls: Tls,
    /// A listener for those who look after the hub.
    pub admin: Admin,
    /// How often files of certificates and of clients' secrets are looked at; never when zero.
    #[serde(deserialize_with = "duration::deserialize")]
    pub reload_interval: Duration,
    /// Limits on what comes in.
    pub limits: Limits,
    /// The database connections and the housekeeping.
    pub store: Store,
    /// The record of who revoked and lifted what.
    pub audit: Audit,
    /// The reader that brings the store into memory.
    pub feed: Feed,
    /// The event streams.
    pub streams: Streams,
    /// The paths of the WSO2 snapshot.
    pub wso2: Vec<Wso2>,
    /// The control plane behind the paths that a WSO2 gateway needs besides.
    pub proxy: Proxy,
    /// How the daemon ends.
    pub shutdown: Shutdown,
    /// What is logged and how.
    pub log: Log,
    /// Who may do what.
    pub clients: Vec<Client>,
    /// Whose JWTs are believed.
    pub issuers: Vec<Issuer>,
    /// Ways in, besides the native interface.
    pub sources: Vec<Source>,
    /// Ways out to other systems.
    pub outlets: Vec<Outlet>,
}

/// Limits on what comes in.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of a request body, after decompression.
    pub max_body_bytes: usize,
    /// Revocations in one request.
    pub max_items: usize,
    /// How long a request's headers may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub header_timeout: Duration,
    /// How long a request's body may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub body_timeout: Duration,
    /// Open connections, streams included.
    pub max_connections: usize,
    /// How long a reader may take nothing.
    #[serde(deserialize_with = "duration::deserialize")]
    pub stall_timeout: Duration,
    /// Open event streams.
    pub max_streams: usize,
    /// Long lists and long replays at once.
    pub max_first_loads: usize,
    /// How long one of them may take.
    #[serde(deserialize_with = "duration::deserialize")]
    pub first_load_timeout: Duration,
    /// Lists and replays of up to so many revocations are not counted as first loads.
    pub small_load: usize,
    /// Requests that wait for their answer at once.
    pub max_requests: usize,
    /// Large request bodies at once.
    pub max_large_bodies: usize,
    /// What one client may take of these budgets, percent.
    pub client_share: u8,
    /// The longest `Retry-After` for what finds no room.
    #[serde(deserialize_with = "duration::deserialize")]
    pub retry_after: Duration,
    /// Bytes of a `jti`, `sub`, `iss` and the like.
    pub max_text: usize,
    /// Bytes of a reason.
    pub max_reason: usize,
    /// Messages kept because nobody could read them.
    pub max_parked: usize,
}

/// The database connections and the housekeeping.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Connections to the database.
    pub max_connections: u32,
    /// How long the database may take to answer.
    #[serde(deserialize_with = "duration::deserialize")]
    pub timeout: Duration,
    /// Whether Postgres tells us about commits of other replicas.
    pub listen_notify: bool,
    /// How long the connection that listens may be silent before it has to prove that it lives.
    #[serde(deserialize_with = "duration::deserialize")]
    pub beat_interval: Duration,
    /// How often the store is read without being told to.
    #[serde(deserialize_with = "duration::deserialize")]
    pub poll_interval: Duration,
    /// How often expired rows are looked for.
    #[serde(deserialize_with = "duration::deserialize")]
    pub prune_interval: Duration,
    /// Rows deleted in one transaction.
    pub prune_batch: usize,
    /// How far this machine's clock may be from the database's before it is worth a warning.
    #[serde(deserialize_with = "duration::deserialize")]
    pub max_clock_offset: Duration,
}

/// The record of who revoked and lifted what.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Audit {
    /// How long records are kept.
    #[serde(deserialize_with = "duration::deserialize")]
    pub retention: Duration,
}

/// The reader that brings the store into memory.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Feed {
    /// When the last successful read is older than this, `/readyz` turns false.
    #[serde(deserialize_with = "duration::deserialize")]
    pub max_lag: Duration,
}

/// The event streams.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Streams {
    /// A stream ends at 80 to 100 % of this age, at random.
    #[serde(deserialize_with = "duration::deserialize")]
    pub max_age: Duration,
    /// The `retry:` hint.
    #[serde(deserialize_with = "duration::deserialize")]
    pub retry: Duration,
}

/// One path of the WSO2 snapshot; it is served at `<base_path>/revokedjwt`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wso2 {
    /// What stands before `/revokedjwt`.
    pub base_path: String,
    /// What the answer looks like.
    pub shape: Wso2Shape,
}

/// What the WSO2 snapshot looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wso2Shape {
    /// A bare array of tokens.
    Array,
    /// An object with three lists: tokens, user events, consumer keys.
    Object,
    /// The array with the spelling of API Manager 3.0 and 3.1.
    Legacy,
}

/// How the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Shutdown {
    /// Time between the first signal and the end of whatever is still running.
    #[serde(deserialize_with = "duration::deserialize")]
    pub grace: Duration,
    /// Within it open event streams are ended one after the other.
    #[serde(deserialize_with = "duration::deserialize")]
    pub drain: Duration,
}

/// What is logged and how.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// What is logged, in the words of `tracing_subscriber::filter::Targets`.
    pub level: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere
    Auto,
    /// One line of text, for people
    Text,
    /// One JSON object per line, for log collectors
    Json,
}

const SECOND: Duration = Duration::from_secs(1);

impl Default for Config {
    fn default() -> Self {
        let wso2 = |base_path: &str, shape| Wso2 { base_path: base_path.into(), shape };
        Self {
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))],
            database_url: DatabaseUrl::new("sqlite://revocation-hub.db"),
            database_url_file: None,
            migrate_on_start: true,
            clock_skew: 60 * SECOND,
            default_max_token_lifetime: 30 * 24 * 3600 * SECOND,
            bookmark_interval: 5 * SECOND,
            keep_opaque: false,
            keep_signature: false,
            wso2_organization: "carbon.super".into(),
            cloudevents_origins: Vec::new(),
            tls: Tls::default(),
            admin: Admin::default(),
            reload_interval: 10 * SECOND,
            limits: Limits::default(),
            store: Store::default(),
            audit: Audit::default(),
            feed: Feed::default(),
            streams: Streams::default(),
            wso2: vec![
                wso2("/internal/data/v1", Wso2Shape::Array),
                wso2("/apim43/internal/data/v1", Wso2Shape::Object),
                wso2("/throttle/data/v1", Wso2Shape::Legacy),
            ],
            proxy: Proxy::default(),
            shutdown: Shutdown::default(),
            log: Log::default(),
            clients: Vec::new(),
            issuers: Vec::new(),
            sources: Vec::new(),
            outlets: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 16 << 20,
            max_items: 20_000,
            header_timeout: 30 * SECOND,
            body_timeout: 30 * SECOND,
            max_connections: 20_000,
            stall_timeout: 30 * SECOND,
            max_streams: 16_000,
            max_first_loads: 128,
            first_load_timeout: 600 * SECOND,
            small_load: 10_000,
            max_requests: 2000,
            max_large_bodies: 32,
            client_share: 75,
            retry_after: 10 * SECOND,
            max_text: 1024,
            max_reason: 512,
            max_parked: 10_000,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            max_connections: 8,
            timeout: 5 * SECOND,
            listen_notify: true,
            beat_interval: 10 * SECOND,
            poll_interval: SECOND,
            prune_interval: 10 * SECOND,
            prune_batch: 1000,
            max_clock_offset: 2 * SECOND,
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { retention: 90 * 24 * 3600 * SECOND }
    }
}

impl Default for Feed {
    fn default() -> Self {
        Self { max_lag: 10 * SECOND }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { max_age: 3600 * SECOND, retry: 2 * SECOND }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: 20 * SECOND, drain: 10 * SECOND }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into() }
    }
}
