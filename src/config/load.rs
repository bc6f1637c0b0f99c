//! How a [`Config`] comes together: file, then environment, then flags; then the secrets' files; then the checks.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Value};
use serde::Deserialize as _;

use super::error::{ConfigError, Origin};
use super::secret::{DatabaseUrl, Secret};
use super::{Config, DEFAULT_TOML, LogFormat, environment};

/// What flags say; the strongest layer.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// `--listen`, all of them; empty when the flag was not given.
    pub listen: Vec<SocketAddr>,
    /// `--database-url`.
    pub database_url: Option<DatabaseUrl>,
    /// `--log-format`.
    pub log_format: Option<LogFormat>,
}

impl Config {
    /// Reads the file (if any), the environment of this process and the flags, reads the files of secrets, and
    /// checks the result with [`Config::validate`].
    pub fn load(file: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        Self::load_from(file, std::env::vars_os(), overrides)
    }

    /// The same with a given environment.
    pub fn load_from(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        overrides: Overrides,
    ) -> Result<Self, ConfigError> {
        let defaults = Value::from(parse(DEFAULT_TOML, Path::new("default.toml"))?);
        let mut merged = Dict::new();
        if let Some(path) = file {
            let text =
                std::fs::read_to_string(path).map_err(|reason| ConfigError::File { path: path.into(), reason })?;
            add_layer(&mut merged, parse(&text, path)?, &Origin::File(path.into()))?;
        }
        let (layer, names) = environment::collect(variables, &defaults)?;
        add_layer(&mut merged, layer, &Origin::Environment(names))?;
        add_layer(&mut merged, flags(&overrides), &Origin::Flags)?;
        // Each layer was read by itself, so an error here can only come from putting them together.
        let mut config = read(merged, &Origin::Flags)?;
        if let Some(format) = overrides.log_format {
            config.log.format = format;
        }
        config.read_secret_files()?;
        config.validate()?;
        Ok(config)
    }

    /// Replaces each `…_file` twin by what the file says.
    fn read_secret_files(&mut self) -> Result<(), ConfigError> {
        if let Some(path) = &self.database_url_file {
            self.database_url = DatabaseUrl::new(secret("database_url_file".into(), path)?.expose());
        }
        self.read_client_files()?;
        if let Some(path) = &self.proxy.password_file {
            only_one(&self.proxy.password, "proxy.password_file", "password")?;
            self.proxy.password = secret("proxy.password_file".into(), path)?;
        }
        self.read_link_files()
    }

    /// Reads the files of the clients' secrets once more.
    pub(crate) fn read_client_files_again(&mut self) -> Result<(), ConfigError> {
        for client in &mut self.clients {
            if let Some(basic) = client.basic.as_mut().filter(|basic| basic.password_file.is_some()) {
                basic.password = Secret::default();
            }
            if let Some(bearer) = client.bearer.as_mut().filter(|bearer| bearer.token_file.is_some()) {
                bearer.token = Secret::default();
            }
            if let Some(webhook) = client.webhook.as_mut().filter(|webhook| webhook.secret_file.is_some()) {
                webhook.secret = Secret::default();
            }
        }
        self.read_client_files()
    }

    fn read_client_files(&mut self) -> Result<(), ConfigError> {
        for client in &mut self.clients {
            let name = &client.name;
            if let Some(basic) = &mut client.basic
                && let Some(path) = &basic.password_file
            {
                let key = format!("clients \"{name}\": basic.password_file");
                only_one(&basic.password, &key, "password")?;
                basic.password = secret(key, path)?;
            }
            if let Some(bearer) = &mut client.bearer
                && let Some(path) = &bearer.token_file
            {
                let key = format!("clients \"{name}\": bearer.token_file");
                only_one(&bearer.token, &key, "token")?;
                bearer.token = secret(key, path)?;
            }
            if let Some(webhook) = &mut client.webhook
                && let Some(path) = &webhook.secret_file
            {
                let key = format!("clients \"{name}\": webhook.secret_file");
                only_one(&webhook.secret, &key, "secret")?;
                webhook.secret = secret(key, path)?;
            }
        }
        Ok(())
    }

    fn read_link_files(&mut self) -> Result<(), ConfigError> {
        let sources = self.sources.iter_mut().map(|s| ("sources", &s.name, &mut s.password, &s.password_file));
        let outlets = self.outlets.iter_mut().map(|o| ("outlets", &o.name, &mut o.password, &o.password_file));
        for (room, name, password, file) in sources.chain(outlets) {
            if let Some(path) = file {
                let key = format!("{room} \"{name}\": password_file");
                only_one(password, &key, "password")?;
                *password = secret(key, path)?;
            }
        }
        let sources = self.sources.iter_mut().map(|s| ("sources", &s.name, &mut s.bearer, &s.bearer_file));
        let outlets = self.outlets.iter_mut().map(|o| ("outlets", &o.name, &mut o.bearer, &o.bearer_file));
        for (room, name, bearer, file) in sources.chain(outlets) {
            if let Some(path) = file {
                let key = format!("{room} \"{name}\": bearer_file");
                only_one(bearer, &key, "bearer")?;
                *bearer = secret(key, path)?;
            }
        }
        Ok(())
    }
}

fn secret(key: String, path: &Path) -> Result<Secret, ConfigError> {
    Secret::read(path).map_err(|message| ConfigError::invalid(key, message))
}

fn only_one(twin: &Secret, key: &str, name: &str) -> Result<(), ConfigError> {
    if twin.is_empty() {
        return Ok(());
    }
    Err(ConfigError::invalid(key, format!("`{name}` is given too; give one of the two")))
}

fn read(dict: Dict, origin: &Origin) -> Result<Config, ConfigError> {
    Config::deserialize(&Value::from(dict)).map_err(|e| origin.explain(e))
}

fn parse(text: &str, path: &Path) -> Result<Dict, ConfigError> {
    Toml::from_str::<Dict>(text).map_err(|e| {
        // The parser shows the offending line, and that line may hold a password: keep the place and the reason.
        let message = e.to_string();
        let kept: Vec<&str> = message
            .lines()
            .filter(|l| !l.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|'))
            .collect();
        ConfigError::Syntax { path: path.into(), message: kept.join(": ") }
    })
}

fn flags(overrides: &Overrides) -> Dict {
    let mut dict = Dict::new();
    if !overrides.listen.is_empty() {
        let addresses: Vec<String> = overrides.listen.iter().map(SocketAddr::to_string).collect();
        dict.insert("listen".into(), Value::from(addresses));
    }
    if let Some(url) = &overrides.database_url {
        dict.insert("database_url".into(), Value::from(url.expose()));
    }
    dict
}

/// Checks a layer by itself, so that an error names the place it came from, and puts it over the weaker ones.
fn add_layer(merged: &mut Dict, layer: Dict, origin: &Origin) -> Result<(), ConfigError> {
    const TWINS: [&str; 2] = ["database_url", "database_url_file"];
    read(layer.clone(), origin)?;
    if TWINS.iter().all(|key| layer.contains_key(*key)) {
        let place = origin.place(&[TWINS[1].into()]);
        return Err(ConfigError::Value { place, message: "`database_url` is given too; give one of the two".into() });
    }
    if TWINS.iter().any(|key| layer.contains_key(*key)) {
        // A stronger layer that names the database in either way replaces both ways of the weaker ones.
        merged.retain(|key, _| !TWINS.contains(&key.as_str()));
    }
    put_over(merged, layer);
    Ok(())
}

/// Tables are put together key by key; everything else, lists too, is replaced as a whole.
fn put_over(below: &mut Dict, above: Dict) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Dict(_, inner)), Value::Dict(_, layer)) => put_over(inner, layer),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}
