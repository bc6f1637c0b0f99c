//! The listener for those who look after the hub.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Bearer, Client, Scope, Secret};
use tokio::net::TcpStream;

use crate::authority::*;
use crate::harness::*;

on_sqlite!(
    probes_and_metrics_answer_when_everything_else_is_full,
    what_is_for_administrators_is_there_only,
    it_speaks_tls_as_the_others_do_unless_told_otherwise,
);

fn admin(hub: &TestHub) -> Api {
    Api::new(hub.hub().admin_addresses()[0])
}

async fn probes_and_metrics_answer_when_everything_else_is_full(place: &Place) {
    let mut config = place.config();
    config.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    (config.limits.max_connections, config.limits.max_streams, config.limits.max_requests) = (3, 2, 1);
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    let admin = admin(&hub);
    admin.until_ready().await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(TcpStream::connect(hub.address()).await.unwrap());
    }
    // Those of the administrators are counted with the others, and not in the same budget.
    until("all places are taken", async || (admin.metric("connections", "").await >= 4.0).then_some(())).await;
    assert!(!hub.is_ready().await, "there is no room");
    assert_eq!(admin.get("/livez").await.expect(200).json()["status"], "alive");
    assert!(admin.is_ready().await);
    assert!(admin.metric("connections_refused_total", "").await >= 1.0);
    admin.get("/v1/parked").await.expect(200);
    drop(held);
    hub.until_ready().await;
    hub.stop().await;
}

async fn what_is_for_administrators_is_there_only(place: &Place) {
    let client = |name: &str, scopes: &[Scope]| Client {
        name: name.into(),
        scopes: scopes.to_vec(),
        issuers: None,
        basic: None,
        bearer: Some(Bearer { token: Secret::new(name), token_file: None }),
        certificate: None,
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    };
    let mut config = place.config();
    config.clients = vec![client("reader", &[Scope::Read]), client("root", &[Scope::Admin])];
    config.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    let admin = admin(&hub);
    let ask = async |api: &Api, who: &str, path: &str| {
        api.send(api.request(Method::GET, path).bearer_auth(who)).await.unwrap().status
    };
    for (path, elsewhere, here) in [
        ("/v1/parked", 404, 200),
        ("/v1/parked/1", 404, 404),
        ("/v1/audit", 404, 200),
        ("/metrics", 404, 200),
        ("/livez", 200, 200),
        ("/readyz", 200, 200),
        ("/openapi.json", 200, 200),
    ] {
        if path == "/v1/audit" && ask(&admin, "root", path).await == 404 {
            continue;
        }
        assert_eq!((ask(&hub, "root", path).await, ask(&admin, "root", path).await), (elsewhere, here), "{path}");
    }
    for path in ["/v1/sources", "/v1/outlets", "/v1/status"] {
        assert_eq!((ask(&hub, "reader", path).await, ask(&admin, "reader", path).await), (200, 200), "{path}");
        assert_eq!(admin.get(path).await.status, 401, "{path}");
    }
    for path in ["/v1/revocations", "/v1/events", "/v1/check?jti=a", "/internal/data/v1/revokedjwt", "/introspect"] {
        assert_eq!(ask(&admin, "reader", path).await, 404, "{path}");
    }
    assert_eq!((ask(&admin, "reader", "/v1/parked").await, admin.get("/v1/parked").await.status), (403, 401));
    let said = hub.send(hub.request(Method::GET, "/metrics")).await.unwrap().expect(404);
    assert!(said.text().contains("admin.listen"), "{}", said.text());
    hub.stop().await;
    // The rule of loopback holds here too, and names the setting.
    config.clients.clear();
    config.admin.listen = vec!["0.0.0.0:0".parse().unwrap()];
    let error = config.validate().unwrap_err().to_string();
    assert!(error.starts_with("admin.listen: 0.0.0.0:0 can be reached"), "{error}");
}

async fn it_speaks_tls_as_the_others_do_unless_told_otherwise(place: &Place) {
    let authority = Authority::new();
    let mut config = secured(place, &authority.server());
    config.admin.listen = vec!["127.0.0.1:0".parse().unwrap()];
    let hub = TestHub::start_with_tls(config.clone(), Clock::manual(NOW), client(&authority, None)).await;
    let port = hub.hub().admin_addresses()[0].port();
    assert!(Api::with(format!("https://localhost:{port}"), client(&authority, None)).is_ready().await);
    assert!(!admin(&hub).is_ready().await);
    hub.stop().await;
    config.admin.tls = Some(false);
    let hub = TestHub::start_with_tls(config.clone(), Clock::manual(NOW), client(&authority, None)).await;
    assert!(admin(&hub).is_ready().await);
    hub.stop().await;
    (config.admin.tls, config.tls) = (Some(true), Default::default());
    assert!(config.validate().unwrap_err().to_string().starts_with("admin.tls: true needs tls.certificate_file"));
}
