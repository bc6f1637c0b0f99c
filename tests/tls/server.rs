//! The hub's own certificate: versions, protocols, streams, and those who come without TLS.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use revocation_hub::hub::Hub;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::authority::*;
use crate::harness::*;

on_sqlite!(
    a_stream_over_tls_keeps_every_promise,
    curl_and_openssl_get_on_with_it_in_both_versions_and_with_http_1_0,
    whoever_speaks_no_tls_gets_no_byte_and_is_counted,
    handshakes_have_a_limit_and_count_as_connections,
    a_stalled_reader_over_tls_is_cut_and_an_ended_stream_says_goodbye,
    what_is_wrong_with_the_files_is_said_and_names_them,
);

async fn start(place: &Place) -> (TestHub, Authority) {
    let authority = Authority::new();
    let config = secured(place, &authority.server());
    let hub = TestHub::start_with_tls(config, Clock::manual(NOW), client(&authority, None)).await;
    (hub, authority)
}

async fn a_stream_over_tls_keeps_every_promise(place: &Place) {
    let (hub, _) = start(place).await;
    for number in 0..500 {
        hub.revoke(&token(number)).await;
    }
    let mut map = Map::new();
    let mut stream = hub.stream(Start::Earliest).await;
    stream.follow(&mut map, 500).await;
    let mut live = hub.stream(Start::Now).await;
    let id = hub.revoke(&token("live")).await;
    live.until("it comes at once", |seen, _| matches!(seen, Seen::Revoked(r) if r["id"] == id).then_some(())).await;
    stream.follow(&mut map, 501).await;
    assert_eq!(map, hub.snapshot().await.map);
    // A hub that stops ends streams in good order, over TLS too.
    hub.begin_to_stop();
    while stream.next().await != Got::End {}
    assert!(stream.is_complete());
    hub.stop().await;
}

async fn curl_and_openssl_get_on_with_it_in_both_versions_and_with_http_1_0(place: &Place) {
    let (hub, authority) = start(place).await;
    let id = hub.revoke(&token("a")).await;
    let ca = file(place, "ca.pem", &authority.pem());
    let ca = ca.to_str().unwrap();
    let url = format!("{}/v1/revocations", hub.url());
    for version in [&["--tlsv1.2", "--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http1.0"], &["--http2"]] {
        let (good, text) = run("curl", &[&["-sS", "--cacert", ca, &url], version].concat()).await;
        assert!(good && text.contains(&id), "{version:?}: {text}");
    }
    let (good, _) = run("curl", &["-sS", "--cacert", ca, &url, "--tls-max", "1.1"]).await;
    assert!(!good);
    // A stream of HTTP/1.0 has no chunks, and is one all the same.
    let events = format!("{}/v1/events?since=earliest", hub.url());
    let curl = Running::start(place, "curl", &["-sSNi", "--http1.0", "--cacert", ca, &events]);
    until("the stream brings it", async || curl.printed().contains(&id).then_some(())).await;
    let head = curl.printed();
    assert!(head.starts_with("HTTP/1.0 200") && !head.contains("transfer-encoding"), "{head}");
    // What openssl says of it; it shows no certificate, and none is asked for.
    let mut openssl =
        Running::start(place, "openssl", &["s_client", "-connect", hub.address(), "-CAfile", ca, "-alpn", "http/1.1"]);
    openssl.input().write_all(b"GET /livez HTTP/1.1\r\nHost: hub\r\n\r\n").unwrap();
    until("openssl has its answer", async || openssl.printed().contains("alive").then_some(())).await;
    let said = openssl.printed();
    for line in
        ["Verify return code: 0 (ok)", "ALPN protocol: http/1.1", "TLSv1.3", "No client certificate CA names sent"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    // Nothing is resumed.
    assert!(!said.contains("Post-Handshake New Session Ticket"), "{said}");
    drop((curl, openssl));
    hub.stop().await;
}

/// Waits until so many handshakes have failed for this reason.
pub async fn until_failed(hub: &Api, reason: &str, count: f64) {
    let label = format!("reason=\"{reason}\"");
    let counted = async || (hub.metric("tls_handshakes_failed_total", &label).await == count).then_some(());
    until(&format!("{count} handshakes fail for {reason}"), counted).await;
}

async fn whoever_speaks_no_tls_gets_no_byte_and_is_counted(place: &Place) {
    let (hub, _) = start(place).await;
    let mut plain = TcpStream::connect(hub.address()).await.unwrap();
    plain.write_all(b"GET /internal/data/v1/revokedjwt HTTP/1.1\r\nHost: hub\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = within("the connection is closed", plain.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    until_failed(&hub, "not_tls", 1.0).await;
    // A record that is none.
    let mut broken = TcpStream::connect(hub.address()).await.unwrap();
    broken.write_all(&[22; 500]).await.unwrap();
    let _ = within("the connection is closed", broken.read_to_end(&mut answer)).await;
    until_failed(&hub, "invalid", 1.0).await;
    // One who does not believe us says so.
    let wary = Api::with(hub.url().to_owned(), client(&Authority::new(), None));
    assert!(!wary.is_ready().await);
    until_failed(&hub, "certificate_refused", 1.0).await;
    hub.stop().await;
}

async fn handshakes_have_a_limit_and_count_as_connections(place: &Place) {
    let authority = Authority::new();
    let mut config = secured(place, &authority.server());
    config.tls.handshake_timeout = Duration::from_millis(300);
    let hub = TestHub::start_with_tls(config.clone(), Clock::manual(NOW), client(&authority, None)).await;
    let mut silent = TcpStream::connect(hub.address()).await.unwrap();
    // One that begins and does not go on: the head of a record, and nothing of what it announces.
    let mut slow = TcpStream::connect(hub.address()).await.unwrap();
    slow.write_all(&[22, 3, 1, 2, 0]).await.unwrap();
    let mut answer = Vec::new();
    let _ = within("the silent one is cut", silent.read_to_end(&mut answer)).await;
    let _ = within("the slow one is cut", slow.read_to_end(&mut answer)).await;
    assert_eq!(answer, b"");
    until_failed(&hub, "timeout", 2.0).await;
    hub.stop().await;

    // While they last they take places.
    config.tls.handshake_timeout = Duration::from_secs(100);
    (config.limits.max_connections, config.limits.max_streams) = (3, 2);
    let hub = TestHub::start_with_tls(config, Clock::manual(NOW), client(&authority, None)).await;
    let held = [TcpStream::connect(hub.address()).await.unwrap(), TcpStream::connect(hub.address()).await.unwrap()];
    until("they are open", async || (hub.metric("connections", "").await == 3.0).then_some(())).await;
    let mut late = TcpStream::connect(hub.address()).await.unwrap();
    let _ = within("there is no room", late.read_to_end(&mut answer)).await;
    assert_eq!(hub.metric("connections_refused_total", "").await, 1.0);
    // They do not hold up the end either.
    hub.stop().await;
    drop(held);
}

async fn a_stalled_reader_over_tls_is_cut_and_an_ended_stream_says_goodbye(place: &Place) {
    let authority = Authority::new();
    let mut config = secured(place, &authority.server());
    config.limits.stall_timeout = Duration::from_millis(300);
    let hub = TestHub::start_with_tls(config, Clock::manual(NOW), client(&authority, None)).await;
    let long = "x".repeat(400);
    // More than what sockets hold between them.
    for batch in 0..10 {
        let lines: Vec<_> = (0..1000).map(|n| token(format_args!("{batch}-{n}{long}"))).collect();
        hub.post_lines(&lines).await.expect(200);
    }
    // It asks for all of it and reads nothing of that: stopped like a process that hangs.
    let ca = file(place, "ca.pem", &authority.pem());
    let events = format!("{}/v1/events?since=earliest", hub.url());
    let arguments = ["-sSN", "--limit-rate", "1", "--cacert", ca.to_str().unwrap(), &events];
    let curl = Running::start(place, "curl", &arguments);
    let cut = async || (hub.metric("connections_cut_total", "stalled").await >= 1.0).then_some(());
    until("it is cut", cut).await;
    drop(curl);
    hub.stop().await;
}

async fn what_is_wrong_with_the_files_is_said_and_names_them(place: &Place) {
    let (good, other) = (Authority::new().server(), Authority::new().server());
    let (certificate, key) = good.write(place, "good");
    let (_, other_key) = other.write(place, "other");
    let (old, old_key) = Authority::new().sign(expired(server())).write(place, "old");
    let empty = file(place, "empty.pem", "nothing\n");
    let missing = place.folder.path().join("missing.pem");
    let check = async |more: &str| {
        let settings = file(place, "hub.toml", &format!("[tls]\n{more}"));
        let program = env!("CARGO_BIN_EXE_revocation-hub");
        let output = Command::new(program).args(["config", "check"]).arg(settings).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let both = |certificate: &std::path::Path, key: &std::path::Path| {
        format!("certificate_file = {certificate:?}\nkey_file = {key:?}\n")
    };
    let (code, said) = check(&both(&certificate, &key)).await;
    assert!(code == 0 && said.contains("127.0.0.1:8080 with TLS") && !said.contains("warning"), "{said}");
    let (code, said) = check(&both(&old, &old_key)).await;
    assert!(
        code == 0 && said.contains("warning: tls.certificate_file") && said.contains("expired at 2021-01-01"),
        "{said}"
    );
    for (settings, names) in [
        (both(&certificate, &other_key), ["tls.key_file", "other.key is not the key of", "good.crt"]),
        (both(&missing, &key), ["tls.certificate_file", "cannot read", "missing.pem"]),
        (both(&empty, &key), ["tls.certificate_file", "empty.pem", "holds no certificate"]),
        (both(&certificate, &certificate), ["tls.key_file", "good.crt", "no private key"]),
        (format!("key_file = {key:?}"), ["tls.certificate_file", "is missing", "tls.key_file"]),
        ("client_ca_file = \"x\"".into(), ["tls.client_ca_file", "needs", "tls.key_file"]),
        (
            format!("{}client_certificates = \"required\"", both(&certificate, &key)),
            ["tls.client_certificates", "needs", "client_ca_file"],
        ),
        (
            format!("{}client_ca_file = {empty:?}", both(&certificate, &key)),
            ["tls.client_ca_file", "empty.pem", "no certificate"],
        ),
        (
            format!("{}certificate = 1", both(&certificate, &key)),
            ["tls.certificate", "no such setting", "certificate_file"],
        ),
    ] {
        let (code, said) = check(&settings).await;
        assert!(code == 64 && names.iter().all(|name| said.contains(name)), "{names:?}: {said}");
        assert!(!said.contains("PRIVATE"), "{said}");
    }
    // The rule of loopback knows no TLS: whoever reaches the address could revoke.
    let mut config = secured(place, &good);
    config.listen = vec!["0.0.0.0:0".parse().unwrap()];
    let error = Hub::start(config, Clock::manual(NOW)).await.err().unwrap().to_string();
    assert!(error.contains("no client is configured"), "{error}");
}
