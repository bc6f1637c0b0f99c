//! The addresses to listen on: free, a hub's own, or somebody else's.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};

use super::Scene;
use super::report::Check;
use crate::config::ClientCertificates;

/// How long who is there may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at one address, on which a hub would speak TLS or not.
pub async fn check(scene: &Scene, address: SocketAddr, tls: bool, check: &mut Check) {
    match bind(address) {
        Ok(()) => check.ok("free to listen on"),
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => taken(scene, address, tls, check).await,
            ErrorKind::PermissionDenied => check.failed(
                format!("this user may not listen there: {error}"),
                "use a port from 1024 on, or give the hub CAP_NET_BIND_SERVICE (AmbientCapabilities= in the systemd unit)",
            ),
            ErrorKind::AddrNotAvailable => check.failed(
                "this machine has no such address",
                "correct `listen`; 0.0.0.0 or [::] is every address of the machine",
            ),
            _ => check.failed(format!("cannot listen there: {error}"), "correct `listen`, or what the error names"),
        },
    }
}

/// Takes the address and gives it back. Without listening: nobody could connect to it.
fn bind(address: SocketAddr) -> std::io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // As the hub does: connections that have ended a moment ago do not count.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

async fn taken(scene: &Scene, address: SocketAddr, tls: bool, check: &mut Check) {
    let near = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let near = SocketAddr::new(near, address.port());
    let scheme = if tls { "https" } else { "http" };
    match ask(&format!("{scheme}://{near}/readyz")).await {
        Some((true, answer)) => {
            check.ok(format!("a hub is listening there, ready, head {}", answer["head"]));
        }
        Some((false, answer)) => check.failed(
            format!("a hub is listening there and is not ready: {}", answer["reason"].as_str().unwrap_or_default()),
            "the reason says what it waits for; its log says more",
        ),
        // Who asks here has no certificate to show.
        None if tls && scene.config.tls.client_certificates == ClientCertificates::Required => check.warning(
            "somebody is listening there who answers nobody without a client certificate: a hub, it may be",
            format!("see who: `ss -ltnp 'sport = :{}'`", address.port()),
        ),
        None => check.failed(
            "somebody else is listening there, or a hub that does not answer",
            format!("see who: `ss -ltnp 'sport = :{}'`; end it, or correct `listen`", address.port()),
        ),
    }
}

/// What a hub says of itself there; `None` when it is none.
async fn ask(url: &str) -> Option<(bool, Value)> {
    // Nothing is told to whoever is there, so it need not prove who it is.
    let builder = reqwest::Client::builder().tls_certs_only([]).danger_accept_invalid_certs(true);
    let http = builder.no_proxy().timeout(PATIENCE).build().ok()?;
    let response = http.get(url).send().await.ok()?;
    let status = response.status().as_u16();
    let answer: Value = response.json().await.ok()?;
    match (status, answer["status"].as_str()?) {
        (200, "ready") => Some((true, answer)),
        (503, "not ready") => Some((false, answer)),
        _ => None,
    }
}
