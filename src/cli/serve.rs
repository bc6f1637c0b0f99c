//! `revocation-hub serve`, `migrate` and `config`: what runs on the machine of the hub itself.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::output;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, DEFAULT_TOML, DatabaseUrl, LogFormat, Overrides};
use crate::hub::HubError;
use crate::store::{self, Store};
use crate::tls::server::Identity;

/// What `serve --help` says below the options.
pub const SERVE_HELP: &str = "\
Without options the hub listens on 127.0.0.1:8080 and keeps its revocations in revocation-hub.db here. \
`revocation-hub config default` prints every setting with its default. On SIGTERM and Ctrl-C streams are ended and \
requests answered; a second signal ends the process at once.

Examples:
  revocation-hub serve
  revocation-hub serve --config /etc/revocation-hub.toml
  revocation-hub serve --listen 127.0.0.1:9090 --database-url postgres://hub@localhost/hub";

/// What `migrate --help` says below the options.
pub const MIGRATE_HELP: &str = "\
`serve` does this by itself unless migrate_on_start = false. It is safe to run at any time and by several at once.

Example:
  revocation-hub migrate --config /etc/revocation-hub.toml";

/// What `config --help` says below the options.
pub const CONFIG_HELP: &str = "\
Examples:
  revocation-hub config default > revocation-hub.toml
  revocation-hub config check revocation-hub.toml";

/// Where the settings come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// The configuration file (TOML); `config default` prints a commented one
    #[arg(long, short, value_name = "FILE", env = "REVOCATION_HUB_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// sqlite://FILE or postgres://USER@HOST/DATABASE; for one with a password use database_url_file
    // Not through clap's `env`: the configuration reads that variable itself, and --help must not show its value.
    #[arg(long, value_name = "URL", value_parser = database_url)]
    database_url: Option<DatabaseUrl>,
}

impl Source {
    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// The settings.
    pub fn load(self) -> Result<Config, ConfigError> {
        ServeArgs { source: self, ..ServeArgs::default() }.load()
    }

    /// The store that the settings name, to read only, beside hubs that use it.
    pub async fn store_to_read(self) -> anyhow::Result<Arc<dyn Store>> {
        store_to_look_at(&self.load()?).await
    }
}

/// The store that the settings name, to read only, beside hubs that use it.
pub async fn store_to_look_at(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    Ok(store::connect_to_read(config.database_url.expose(), &options(config)).await?)
}

/// The store that the settings name, prepared.
pub async fn store_to_write(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let store = store::connect(config.database_url.expose(), &options(config)).await?;
    if let Err(error) = store.prepare(config.migrate_on_start).await {
        store.close().await;
        return Err(error.into());
    }
    Ok(store)
}

/// How the settings say to use it.
pub fn options(config: &Config) -> store::Options {
    let (max_connections, timeout) = (config.store.max_connections, config.store.timeout);
    let beat_interval = config.store.beat_interval;
    store::Options { max_connections, timeout, listen_notify: config.store.listen_notify, beat_interval }
}

fn database_url(text: &str) -> Result<DatabaseUrl, std::convert::Infallible> {
    Ok(DatabaseUrl::new(text))
}

fn address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "not an IP address with a port; write 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080")
}

/// Options of `serve`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    source: Source,
    /// An address to listen on; may be given several times
    #[arg(long, value_name = "ADDR", value_parser = address)]
    listen: Vec<SocketAddr>,
    /// The form of log lines
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Commands of `config`.
#[derive(Debug, clap::Subcommand)]
pub enum ConfigCommand {
    /// Print the commented default file, which is the manual
    Default,
    /// Check a file together with the environment, as `serve --config FILE` would
    ///
    /// Prints what the hub would do, or the first error and exit code 64. Files of secrets are read too.
    Check {
        /// The configuration file
        file: PathBuf,
    },
}

impl ServeArgs {
    fn load(self) -> Result<Config, ConfigError> {
        let overrides =
            Overrides { listen: self.listen, database_url: self.source.database_url, log_format: self.log_format };
        Config::load(self.source.config.as_deref(), overrides)
    }
}

/// Runs the hub until it is told to end.
pub async fn serve(args: ServeArgs) -> anyhow::Result<()> {
    let again = args.clone();
    let config = args.load()?;
    crate::logging::start(&config.log)?;
    crate::hub::serve(config, move || again.clone().load()).await.map_err(|error| match error {
        // Unwrapped, because the exit code goes by the kind of error.
        HubError::Config(error) => error.into(),
        HubError::Store(error) => error.into(),
        other => other.into(),
    })
}

/// Applies pending migrations.
pub async fn migrate(source: Source) -> anyhow::Result<()> {
    let config = source.load()?;
    let store = store::connect(config.database_url.expose(), &options(&config)).await?;
    let applied = store.prepare(true).await;
    let place = store.describe();
    store.close().await;
    for name in &applied? {
        output::line(&format!("applied {name}"))?;
    }
    output::line(&format!("{place} is up to date"))?;
    Ok(())
}

/// Prints or checks the configuration.
pub fn config(command: ConfigCommand) -> anyhow::Result<()> {
    let file = match command {
        ConfigCommand::Default => return Ok(output::line(DEFAULT_TOML.trim_end())?),
        ConfigCommand::Check { file } => file,
    };
    let config = Config::load(Some(&file), Overrides::default())?;
    let addresses: Vec<String> = config.listen.iter().map(SocketAddr::to_string).collect();
    output::line(&format!("{}: ok", file.display()))?;
    let identity = Identity::load(&config.tls)?;
    let with = if identity.is_some() { " with TLS" } else { "" };
    output::line(&format!("listens on {}{with}", addresses.join(", ")))?;
    if !config.admin.listen.is_empty() {
        let addresses: Vec<String> = config.admin.listen.iter().map(SocketAddr::to_string).collect();
        let with = if identity.is_some() && config.admin.tls != Some(false) { " with TLS" } else { "" };
        output::line(&format!("administration on {}{with}", addresses.join(", ")))?;
    }
    if let Some(identity) = &identity {
        for warning in identity.warnings(&config.tls, Clock::system().now()) {
            output::line(&format!("warning: {warning}"))?;
        }
    }
    output::line(&format!("keeps revocations in {}", config.database_url))?;
    if config.clients.is_empty() {
        output::line("no clients: everyone on this machine may do everything")?;
    }
    for client in &config.clients {
        let scopes: Vec<&str> = client.scopes.iter().map(|s| s.name()).collect();
        let issuers = client.issuers.as_ref().map_or_else(String::new, |all| format!(", for {}", all.join(", ")));
        output::line(&format!("client {}: {}{issuers}", client.name, scopes.join(", ")))?;
    }
    Ok(())
}
