//! What makes sense and what does not.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::Config;
use super::clients::{CertificateName, Client, Shown};
use super::error::ConfigError;
use super::links::SourceKind;
use crate::formats::signature::Key;

impl Config {
    /// Checks what the types cannot say. [`Config::load`] has done it already.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.check_listen()?;
        self.check_numbers()?;
        self.check_wso2()?;
        if let Some((setting, message)) = self.proxy.complaint() {
            return Err(ConfigError::invalid(format!("proxy.{setting}"), message));
        }
        if let Some((setting, message)) = self.tls.complaint() {
            return Err(ConfigError::invalid(format!("tls.{setting}"), message));
        }
        if self.database_url.expose().is_empty() {
            return Err(ConfigError::invalid("database_url", "is empty; name a sqlite:// or postgres:// URL"));
        }
        // Nothing of it is repeated: it can hold a password, also one that was pasted in front of a wrong scheme.
        if !["postgres:", "postgresql:", "sqlite:"].iter().any(|s| self.database_url.expose().starts_with(s)) {
            let message =
                "has to start with postgres://, postgresql:// or sqlite:// (sqlite:///var/lib/revocation-hub/log.db)";
            return Err(ConfigError::invalid("database_url", message));
        }
        // A bare word that is no level would be taken for the name of a module, and the slip would log everything of it.
        let bare = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        if self.log.level.parse::<Targets>().is_err() || !self.log.level.split(',').all(bare) {
            let message = format!(
                "\"{}\" is not a level; use error, warn, info, debug or trace, or per module: \
                 info,revocation_hub::feed=debug",
                self.log.level
            );
            return Err(ConfigError::invalid("log.level", message));
        }
        self.check_clients()?;
        self.check_links()
    }

    fn check_listen(&self) -> Result<(), ConfigError> {
        if self.listen.is_empty() {
            return Err(ConfigError::invalid("listen", "is empty; give at least one address, such as 127.0.0.1:8080"));
        }
        let mut seen = HashSet::new();
        let both = self.listen.iter().map(|address| ("listen", address));
        for (key, address) in both.chain(self.admin.listen.iter().map(|address| ("admin.listen", address))) {
            // Port 0 is "any free port", of which there can be several.
            if address.port() != 0 && !seen.insert(address) {
                return Err(ConfigError::invalid(key, format!("{address} is given twice")));
            }
            if !self.has_credentials() && !address.ip().to_canonical().is_loopback() {
                return Err(ConfigError::OpenToTheNetwork { key, address: *address });
            }
        }
        if self.admin.tls == Some(true) && self.tls.files().is_none() {
            return Err(ConfigError::invalid("admin.tls", "true needs tls.certificate_file and tls.key_file"));
        }
        Ok(())
    }

    /// Whether callers have to prove who they are: there are clients, or issuers whose tokens are credentials.
    pub fn has_credentials(&self) -> bool {
        !self.clients.is_empty() || self.issuers.iter().any(|issuer| issuer.credentials.is_some())
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let durations = [
            ("default_max_token_lifetime", self.default_max_token_lifetime),
            ("bookmark_interval", self.bookmark_interval),
            ("limits.header_timeout", self.limits.header_timeout),
            ("limits.body_timeout", self.limits.body_timeout),
            ("limits.stall_timeout", self.limits.stall_timeout),
            ("limits.first_load_timeout", self.limits.first_load_timeout),
            ("limits.retry_after", self.limits.retry_after),
            ("store.timeout", self.store.timeout),
            ("store.beat_interval", self.store.beat_interval),
            ("store.poll_interval", self.store.poll_interval),
            ("store.prune_interval", self.store.prune_interval),
            ("feed.max_lag", self.feed.max_lag),
            ("streams.max_age", self.streams.max_age),
            ("streams.retry", self.streams.retry),
        ];
        for (key, duration) in durations {
            not_zero(key, duration)?;
        }
        let counts = [
            ("admin.max_connections", self.admin.max_connections),
            ("limits.max_body_bytes", self.limits.max_body_bytes),
            ("limits.max_items", self.limits.max_items),
            ("limits.max_connections", self.limits.max_connections),
            ("limits.max_streams", self.limits.max_streams),
            ("limits.max_first_loads", self.limits.max_first_loads),
            ("limits.max_requests", self.limits.max_requests),
            ("limits.max_large_bodies", self.limits.max_large_bodies),
            ("limits.client_share", self.limits.client_share.into()),
            ("limits.max_text", self.limits.max_text),
            ("limits.max_reason", self.limits.max_reason),
            ("limits.max_parked", self.limits.max_parked),
            ("store.max_connections", self.store.max_connections as usize),
            ("store.prune_batch", self.store.prune_batch),
        ];
        for (key, count) in counts {
            if count == 0 {
                return Err(ConfigError::invalid(key, "0 is not accepted; use at least 1"));
            }
        }
        if self.limits.client_share > 100 {
            return Err(ConfigError::invalid("limits.client_share", "is a percentage; use 1 to 100"));
        }
        if self.limits.max_streams >= self.limits.max_connections {
            let message = format!(
                "{} is not less than limits.max_connections ({}), so event streams could leave no connection to ask anything",
                self.limits.max_streams, self.limits.max_connections
            );
            return Err(ConfigError::invalid("limits.max_streams", message));
        }
        if self.shutdown.drain >= self.shutdown.grace {
            let message = format!(
                "{} is not shorter than shutdown.grace ({}), within which everything has to end",
                humantime::format_duration(self.shutdown.drain),
                humantime::format_duration(self.shutdown.grace)
            );
            return Err(ConfigError::invalid("shutdown.drain", message));
        }
        if self.audit.retention < Duration::from_secs(24 * 3600) {
            let message = format!("{} is less than a day", humantime::format_duration(self.audit.retention));
            return Err(ConfigError::invalid("audit.retention", message));
        }
        if self.feed.max_lag <= self.store.poll_interval {
            let message = format!(
                "{} is not longer than store.poll_interval ({}), so the hub would call itself not ready between two reads",
                humantime::format_duration(self.feed.max_lag),
                humantime::format_duration(self.store.poll_interval)
            );
            return Err(ConfigError::invalid("feed.max_lag", message));
        }
        Ok(())
    }

    fn check_wso2(&self) -> Result<(), ConfigError> {
        if self.wso2_organization.is_empty() {
            return Err(ConfigError::invalid("wso2_organization", "is empty; the default is \"carbon.super\""));
        }
        let mut seen = HashSet::new();
        for (i, entry) in self.wso2.iter().enumerate() {
            let key = || format!("wso2[{i}].base_path");
            let path = &entry.base_path;
            let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
            if !path.starts_with('/') || path.ends_with('/') || path.contains("//") || !path.bytes().all(plain) {
                let message = format!(
                    "\"{path}\" is not accepted; it begins with / and does not end with it, and has letters, digits, \
                     - . _ ~ between, such as /internal/data/v1"
                );
                return Err(ConfigError::invalid(key(), message));
            }
            if !seen.insert(path) {
                return Err(ConfigError::invalid(key(), format!("\"{path}\" is given twice")));
            }
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), ConfigError> {
        // Clients publish under their names too, so a source with the name of one could not be told from it.
        let mut names: HashSet<&str> = self.clients.iter().map(|c| c.name.as_str()).collect();
        for (i, source) in self.sources.iter().enumerate() {
            check_name("sources", i, &source.name, &mut names)?;
            if let Some((setting, message)) = source.complaint() {
                return Err(ConfigError::invalid(format!("sources \"{}\": {setting}", source.name), message));
            }
        }
        for source in &self.sources {
            let of = |setting: &str, message: String| {
                Err(ConfigError::invalid(format!("sources \"{}\": {setting}", source.name), message))
            };
            let known = |name: &String| self.clients.iter().any(|client| client.name == *name);
            if let Some(unknown) = source.clients.iter().find(|name| !known(name)) {
                return of("clients", format!("there is no client \"{unknown}\""));
            }
            if matches!(
                source.kind,
                SourceKind::SsfPush | SourceKind::SsfPoll | SourceKind::BackchannelLogout | SourceKind::ApimInvalidate
            ) && self.issuers.is_empty()
            {
                return of("issuers", "there are no [[issuers]] whose tokens it could believe".into());
            }
            if source.kind == SourceKind::GlobalTokenRevocation
                && !source.audiences.is_empty()
                && self.issuers.is_empty()
            {
                return of("audiences", "there are no [[issuers]] whose assertions it could believe".into());
            }
            if let Some(iss) = &source.transmitter
                && !self.issuers.iter().any(|issuer| issuer.issuer == *iss)
            {
                return of(
                    "transmitter",
                    format!("\"{iss}\" is not among [[issuers]], so its tokens cannot be checked"),
                );
            }
        }
        let mut seen = HashSet::new();
        for issuer in &self.issuers {
            if !seen.insert(&issuer.issuer) {
                return Err(ConfigError::invalid("issuers", format!("\"{}\" is given twice", issuer.issuer)));
            }
            if let Some((setting, message)) = issuer.complaint() {
                return Err(ConfigError::invalid(format!("issuers \"{}\": {setting}", issuer.issuer), message));
            }
        }
        let mut paths = HashSet::new();
        for source in &self.sources {
            if let Some(path) = source.serves()
                && !paths.insert(path.clone())
            {
                let message = format!("another source serves {path} already");
                return Err(ConfigError::invalid(format!("sources \"{}\"", source.name), message));
            }
        }
        let sources: HashSet<&str> = names;
        let mut names = HashSet::new();
        for (i, outlet) in self.outlets.iter().enumerate() {
            check_name("outlets", i, &outlet.name, &mut names)?;
            let of = |setting: &str, message| {
                Err(ConfigError::invalid(format!("outlets \"{}\": {setting}", outlet.name), message))
            };
            if let Some((setting, message)) = outlet.complaint() {
                return of(&setting, message);
            }
            if let Some(unknown) = outlet.except_sources.iter().find(|name| !sources.contains(name.as_str())) {
                return of("except_sources", format!("there is no source or client \"{unknown}\""));
            }
        }
        Ok(())
    }

    fn check_clients(&self) -> Result<(), ConfigError> {
        let mut names = HashSet::new();
        let mut usernames: HashMap<&str, &str> = HashMap::new();
        let mut tokens: HashMap<&str, &str> = HashMap::new();
        let mut shown: Vec<(&str, Shown)> = Vec::new();
        for (i, client) in self.clients.iter().enumerate() {
            if client.name.is_empty() || client.name.len() > 64 || client.name.chars().any(char::is_control) {
                let message = "must have 1 to 64 bytes without control characters";
                return Err(ConfigError::invalid(format!("clients[{i}].name"), message));
            }
            if !names.insert(&client.name) {
                let message = format!("\"{}\" is given twice; each client needs its own name", client.name);
                return Err(ConfigError::invalid(format!("clients[{i}].name"), message));
            }
            check_client(client)?;
            if let Some(basic) = &client.basic
                && let Some(other) = usernames.insert(&basic.username, &client.name)
            {
                let message = format!("\"{}\" is also the user name of client \"{other}\"", basic.username);
                return Err(of_client(client, "basic.username", message));
            }
            if let Some(Ok(name)) = client.certificate.as_ref().map(CertificateName::name) {
                if self.tls.client_ca_file.is_none() {
                    return Err(of_client(
                        client,
                        "certificate",
                        "needs tls.client_ca_file, else nobody is asked for one",
                    ));
                }
                if let Some((other, _)) = shown.iter().find(|(_, shown)| *shown == name) {
                    return Err(of_client(client, "certificate", format!("client \"{other}\" has the same one")));
                }
                shown.push((&client.name, name));
            }
            if let Some(bearer) = &client.bearer
                && let Some(other) = tokens.insert(bearer.token.expose(), &client.name)
            {
                return Err(of_client(client, "bearer.token", format!("client \"{other}\" has the same token")));
            }
        }
        Ok(())
    }
}

/// A name of our own making, which is a label in metrics and a key in the store.
fn check_name<'a>(room: &str, i: usize, name: &'a str, names: &mut HashSet<&'a str>) -> Result<(), ConfigError> {
    if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
        return Err(ConfigError::invalid(
            format!("{room}[{i}].name"),
            "must have 1 to 64 bytes without control characters",
        ));
    }
    if !names.insert(name) {
        let message = format!("\"{name}\" is given twice; each needs its own name");
        return Err(ConfigError::invalid(format!("{room}[{i}].name"), message));
    }
    Ok(())
}

fn check_client(client: &Client) -> Result<(), ConfigError> {
    let refused = |key: &str, message: &str| Err(of_client(client, key, message));
    if client.scopes.is_empty() {
        return refused("scopes", "is empty; use some of publish, read, lift, rules, admin");
    }
    if client.issuers.as_ref().is_some_and(|all| all.is_empty() || all.iter().any(String::is_empty)) {
        return refused("issuers", "names no issuer; leave the setting out to allow all");
    }
    if let Some(lifetime) = client.max_token_lifetime {
        not_zero(&format!("clients \"{}\": max_token_lifetime", client.name), lifetime)?;
    }
    let none = client.basic.is_none() && client.bearer.is_none() && client.certificate.is_none();
    if none && client.webhook.is_none() {
        return refused(
            "credentials",
            "there are none; add basic = { username, password_file }, bearer = { token_file }, certificate = { subject } or \
             webhook = { secret_file }",
        );
    }
    if let Some(Err(why)) = client.certificate.as_ref().map(CertificateName::name) {
        return refused("certificate", why);
    }
    if let Some(webhook) = &client.webhook {
        if webhook.keys().next().is_none() {
            return refused("webhook", "there is no secret; give secret_file or secret");
        }
        if let Some(why) = webhook.keys().find_map(|text| Key::read(webhook.style, text).err()) {
            return refused("webhook.secret", &why.to_string());
        }
        not_zero(&format!("clients \"{}\": webhook.tolerance", client.name), webhook.tolerance)?;
    }
    if let Some(basic) = &client.basic {
        if basic.username.is_empty() || basic.username.contains(':') || basic.username.chars().any(char::is_control) {
            return refused("basic.username", "must not be empty and not contain colons or control characters");
        }
        if basic.password.is_empty() {
            return refused("basic", "there is no password; give password_file or password");
        }
        if basic.password.expose().chars().any(char::is_control) {
            return refused("basic.password", "must not contain control characters, such as a second line");
        }
    }
    if let Some(bearer) = &client.bearer {
        if bearer.token.is_empty() {
            return refused("bearer", "there is no token; give token_file or token");
        }
        // What RFC 6750 §2.1 lets through; anything else would never arrive as it was written.
        let ok = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if !bearer.token.expose().bytes().all(ok) {
            return refused("bearer.token", "may have letters, digits and - . _ ~ + / = only");
        }
    }
    Ok(())
}

fn of_client(client: &Client, key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::invalid(format!("clients \"{}\": {key}", client.name), message)
}

fn not_zero(key: &str, duration: Duration) -> Result<(), ConfigError> {
    if duration.is_zero() {
        return Err(ConfigError::invalid(key, "0 is not accepted; use a duration such as \"5s\""));
    }
    Ok(())
}
