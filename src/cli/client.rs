//! The HTTP client that all client commands share: where the hub is, who is asking, and what went wrong in words.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{ClientBuilder, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use super::output::plain;
use crate::config::{ConfigError, Secret};
use crate::tls::client::Outward;

/// Where the hub is and how we prove who we are.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Connection {
    /// The hub's address; a path in front of /v1 may be part of it
    #[arg(
        long,
        value_name = "URL",
        env = "REVOCATION_HUB_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: String,
    /// Who we are there.
    #[command(flatten)]
    pub credentials: Credentials,
}

/// How we prove who we are. Secrets come from files or the environment only: a command line can be read by everyone on the
/// machine.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Credentials {
    /// User name for HTTP Basic; the password comes from --password-file or REVOCATION_HUB_PASSWORD
    #[arg(long, value_name = "NAME", env = "REVOCATION_HUB_USER", hide_env_values = true)]
    pub user: Option<String>,
    /// File with the password of --user; one line break at its end is ignored
    #[arg(long, value_name = "FILE", env = "REVOCATION_HUB_PASSWORD_FILE", hide_env_values = true)]
    pub password_file: Option<PathBuf>,
    /// File with a bearer token, instead of --user; REVOCATION_HUB_BEARER may hold the token itself
    #[arg(long, value_name = "FILE", env = "REVOCATION_HUB_BEARER_FILE", hide_env_values = true)]
    pub bearer_file: Option<PathBuf>,
    /// Certificates (PEM) to trust instead of the system's, when the address is https://
    #[arg(long, value_name = "FILE", env = "REVOCATION_HUB_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show, for a hub that knows its clients by theirs; with --key-file
    #[arg(long, value_name = "FILE", env = "REVOCATION_HUB_CERT_FILE", hide_env_values = true, requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// The private key (PEM) of --cert-file
    #[arg(long, value_name = "FILE", env = "REVOCATION_HUB_KEY_FILE", hide_env_values = true, requires = "cert_file")]
    pub key_file: Option<PathBuf>,
}

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The hub cannot be reached, does not answer, or says that it cannot at the moment.
    #[error("{message}")]
    Unavailable {
        /// What happened and what may help.
        message: String,
        /// What the hub asked to wait.
        retry_after: Option<Duration>,
    },
    /// The hub refused.
    #[error("{0}")]
    Refused(Problem),
}

impl RequestError {
    /// Whether the same request may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(self, RequestError::Unavailable { .. })
    }

    /// What the hub asked to wait, if it did.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            RequestError::Unavailable { retry_after, .. } => *retry_after,
            RequestError::Refused(_) => None,
        }
    }
}

/// The hub's answer to what it does not do (RFC 9457).
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem, in words.
    pub title: String,
    /// This very problem, in words. On foreign paths it has the name that it has there (RFC 8935 §2.3, RFC 6749 §5.2,
    /// Azure API Management).
    #[serde(alias = "description", alias = "error_description", alias = "message")]
    pub detail: String,
    /// The stable name of the kind, on foreign paths that of their standard.
    #[serde(alias = "err", alias = "error")]
    pub code: String,
    /// Which item of many, from 0.
    pub index: Option<u64>,
}

impl Problem {
    /// What the hub says, without advice.
    pub fn said(&self) -> String {
        let text = [&self.detail, &self.title].into_iter().find(|t| !t.is_empty());
        let text = text.map_or_else(|| "the hub refused".to_owned(), |text| plain(text).into_owned());
        let code = if self.code.is_empty() { String::new() } else { format!(" {}", plain(&self.code)) };
        format!("{text} ({}{code})", self.status)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said())?;
        match self.status {
            401 => f.write_str("; say who you are with --bearer-file, --user and --password-file, or --cert-file"),
            403 => f.write_str("; this client lacks a scope or the issuer, see [[clients]] of the hub"),
            _ => Ok(()),
        }
    }
}

/// A hub to talk to.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    login: Login,
}

#[derive(Clone, Debug)]
enum Login {
    None,
    Basic(String, Secret),
    Bearer(Secret),
}

/// How long an ordinary request may take.
const TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

impl Connection {
    /// Reads the files of secrets and sets the client up; connects to nothing yet.
    pub fn client(&self) -> anyhow::Result<Client> {
        self.client_with(|builder| builder)
    }

    /// Whether the address is on this machine.
    pub fn is_here(&self) -> bool {
        let host = Url::parse(&self.url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
    }

    /// The same with an HTTP client that somebody has a say in.
    pub fn client_with(&self, also: impl FnOnce(ClientBuilder) -> ClientBuilder) -> anyhow::Result<Client> {
        let bad_url = |why: &str| setting("--url", format!("\"{}\" {why}; write http://HOST:PORT", plain(&self.url)));
        let url = Url::parse(&self.url).map_err(|_| bad_url("is not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
            return Err(bad_url("is not the address of a hub").into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            // Not repeated: it may contain a password.
            let message = "a user name or password does not belong into the URL; use --user and --password-file";
            return Err(setting("--url", message).into());
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("revocation-hub/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            // A redirect could carry the credentials elsewhere.
            .redirect(reqwest::redirect::Policy::none());
        if url.scheme() == "http" {
            // Without TLS the system's certificates are not needed, and a small container may have none.
            builder = builder.tls_certs_only([]);
        } else {
            let (ca_file, certificate_file, key_file) = (
                self.credentials.ca_file.clone(),
                self.credentials.cert_file.clone(),
                self.credentials.key_file.clone(),
            );
            let tls = Outward { ca_file, certificate_file, key_file };
            builder = tls.http(builder).map_err(|why| setting("--ca-file, --cert-file", format!("{why:#}")))?;
        }
        let http = also(builder).build().context("cannot set up the HTTP client")?;
        Ok(Client { http, base: url.as_str().trim_end_matches('/').into(), login: self.credentials.login()? })
    }
}

impl Credentials {
    fn login(&self) -> Result<Login, ConfigError> {
        let from_environment = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty()).map(Secret::new);
        let read = |flag: &str, file: &PathBuf| Secret::read(file).map_err(|message| setting(flag, message));
        let bearer = match &self.bearer_file {
            Some(file) => Some(read("--bearer-file", file)?),
            None => from_environment("REVOCATION_HUB_BEARER"),
        };
        match (&self.user, bearer) {
            (None, None) if self.password_file.is_some() => Err(setting("--password-file", "needs --user")),
            (None, None) => Ok(Login::None),
            (None, Some(token)) => Ok(Login::Bearer(token)),
            (Some(_), Some(_)) => Err(setting("--user", "a bearer token is given too; use one of the two")),
            (Some(user), None) => {
                let password = match &self.password_file {
                    Some(file) => Some(read("--password-file", file)?),
                    None => from_environment("REVOCATION_HUB_PASSWORD"),
                };
                let password =
                    password.ok_or_else(|| setting("--user", "needs --password-file or REVOCATION_HUB_PASSWORD"))?;
                Ok(Login::Basic(user.clone(), password))
            }
        }
    }
}

/// A wrong value of an option.
pub fn setting(key: &str, message: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { key: key.into(), message: message.into() }
}

impl Client {
    /// Where the hub is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request with credentials and the usual time limit.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.endless(method, path).timeout(TIMEOUT)
    }

    /// The same without a limit on the whole, for streams and long lists.
    pub fn endless(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.bare(method, path);
        match &self.login {
            Login::None => request,
            Login::Basic(user, password) => request.basic_auth(user, Some(password.expose())),
            Login::Bearer(token) => request.bearer_auth(token.expose()),
        }
    }

    /// A request without credentials: it brings its own, or needs none.
    pub fn anonymous(&self, method: Method, path: &str) -> RequestBuilder {
        self.bare(method, path).timeout(TIMEOUT)
    }

    pub fn bare(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends it; anything but a success is an error in words.
    pub async fn send(&self, request: RequestBuilder) -> Result<Response, RequestError> {
        let response = request.send().await.map_err(|e| self.unreachable(&e))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = retry_after(response.headers());
        let body = response.bytes().await.unwrap_or_default();
        let mut problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.detail.is_empty() && problem.title.is_empty() {
            problem.title = format!("{} answers {status}", self.base);
        }
        let elsewhere = matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
        );
        if elsewhere {
            return Err(RequestError::Unavailable { message: problem.to_string(), retry_after });
        }
        Err(RequestError::Refused(problem))
    }

    /// Why no answer came, and what may help.
    pub fn unreachable(&self, error: &reqwest::Error) -> RequestError {
        let base = &self.base;
        let message = if error.is_timeout() {
            format!("{base} did not answer in time")
        } else if error.is_connect() && innermost(error).contains("certificate") {
            format!(
                "no TLS with {base}: {}; --ca-file names whom to believe, --cert-file what to show",
                innermost(error)
            )
        } else if error.is_connect() {
            format!(
                "cannot connect to {base}: {}; is a hub running there? `revocation-hub serve` starts one, --url names another",
                innermost(error)
            )
        } else {
            format!("{base}: {}", innermost(error))
        };
        RequestError::Unavailable { message, retry_after: None }
    }
}

/// The cause at the bottom, which is the one that a person understands ("Connection refused").
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Seconds only; the hub never sends a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    /// No hub is served by a client that sleeps for hours.
    const MAX: u64 = 300;
    let seconds: u64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(url: &str) -> Connection {
        Connection { url: url.into(), credentials: Credentials::default() }
    }

    #[test]
    fn what_is_on_this_machine_is_known() {
        for (url, here) in [
            ("https://127.0.0.1:9443", true),
            ("https://[::1]:9443", true),
            ("https://localhost", true),
            ("https://localhost.example.com", false),
            ("https://10.0.0.1", false),
        ] {
            assert_eq!(connection(url).is_here(), here, "{url}");
        }
    }

    #[test]
    fn the_address_may_have_a_path_but_no_password() {
        assert_eq!(connection("http://h:1/").client().unwrap().base(), "http://h:1");
        assert_eq!(connection("http://h/hub/").client().unwrap().base(), "http://h/hub");
        for bad in ["h:80", "ftp://h", "http://h/?a", "nonsense"] {
            let error = connection(bad).client().unwrap_err();
            assert!(error.is::<ConfigError>() && error.to_string().contains("http://HOST:PORT"), "{error}");
        }
        let error = connection("http://u:hunter2@h").client().unwrap_err().to_string();
        assert!(!error.contains("hunter2") && error.contains("--password-file"), "{error}");
    }

    #[test]
    fn a_problem_reads_as_a_sentence() {
        let json = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no \u001b[1mcredentials","code":"unauthorized"}"#;
        let problem: Problem = serde_json::from_str(json).unwrap();
        let text = problem.to_string();
        assert!(text.starts_with("no \\u{1b}[1mcredentials (401 unauthorized); say who you are"), "{text}");
    }
}
