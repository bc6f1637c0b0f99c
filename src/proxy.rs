//! The proxy: every other path under `/internal/data/v1/`, passed on to a control plane.
//!
//! Choreo Connect has one address for the list of revoked tokens and for about fifteen other resources
//! (product-microgateway, `adapter/internal/synchronizer`), so whoever points it at the hub needs the others to be there
//! too. This is no outlet: it shows nothing of the ledger and does not wait for it. It has a room of its own because it
//! is the only place that answers with what another server said.
//!
//! **Invariants.**
//! * Only GET and HEAD, so that no reader can write with the hub's credentials, and only paths of plain segments, so that
//!   none can leave `/internal/data/v1/` by what one server reads as `..` and another does not.
//! * No credential crosses in either direction: neither the caller's upwards, nor cookies or challenges downwards. A
//!   redirect is not followed and not handed back, because it would take one side's credentials to a third place.
//! * The hub adds no 4xx of its own to what an adapter asks for: one of those stops an adapter for good. A control plane
//!   that refuses the hub's credentials is a bad gateway, not an unauthorized caller.
//! * Nothing is kept: bodies pass as they come, compressed or not.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::config::{self, ConfigError, Scope, Secret};
use crate::http::{Caller, Code, Problem};

/// What the paths begin with, on both sides.
pub const BASE: &str = "/internal/data/v1";

/// The hub's own under [`BASE`], also when they are not configured: a list that is not the hub's must not be taken for it.
const OWN: [&str; 2] = ["revokedjwt", "notify"];

/// Connection-specific (RFC 9110 §7.6.1), besides those that `Connection` names.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Not passed up: credentials of the caller, and what belongs to a body or to the first hop.
const NOT_UP: [HeaderName; 6] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    // What gateways of API Manager 4.7 may send instead of Basic.
    HeaderName::from_static("api-key"),
];

/// Not passed down: the session that the control plane made for the hub, and what it says about itself only.
const NOT_DOWN: [HeaderName; 3] = [header::SET_COOKIE, header::WWW_AUTHENTICATE, header::ALT_SVC];

/// Marks an answer of the control plane, which nobody on the way out may change.
#[derive(Clone, Copy, Debug)]
pub struct PassedOn;

/// See the module's documentation.
pub struct Proxy {
    client: reqwest::Client,
    base: String,
    username: Option<String>,
    password: Secret,
}

impl Proxy {
    /// A proxy, when one is configured.
    pub fn new(config: &config::Proxy) -> Result<Option<Arc<Self>>, ConfigError> {
        let Some(url) = &config.url else { return Ok(None) };
        let wrong = |error: String| ConfigError::Invalid { key: "proxy.ca_file".into(), message: error };
        let builder = reqwest::Client::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none());
        let client =
            crate::tls::client::trust(builder, config.ca_file.as_deref()).map_err(|e| wrong(format!("{e:#}")))?;
        let client = client.build().map_err(|e| wrong(e.to_string()))?;
        Ok(Some(Arc::new(Self {
            client,
            base: format!("{}{BASE}", url.expose().trim_end_matches('/')),
            username: config.username.clone(),
            password: config.password.clone(),
        })))
    }
}

/// `GET /internal/data/v1/<path>`.
pub async fn pass_on(
    State(proxy): State<Arc<Proxy>>,
    caller: Caller,
    method: Method,
    Path(path): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    caller.require(Scope::Read)?;
    if !is_plain(&path) {
        return Err(Problem::new(Code::NotFound, "this path is not passed on"));
    }
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let url = format!("{}/{path}{query}", proxy.base);
    let mut up = headers;
    remove_hop_by_hop(&mut up);
    NOT_UP.iter().for_each(|name| drop(up.remove(name)));
    let mut request = proxy.client.request(method, url).headers(up);
    if let Some(username) = &proxy.username {
        request = request.basic_auth(username, Some(proxy.password.expose()));
    }
    let response = request.send().await.map_err(|error| {
        let code = if error.is_timeout() { Code::GatewayTimeout } else { Code::BadGateway };
        // The URL may hold a password.
        let error = error.without_url();
        tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "the control plane does not answer");
        Problem::new(code, code.title())
    })?;
    let status = response.status();
    let ours =
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    if ours || (status.is_redirection() && status != StatusCode::NOT_MODIFIED) {
        let detail = format!("the control plane answers {} to the hub", status.as_u16());
        tracing::warn!(status = status.as_u16(), "the control plane refuses or redirects the hub; see [proxy]");
        return Err(Problem::new(Code::BadGateway, detail));
    }
    let mut down = response.headers().clone();
    remove_hop_by_hop(&mut down);
    NOT_DOWN.iter().for_each(|name| drop(down.remove(name)));
    let mut answer = (status, Body::from_stream(response.bytes_stream())).into_response();
    *answer.headers_mut() = down;
    answer.extensions_mut().insert(PassedOn);
    Ok(answer)
}

/// Whether every segment is a name. Servers disagree on what `%2e%2e`, `..;` and `\` are, and no resource has them.
fn is_plain(path: &str) -> bool {
    let name = |segment: &str| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
        !segment.is_empty() && segment.bytes().all(plain) && segment.bytes().any(|b| b != b'.')
    };
    path.split('/').all(name) && path.split('/').next().is_some_and(|first| !OWN.contains(&first))
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    for name in named.iter().map(String::as_str).chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_are_passed_on_and_never_the_hubs_own() {
        for path in ["subscriptions", "apis", "a/b-c/d_e.f~1", "keyTemplates", "revokedjwts", "x/notify"] {
            assert!(is_plain(path), "{path}");
        }
        for path in ["", "a/", "a//b", "..", "a/../b", "a/...", "%2e%2e/b", "..;/b", "a\\b", "a b", "a:b", "ä"] {
            assert!(!is_plain(path), "{path}");
        }
        for path in ["revokedjwt", "revokedjwt/", "notify", "notify/x"] {
            assert!(!is_plain(path), "{path}");
        }
    }

    #[test]
    fn what_connection_names_is_removed_too() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("connection", "close, X-Mine"), ("x-mine", "1"), ("te", "trailers"), ("accept", "*/*")] {
            headers.insert(name, value.parse().unwrap());
        }
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }
}
