//! Certificates of clients: who is let in, as whom, and what counts when there is more than one way to tell.

use rcgen::{DnType, SanType};
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Basic, CertificateName, Client, ClientCertificates, Config, Scope, Secret};
use serde_json::json;

use crate::authority::*;
use crate::harness::*;
use crate::server::until_failed;

on_sqlite!(
    a_certificate_is_a_client_by_any_of_its_names,
    a_header_decides_where_there_is_one,
    certificates_that_are_not_good_end_the_handshake,
    without_one_there_is_no_connection_where_it_is_required,
    a_stream_ends_with_the_certificate_and_so_does_a_connection,
    an_oauth_client_may_be_its_certificate,
);

/// A client that is this certificate.
pub fn named(name: &str, scopes: &[Scope], certificate: CertificateName) -> Client {
    Client {
        name: name.into(),
        scopes: scopes.to_vec(),
        issuers: None,
        basic: None,
        bearer: None,
        certificate: Some(certificate),
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    }
}

pub fn subject(text: &str) -> CertificateName {
    CertificateName { subject: Some(text.into()), ..CertificateName::default() }
}

/// The same client, which may also show a password.
pub fn with_password(mut client: Client, password: &str) -> Client {
    let (username, password) = (client.name.clone(), Secret::new(password));
    client.basic = Some(Basic { username, password, password_file: None });
    client
}

/// The settings of a hub that asks for certificates of this authority, which is also that of its own.
pub fn asking(place: &Place, authority: &Authority, clients: Vec<Client>) -> Config {
    let mut config = Config { clients, ..secured(place, &authority.server()) };
    config.tls.client_ca_file = Some(file(place, "client-ca.pem", &authority.pem()));
    config
}

/// Waits until it is ready, for a hub that may let nobody in.
pub async fn start(config: Config, authority: &Authority, shown: Option<&Pair>) -> TestHub {
    TestHub::start_with_tls(config, Clock::manual(NOW), client(authority, shown)).await
}

/// What one who shows this certificate is answered.
async fn status(hub: &Api, authority: &Authority, shown: Option<&Pair>, path: &str) -> Answer {
    Api::with(hub.url().to_owned(), client(authority, shown)).get(path).await
}

const LIST: &str = "/v1/revocations";

async fn a_certificate_is_a_client_by_any_of_its_names(place: &Place) {
    let authority = Authority::new();
    let mut example = rcgen::CertificateParams::default();
    example.distinguished_name.push(DnType::CommonName, "gateway, north");
    example.distinguished_name.push(DnType::OrganizationName, "Example & Söhne");
    let example = authority.sign(example);
    // As people are told to find out what to write.
    let (shown, _) = example.write(place, "example");
    let shown = shown.to_str().unwrap();
    let said =
        run("openssl", &["x509", "-noout", "-subject", "-nameopt", "RFC2253,utf8,-esc_msb", "-in", shown]).await.1;
    let printed = said.trim().strip_prefix("subject=").unwrap().to_owned();
    let mut clients = vec![
        named("by-subject", &[Scope::Read], subject(&printed)),
        named("writer", &[Scope::Publish], subject("CN=sts")),
    ];
    for (name, certificate) in [
        ("by-dns", CertificateName { san_dns: Some("Gw.Example.com".into()), ..Default::default() }),
        ("by-uri", CertificateName { san_uri: Some("spiffe://example/gw".into()), ..Default::default() }),
        ("by-email", CertificateName { san_email: Some("gw@example.com".into()), ..Default::default() }),
        ("by-ip", CertificateName { san_ip: Some("10.1.2.3".parse().unwrap()), ..Default::default() }),
    ] {
        clients.push(named(name, &[Scope::Read], certificate));
    }
    let hub = start(asking(place, &authority, clients), &authority, None).await;
    let text = |text: &str| text.to_owned().try_into().unwrap();
    for shown in [
        example,
        authority.client("x", vec![SanType::DnsName(text("gw.example.com"))]),
        authority.client("x", vec![SanType::URI(text("spiffe://example/gw"))]),
        authority.client("x", vec![SanType::Rfc822Name(text("gw@example.com"))]),
        authority.client("x", vec![SanType::IpAddress("10.1.2.3".parse().unwrap())]),
    ] {
        status(&hub, &authority, Some(&shown), LIST).await.expect(200);
        // Known, and not allowed: another answer than for one who is not known.
        let api = Api::with(hub.url().to_owned(), client(&authority, Some(&shown)));
        let refused = api.post(&token("a")).await.expect(403);
        assert_eq!(refused.code(), "missing_scope");
    }
    let sts = authority.client("sts", vec![]);
    let api = Api::with(hub.url().to_owned(), client(&authority, Some(&sts)));
    assert_eq!(api.post(&token("a")).await.expect(201).json()["status"], "revoked");
    status(&hub, &authority, Some(&sts), LIST).await.expect(403);
    // Good, and nobody's: the common name alone is not the subject, a part of a name is not the name.
    for shown in [
        authority.client("gateway", vec![]),
        authority.client("x", vec![SanType::DnsName(text("other.gw.example.com"))]),
        authority.client("x", vec![SanType::URI(text("spiffe://example/gw/other"))]),
    ] {
        let answer = status(&hub, &authority, Some(&shown), LIST).await.expect(401);
        assert_eq!(answer.code(), "unauthorized");
        assert!(answer.text().contains("no client has the certificate of CN="), "{}", answer.text());
    }
    // Whoever could be two is nobody.
    let both = authority.client("sts", vec![SanType::DnsName(text("gw.example.com"))]);
    let answer = status(&hub, &authority, Some(&both), LIST).await.expect(401);
    assert!(answer.text().contains("of the clients writer and by-dns"), "{}", answer.text());
    assert_eq!(status(&hub, &authority, None, LIST).await.expect(401).code(), "unauthorized");
    // A revocation carries the name of the client.
    let gateway = authority.client("x", vec![SanType::IpAddress("10.1.2.3".parse().unwrap())]);
    let list = status(&hub, &authority, Some(&gateway), LIST).await.expect(200).json();
    assert_eq!(list["revocations"][0]["source"], "writer");
    hub.stop().await;
}

async fn a_header_decides_where_there_is_one(place: &Place) {
    let authority = Authority::new();
    let reader = with_password(named("reader", &[Scope::Read], subject("CN=reader")), "r");
    let writer = with_password(named("writer", &[Scope::Publish], subject("CN=writer")), "w");
    let hub = start(asking(place, &authority, vec![reader, writer]), &authority, None).await;
    let shown = authority.client("writer", vec![]);
    let api = Api::with(hub.url().to_owned(), client(&authority, Some(&shown)));
    let ask = async |login: Option<(&str, &str)>| {
        let request = api.request(Method::GET, LIST);
        let request = match login {
            Some((name, password)) => request.basic_auth(name, Some(password)),
            None => request,
        };
        api.send(request).await.unwrap()
    };
    ask(None).await.expect(403);
    ask(Some(("reader", "r"))).await.expect(200);
    // Rights are not added up, and what is wrong is not made good by the certificate.
    let request = api.request(Method::POST, LIST).basic_auth("reader", Some("r")).json(&token("a"));
    api.send(request).await.unwrap().expect(403);
    let answer = ask(Some(("reader", "wrong"))).await.expect(401);
    assert!(answer.header("www-authenticate").unwrap().starts_with("Basic"), "{answer:?}");
    // Beside a certificate that is nobody's credentials work as ever.
    let nobody = Api::with(hub.url().to_owned(), client(&authority, Some(&authority.client("nobody", vec![]))));
    let request = nobody.request(Method::GET, LIST).basic_auth("reader", Some("r"));
    nobody.send(request).await.unwrap().expect(200);
    hub.stop().await;
}

async fn certificates_that_are_not_good_end_the_handshake(place: &Place) {
    let authority = Authority::new();
    let clients = vec![named("gw", &[Scope::Read], subject("CN=gw"))];
    let hub = start(asking(place, &authority, clients), &authority, None).await;
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "gw");
    let old = authority.sign(expired(params));
    let foreign = Authority::new().client("gw", vec![]);
    for (shown, reason) in [(old, "client_certificate_expired"), (foreign, "client_certificate_refused")] {
        let api = Api::with(hub.url().to_owned(), client(&authority, Some(&shown)));
        assert!(api.send(api.request(Method::GET, LIST)).await.is_err());
        until_failed(&hub, reason, 1.0).await;
        // openssl is told why.
        let (certificate, key) = shown.write(place, "shown");
        let ca = file(place, "ca.pem", &authority.pem());
        let [certificate, key, ca] = [&certificate, &key, &ca].map(|path| path.to_str().unwrap());
        let url = format!("{}{LIST}", hub.url());
        let (good, said) = run("curl", &["-sS", "--cacert", ca, "--cert", certificate, "--key", key, &url]).await;
        assert!(!good && said.contains("alert"), "{said}");
    }
    hub.stop().await;
}

async fn without_one_there_is_no_connection_where_it_is_required(place: &Place) {
    let authority = Authority::new();
    let mut config = asking(place, &authority, vec![with_password(named("gw", &[Scope::Read], subject("CN=gw")), "p")]);
    config.tls.client_certificates = ClientCertificates::Required;
    config.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let shown = authority.client("gw", vec![]);
    let hub = start(config, &authority, Some(&shown)).await;
    hub.get(LIST).await.expect(200);
    // A password does not help whoever has none.
    let without = Api::with(hub.url().to_owned(), client(&authority, None));
    assert!(without.send(without.request(Method::GET, LIST).basic_auth("gw", Some("p"))).await.is_err());
    // Probes come without; metrics are there then.
    let admin = format!("https://localhost:{}", hub.hub().admin_addresses()[0].port());
    let admin = Api::with(admin, client(&authority, None));
    assert!(admin.is_ready().await);
    until_failed(&admin, "no_client_certificate", 1.0).await;
    hub.stop().await;
}

async fn a_stream_ends_with_the_certificate_and_so_does_a_connection(place: &Place) {
    let authority = Authority::new();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "gw");
    // The clock of the handshake is the machine's; that of the hub is moved.
    params.not_after = rcgen::date_time_ymd(2090, 1, 1);
    let shown = authority.sign(params);
    let config = asking(place, &authority, vec![named("gw", &[Scope::Read], subject("CN=gw"))]);
    let hub = start(config, &authority, Some(&shown)).await;
    let mut stream = hub.stream(revocation_hub::cli::promise::Start::Now).await;
    stream.event().await;
    hub.get(LIST).await.expect(200);
    hub.clock.set(3_786_912_001);
    while stream.next().await != Got::End {}
    let answer = hub.get(LIST).await.expect(401);
    assert!(answer.text().contains("the certificate expired at 2090-01-01"), "{}", answer.text());
    assert_eq!(hub.metric("streams_ended_total", "credential").await, 1.0);
    hub.stop().await;
}

async fn an_oauth_client_may_be_its_certificate(place: &Place) {
    let authority = Authority::new();
    let clients = vec![named("app", &[Scope::Read], subject("CN=app"))];
    let shown = authority.client("app", vec![]);
    let hub = start(asking(place, &authority, clients), &authority, Some(&shown)).await;
    let introspect = async |api: &Api, form: &[(&str, &str)]| {
        api.send(api.request(Method::POST, "/introspect").form(form)).await.unwrap()
    };
    assert_eq!(introspect(&hub, &[("token", "x")]).await.expect(200).json(), json!({"active": false}));
    introspect(&hub, &[("token", "x"), ("client_id", "app")]).await.expect(200);
    let answer = introspect(&hub, &[("token", "x"), ("client_id", "other")]).await.expect(401);
    assert_eq!(answer.json()["error"], "invalid_client");
    let without = Api::with(hub.url().to_owned(), client(&authority, None));
    introspect(&without, &[("token", "x"), ("client_id", "app")]).await.expect(401);
    hub.stop().await;
}
