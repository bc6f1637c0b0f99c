//! The files that a configuration names, and the secrets that it holds: for those who look after them.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use reqwest::Url;

use super::{Config, DatabaseUrl};

/// What is in a file that the configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Something that nobody else may read.
    Secret,
    /// Certificates (PEM) of authorities that are trusted.
    Authorities,
    /// A certificate (PEM) that is shown, and those that lead to its authority.
    Certificate,
}

/// A file that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The setting, such as `clients "gateways": basic.password_file`.
    pub key: String,
    /// Where it is.
    pub path: PathBuf,
    /// What is in it.
    pub holds: Holds,
}

impl Config {
    /// All files that are named, in the order of the default file.
    pub fn files(&self) -> Vec<Named> {
        let mut all = Vec::new();
        let mut add = |key: String, path: &Option<PathBuf>, holds| {
            all.extend(path.clone().map(|path| Named { key, path, holds }));
        };
        add("database_url_file".into(), &self.database_url_file, Holds::Secret);
        for (parameter, holds) in
            [("sslrootcert", Holds::Authorities), ("sslcert", Holds::Certificate), ("sslkey", Holds::Secret)]
        {
            add(format!("database_url: {parameter}"), &of_database(&self.database_url, parameter), holds);
        }
        add("tls.certificate_file".into(), &self.tls.certificate_file, Holds::Certificate);
        add("tls.key_file".into(), &self.tls.key_file, Holds::Secret);
        add("tls.client_ca_file".into(), &self.tls.client_ca_file, Holds::Authorities);
        add("proxy.password_file".into(), &self.proxy.password_file, Holds::Secret);
        add("proxy.ca_file".into(), &self.proxy.ca_file, Holds::Authorities);
        for client in &self.clients {
            let key = |setting: &str| format!("clients \"{}\": {setting}", client.name);
            if let Some(basic) = &client.basic {
                add(key("basic.password_file"), &basic.password_file, Holds::Secret);
            }
            if let Some(bearer) = &client.bearer {
                add(key("bearer.token_file"), &bearer.token_file, Holds::Secret);
            }
            if let Some(webhook) = &client.webhook {
                add(key("webhook.secret_file"), &webhook.secret_file, Holds::Secret);
            }
        }
        for issuer in &self.issuers {
            add(format!("issuers \"{}\": ca_file", issuer.issuer), &issuer.ca_file, Holds::Authorities);
        }
        let sources = self.sources.iter().map(|s| ("sources", &s.name, &s.password_file, &s.bearer_file, s.tls()));
        let outlets = self.outlets.iter().map(|o| ("outlets", &o.name, &o.password_file, &o.bearer_file, o.tls()));
        for (room, name, password, bearer, tls) in sources.chain(outlets) {
            let key = |setting: &str| format!("{room} \"{name}\": {setting}");
            add(key("password_file"), password, Holds::Secret);
            add(key("bearer_file"), bearer, Holds::Secret);
            add(key("ca_file"), &tls.ca_file, Holds::Authorities);
            add(key("certificate_file"), &tls.certificate_file, Holds::Certificate);
            add(key("key_file"), &tls.key_file, Holds::Secret);
        }
        all
    }

    /// Everything in it that must not be shown, in each way that it is written.
    pub fn secrets(&self) -> Vec<String> {
        let mut all = Vec::new();
        of_url(&self.database_url, &mut all);
        all.extend(self.proxy.url.iter().flat_map(|url| {
            let mut found = Vec::new();
            of_url(url, &mut found);
            found
        }));
        let mut add = |secret: &super::Secret| all.push(secret.expose().to_owned());
        add(&self.proxy.password);
        for client in &self.clients {
            client.basic.iter().for_each(|basic| add(&basic.password));
            client.bearer.iter().for_each(|bearer| add(&bearer.token));
            client.webhook.iter().for_each(|webhook| add(&webhook.secret));
        }
        self.sources.iter().for_each(|s| [&s.password, &s.bearer].into_iter().for_each(&mut add));
        self.outlets.iter().for_each(|o| [&o.password, &o.bearer].into_iter().for_each(&mut add));
        let urls = self.sources.iter().flat_map(|s| &s.url).chain(self.outlets.iter().flat_map(|o| &o.url));
        urls.for_each(|url| of_url(url, &mut all));
        all.retain(|secret| !secret.is_empty());
        all
    }
}

/// A file that the URL of a Postgres names.
fn of_database(url: &DatabaseUrl, parameter: &str) -> Option<PathBuf> {
    let url = Url::parse(url.expose()).ok().filter(|url| url.scheme().starts_with("postgres"))?;
    let found = url.query_pairs().find(|(key, _)| key == parameter).map(|(_, value)| PathBuf::from(value.as_ref()));
    found.filter(|path| !path.as_os_str().is_empty() && path != Path::new("system"))
}

/// The password of a URL, as it is written and as it is meant.
fn of_url(url: &DatabaseUrl, all: &mut Vec<String>) {
    let Ok(parsed) = Url::parse(url.expose()) else { return };
    let parameters = parsed.query_pairs().filter(|(key, _)| key.to_ascii_lowercase().contains("pass"));
    all.extend(parameters.map(|(_, value)| value.into_owned()));
    if let Some(password) = parsed.password() {
        all.push(password.to_owned());
        all.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the manual calls a file is known here: a new setting is not forgotten.
    #[test]
    fn every_file_of_the_manual_is_listed() {
        let toml = r#"
            database_url = "postgres://hub@db/hub?sslmode=verify-full&sslrootcert=21&sslcert=22&sslkey=23"
            database_url_file = "1"
            [tls]
            certificate_file = "14"
            key_file = "15"
            client_ca_file = "16"
            [proxy]
            url = "https://u:proxy-secret@h"
            password_file = "2"
            ca_file = "3"
            [[clients]]
            name = "a"
            scopes = ["read"]
            basic = { username = "a", password_file = "4" }
            bearer = { token_file = "5" }
            webhook = { secret_file = "6" }
            [[issuers]]
            issuer = "https://i"
            ca_file = "7"
            [[sources]]
            name = "s"
            kind = "amqp"
            url = ["amqp://a:first@h", "amqp://a:se%20cond@h"]
            password_file = "8"
            bearer_file = "9"
            ca_file = "10"
            certificate_file = "17"
            key_file = "18"
            [[outlets]]
            name = "o"
            kind = "amqp"
            password = "third"
            password_file = "11"
            bearer_file = "12"
            ca_file = "13"
            certificate_file = "19"
            key_file = "20"
        "#;
        let config: Config = figment::Figment::new()
            .merge(<figment::providers::Toml as figment::providers::Format>::string(toml))
            .extract()
            .unwrap();
        let files = config.files();
        let mut numbers: Vec<usize> = files.iter().map(|f| f.path.to_str().unwrap().parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(1..=23));
        assert_eq!(files[9].key, "clients \"a\": basic.password_file");
        let authorities: Vec<PathBuf> =
            files.iter().filter(|f| f.holds == Holds::Authorities).map(|f| f.path.clone()).collect();
        assert_eq!(authorities, ["21", "16", "3", "7", "10", "13"].map(PathBuf::from));

        let secrets = config.secrets();
        for secret in ["proxy-secret", "first", "se%20cond", "se cond", "third"] {
            assert!(secrets.iter().any(|s| s == secret), "{secret}: {secrets:?}");
        }
        // What the manual has is what is listed: `…_file` settings that are not about keys that anybody may see.
        let manual = super::super::DEFAULT_TOML;
        let words = manual.split(|c: char| !(c.is_ascii_lowercase() || c == '_'));
        let public = ["jwks_file", "pem_file", "_file"];
        for word in words.filter(|w| w.ends_with("_file") && !public.contains(w)) {
            assert!(files.iter().any(|f| f.key.ends_with(word)), "{word}");
        }
    }
}
