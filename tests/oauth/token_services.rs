//! `integrations/token-services`: a configuration for each token service of the README's table. Each is accepted, and each is
//! driven: what that service sends, as it documents it, ends the access tokens that it issues, and no others.

use std::collections::BTreeSet;
use std::path::PathBuf;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Connection, ConnectionProperties};
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Config, DatabaseUrl, Scope, SourceKind};
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::Key;
use crate::snippets;
use crate::transmitter::Transmitter;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integrations/token-services")
}

#[test]
fn every_row_has_a_configuration_that_is_accepted() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## My token service is X").nth(1).unwrap().split("\n## ").next().unwrap();
    let links = section.split("](integrations/token-services/").skip(1).filter_map(|part| part.split(')').next());
    let linked: BTreeSet<String> = links.map(str::to_owned).collect();
    let files = std::fs::read_dir(folder()).unwrap();
    let files: BTreeSet<String> = files.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(linked, files);
    // Each is driven below, by its own name.
    let driven = include_str!("token_services.rs");
    for name in &files {
        assert!(driven.contains(&format!("Row::start(place, \"{name}\"")), "{name} is not driven");
        let config = snippets::accepted(&folder().join(name));
        // Something comes in, and somebody may read it.
        let publishes = config.clients.iter().any(|client| client.scopes.contains(&Scope::Publish));
        assert!(publishes || !config.sources.is_empty(), "{name}");
        assert!(config.clients.iter().any(|client| client.scopes == [Scope::Read]), "{name}");
    }
}

/// A hub with the configuration of a row, of which only the addresses are others.
struct Row {
    hub: TestHub,
    config: Config,
    key: Key,
}

impl Row {
    /// `change` puts in the addresses of the servers of the test.
    async fn start(place: &Place, name: &str, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = snippets::accepted(&folder().join(name));
        let own = place.config();
        (config.listen, config.bookmark_interval, config.shutdown) = (own.listen, own.bookmark_interval, own.shutdown);
        (config.database_url, config.database_url_file, config.store) = (own.database_url, None, own.store);
        // Their keys are where the configuration says in the world; here all have one, in a file.
        let key = Key::rsa("k1");
        let jwks = place.folder.path().join("token-service.json");
        std::fs::write(&jwks, json!({"keys": [key.jwk()]}).to_string()).unwrap();
        for issuer in &mut config.issuers {
            (issuer.discovery_url, issuer.jwks_url, issuer.jwks_file) = (None, None, Some(jwks.clone()));
        }
        change(&mut config);
        let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
        Self { hub, config, key }
    }

    /// What a gateway asks: whether the access token is revoked.
    async fn revoked(&self, claims: &Value) -> bool {
        let gateway = self.config.clients.iter().find(|client| client.name == "gateways").unwrap();
        let token = gateway.bearer.as_ref().unwrap().token.expose().to_owned();
        let form = [("token", self.key.token(claims))];
        let ask = self.hub.request(Method::POST, "/v1/check").bearer_auth(token).form(&form);
        self.hub.send(ask).await.unwrap().expect(200).json()["revoked"].as_bool().unwrap()
    }

    /// A token that the service signs with this type in its header.
    fn signed(&self, typ: &str, claims: &Value) -> String {
        self.key.token_with(&json!({"alg": "RS256", "kid": "k1", "typ": typ}), claims)
    }

    async fn logout(&self, typ: &str, claims: &Value) {
        let form = [("logout_token", self.signed(typ, claims))];
        self.hub.send(self.hub.request(Method::POST, "/backchannel-logout").form(&form)).await.unwrap().expect(200);
    }

    fn post(&self, path: &str, media_type: &str, body: String) -> reqwest::RequestBuilder {
        self.hub.request(Method::POST, path).header("content-type", media_type.to_owned()).body(body)
    }
}

const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";

async fn keycloak(place: &Place) {
    let row = Row::start(place, "keycloak.toml", |_| {}).await;
    let iss = &row.config.issuers[0].issuer;
    let access = |jti: &str, sid: &str| {
        json!({"iss": iss, "exp": NOW + 300, "iat": NOW - 5, "jti": jti, "aud": "account", "sub": "f1e2", "typ": "Bearer",
            "azp": "mobile-app", "sid": sid, "scope": "profile email"})
    };
    // As Keycloak's token manager makes them; before version 26 their type is JWT.
    for (typ, sid) in [("JWT", "a8"), ("logout+jwt", "b9")] {
        let (mine, other) = (access("onrtro:1", sid), access("onrtro:2", "another session"));
        assert!(!row.revoked(&mine).await);
        let logout = json!({"iat": NOW, "exp": NOW + 120, "jti": sid, "iss": iss, "aud": "web-app", "sub": "f1e2",
            "typ": "Logout", "sid": sid, "events": {LOGOUT: {}, "revoke_offline_access": true}});
        row.logout(typ, &logout).await;
        assert!(row.revoked(&mine).await && !row.revoked(&other).await);
    }
    row.hub.stop().await;
}

async fn auth0(place: &Place) {
    let row = Row::start(place, "auth0.toml", |_| {}).await;
    let (iss, client) = (&row.config.issuers[0].issuer, &row.config.sources[0].audiences[0]);
    // Its access tokens have neither a jti nor a sid.
    let access = |sub: &str, iat: i64| {
        json!({"iss": iss, "sub": sub, "aud": ["https://api.example.com"], "iat": iat, "exp": iat + 86_400, "azp": client,
            "scope": "openid"})
    };
    let (mine, other) = (access("auth0|602c", NOW - 5), access("auth0|77", NOW - 5));
    assert!(!row.revoked(&mine).await);
    let logout = json!({"iss": iss, "sub": "auth0|602c", "aud": client, "iat": NOW, "exp": NOW + 120, "jti": "a",
        "events": {LOGOUT: {}}, "trace_id": "t", "sid": "375UEPsbOH97iTzt7UUKOzoiMXJDcz1W"});
    row.logout("logout+jwt", &logout).await;
    assert!(row.revoked(&mine).await && !row.revoked(&other).await);
    // Who signs in again goes on.
    assert!(!row.revoked(&access("auth0|602c", NOW + 1)).await);
    row.hub.stop().await;
}

async fn okta(place: &Place) {
    let row = Row::start(place, "okta.toml", |_| {}).await;
    let org = &row.config.issuers[0].issuer;
    let access = |sub: &str| {
        json!({"ver": 1, "jti": format!("AT.{sub}"), "iss": format!("{org}/oauth2/default"), "aud": "api://default",
            "iat": NOW - 5, "exp": NOW + 3600, "cid": "0oa1", "uid": "00u1", "scp": ["openid"], "sub": sub})
    };
    // Its example of a session-revoked: a complex subject without a format, and milliseconds.
    let (mine, other) = (access("00u1"), access("00u2"));
    assert!(!row.revoked(&mine).await);
    let set = json!({"iss": org, "jti": "24c63fb56e5a2d77a6b512616ca9fa24", "iat": NOW, "aud": "https://hub.example.com",
    "events": {format!("{CAEP}session-revoked"): {
        "subject": {"user": {"format": "iss_sub", "iss": org, "sub": "00u1"}},
        "reason_admin": {"en": "Policy Violation: C076E822"}, "event_timestamp": NOW * 1000 - 357
    }}});
    let push = row.post("/ssf/events", "application/secevent+jwt", row.signed("secevent+jwt", &set));
    row.hub.send(push).await.unwrap().expect(202);
    assert!(row.revoked(&mine).await && !row.revoked(&other).await);

    // Universal Logout names users by their address, and shows an assertion for the endpoint.
    let (mine, other) = (access("alice@example.com"), access("bob@example.com"));
    let endpoint = &row.config.sources[1].audiences[0];
    let assertion = json!({"jti": "u1", "iss": org, "sub": "0oa2", "aud": endpoint, "iat": NOW, "nbf": NOW - 300, "exp": NOW + 300});
    let body = json!({"sub_id": {"format": "email", "email": "alice@example.com"}}).to_string();
    let ask = |token: String| row.post("/global-token-revocation", "application/json", body.clone()).bearer_auth(token);
    // Another token of Okta's is none.
    row.hub.send(ask(row.signed("at+jwt", &assertion))).await.unwrap().expect(401);
    assert!(!row.revoked(&mine).await);
    row.hub.send(ask(row.signed("global-token-revocation+jwt", &assertion))).await.unwrap().expect(204);
    assert!(row.revoked(&mine).await && !row.revoked(&other).await);
    row.hub.stop().await;
}

async fn entra_with_api_management(place: &Place) {
    let row = Row::start(place, "entra-api-management.toml", |_| {}).await;
    let (iss, app) = (&row.config.issuers[0].issuer, &row.config.sources[0].audiences[0]);
    let access = |uti: &str| {
        json!({"aud": app, "iss": iss, "iat": NOW - 5, "nbf": NOW - 5, "exp": NOW + 4000, "azp": app, "oid": "o", "sub": "s",
            "tid": "11111111-2222-3333-4444-555555555555", "uti": uti, "ver": "2.0", "scp": "access"})
    };
    let (mine, other) = (access("u1"), access("u2"));
    let call = row.hub.request(Method::POST, "/shared/security/invalidate").header("origin", "https://app.example.com");
    let answer = row.hub.send(call.bearer_auth(row.key.token(&mine))).await.unwrap().expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example.com"));
    assert!(row.revoked(&mine).await && !row.revoked(&other).await);
    row.hub.stop().await;
}

async fn a_transmitter_of_security_events(place: &Place) {
    let transmitter = Transmitter::start(None).await;
    let url = transmitter.url();
    let polled = |config: &mut Config| {
        let source = config.sources.iter_mut().find(|source| source.kind == SourceKind::SsfPoll).unwrap();
        source.url = vec![DatabaseUrl::new(url)];
    };
    let row = Row::start(place, "ssf-transmitter.toml", polled).await;
    let iss = &row.config.issuers[0].issuer;
    let access =
        |sub: &str| json!({"iss": iss, "sub": sub, "jti": sub, "iat": NOW - 5, "exp": NOW + 600, "aud": "api"});
    let set = |jti: &str, sub: &str| {
        let claims = json!({"iss": iss, "jti": jti, "iat": NOW, "aud": "https://hub.example.com",
            "sub_id": {"format": "iss_sub", "iss": iss, "sub": sub}, "events": {format!("{CAEP}session-revoked"): {}}});
        row.signed("secevent+jwt", &claims)
    };
    let push = row.post("/ssf/events", "application/secevent+jwt", set("a", "alice"));
    row.hub.send(push).await.unwrap().expect(202);
    transmitter.offer("b", set("b", "bob"));
    transmitter.until_acknowledged(1).await;
    assert!(row.revoked(&access("alice")).await && row.revoked(&access("bob")).await);
    assert!(!row.revoked(&access("carol")).await);
    row.hub.stop().await;
}

async fn anything_with_a_webhook(place: &Place) {
    use aws_lc_rs::hmac;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    let row = Row::start(place, "webhook.toml", |_| {}).await;
    let access =
        |jti: &str| json!({"iss": "https://sts.example.com", "sub": "s", "jti": jti, "iat": NOW, "exp": NOW + 600});
    let client = |name: &str| row.config.clients.iter().find(|client| client.name == name).unwrap();
    let body = |jti: &str| json!({"jti": jti, "iss": "https://sts.example.com", "exp": NOW + 600}).to_string();
    let post = |body: String| row.post("/v1/revocations", "application/json", body);
    let token = client("sts").bearer.as_ref().unwrap().token.expose();
    row.hub.send(post(body("a")).bearer_auth(token)).await.unwrap().expect(201);
    let secret = client("signing-sts").webhook.as_ref().unwrap().keys().next().unwrap().to_owned();
    let secret = STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), format!("m1.{NOW}.{}", body("b")).as_bytes());
    let signed = post(body("b")).header("webhook-id", "m1").header("webhook-timestamp", NOW.to_string());
    let signed = signed.header("webhook-signature", format!("v1,{}", STANDARD.encode(tag.as_ref())));
    row.hub.send(signed).await.unwrap().expect(201);
    assert!(row.revoked(&access("a")).await && row.revoked(&access("b")).await && !row.revoked(&access("c")).await);
    row.hub.stop().await;
}

/// What a WSO2 system calls a token that ends: its jti.
fn wso2_event(jti: &str) -> Value {
    json!({"eventId": "7b1f0c52-6a3e-4d0a-9c11-5e2f8a90d4b7", "revokedToken": jti, "ttl": "3600",
        "expiryTime": (NOW + 600) * 1000, "type": "DEFAULT", "tenantId": -1234})
}

fn wso2_access(jti: &str) -> Value {
    json!({"iss": "https://apim.example.com:443/oauth2/token", "sub": "admin", "jti": jti, "azp": "app", "iat": NOW, "exp": NOW + 600})
}

async fn wso2_identity_server(place: &Place) {
    let row = Row::start(place, "wso2-identity-server.toml", |_| {}).await;
    let basic = row.config.clients.iter().find_map(|client| client.basic.clone()).unwrap();
    let body = json!({"accessToken": "c0a8f3d2", "expiryTime": (NOW + 600) * 1000, "user": "admin", "consumerKey": "app",
        "tokenType": "JWT", "eventId": "e", "timeStamp": NOW * 1000, "type": "token_revocation", "tenantId": -1234,
        "tenantDomain": "carbon.super", "properties": {}});
    let notify = row.post("/internal/data/v1/notify", "application/json", body.to_string());
    let notify =
        notify.basic_auth(&basic.username, Some(basic.password.expose())).header("x-wso2-key-manager", "WSO2-IS");
    row.hub.send(notify).await.unwrap().expect(200);
    assert!(row.revoked(&wso2_access("c0a8f3d2")).await && !row.revoked(&wso2_access("other")).await);
    row.hub.stop().await;
}

async fn wso2_api_manager(place: &Place) {
    let list = json!([{"jwt_signature": "from-the-list", "expiry_time": (NOW + 600) * 1000}]);
    let answer = move || std::future::ready(axum::Json(list.clone()));
    let router = axum::Router::new().route("/internal/data/v1/revokedjwt", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let broker = std::env::var("TEST_RABBITMQ_URL").expect("./scripts/test starts a broker");
    let (url, of_list) = (broker.clone(), format!("http://{address}/internal/data/v1"));
    let addresses = |config: &mut Config| {
        for source in &mut config.sources {
            source.url =
                vec![DatabaseUrl::new(if source.kind == SourceKind::Amqp { url.clone() } else { of_list.clone() })];
            if source.kind == SourceKind::Amqp {
                (source.username, source.password) = (None, Default::default());
            }
        }
    };
    let row = Row::start(place, "wso2-api-manager.toml", addresses).await;
    until("both are connected", async || (row.hub.metric("link_up", "").await as usize >= 2).then_some(())).await;
    let connection = Connection::connect(&broker, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    // A name of its own: other tests talk over the same broker.
    let jti = format!("{:032x}", rand::random::<u128>());
    let body = json!({"event": {"payloadData": wso2_event(&jti)}}).to_string();
    let (options, properties) =
        (BasicPublishOptions::default(), BasicProperties::default().with_content_type("text/plain".into()));
    let publish =
        channel.basic_publish("amq.topic".into(), "tokenRevocation".into(), options, body.as_bytes(), properties);
    publish.await.unwrap().await.unwrap();
    until("what the broker said", async || row.revoked(&wso2_access(&jti)).await.then_some(())).await;
    until("what the list said", async || row.revoked(&wso2_access("from-the-list")).await.then_some(())).await;
    assert!(!row.revoked(&wso2_access("other")).await);
    row.hub.stop().await;
}

on_sqlite!(
    keycloak,
    auth0,
    okta,
    entra_with_api_management,
    a_transmitter_of_security_events,
    anything_with_a_webhook,
    wso2_identity_server,
    wso2_api_manager,
);
