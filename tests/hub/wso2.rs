//! The list for WSO2 gateways: the vectors of the contract byte for byte, and the manners that those gateways need.

use std::io::Read;

use revocation_hub::clock::Clock;
use revocation_hub::config::{Basic, Client, Config, DatabaseUrl, Scope, Secret};
use revocation_hub::hub::Hub;
use revocation_hub::intake::{Lifetime, NewRevocation, NewTarget, Sender};
use serde_json::json;

use crate::harness::*;
use crate::raw::{Raw, RawAnswer, exchange};

const JTI: &str = "c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30";
/// 2100-01-01.
const FAR: i64 = 4_102_444_800;
const LIST: &str = r#"[{"jwt_signature":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiry_time":4102444800000},{"jwt_signature":"a1b2c3d4-opaque","expiry_time":9223372036854775807}]"#;
const ADMIN: &str = "Authorization: Basic YWRtaW46YWRtaW4=\r\n";

fn with_admin(place: &Place) -> Config {
    let basic = Some(Basic { username: "admin".into(), password: Secret::new("admin"), password_file: None });
    let scopes = vec![Scope::Read, Scope::Publish, Scope::Rules];
    let client = Client {
        name: "gateway".into(),
        scopes,
        issuers: None,
        basic,
        bearer: None,
        certificate: None,
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    };
    Config { clients: vec![client], ..place.config() }
}

/// The state S1 of the contract: a token, an opaque one without end, and one that is over since 2026-01.
async fn s1(place: &Place) -> (Api, Hub) {
    let clock = Clock::manual(1_760_000_000);
    let hub = Hub::start(with_admin(place), clock.clone()).await.unwrap();
    let api = Api::new(hub.addresses()[0]);
    api.until_ready().await;
    let sender = Sender {
        name: "sts".into(),
        may_rules: false,
        issuers: None,
        keep_opaque: true,
        keep_signature: false,
        max_token_lifetime: 3600,
        actor: Default::default(),
    };
    let raw = |token: &str, lifetime| NewRevocation {
        target: NewTarget::Raw { token: token.into(), iss: None },
        lifetime,
        issued_before: None,
        reason: None,
    };
    let named = |jti: &str, exp| NewRevocation {
        target: NewTarget::Named(revocation_hub::revocation::Target {
            kind: revocation_hub::revocation::Kind::Token,
            iss: None,
            value: jti.into(),
        }),
        ..raw("", Lifetime::Until(exp))
    };
    let items = vec![named("over", 1_768_000_000), named(JTI, FAR), raw("a1b2c3d4-opaque", Lifetime::Unlimited)];
    hub.intake().revoke(&sender, items).await.unwrap();
    clock.set(NOW);
    until("the old one is gone", async || (api.metric("live_revocations", "").await == 2.0).then_some(())).await;
    (api, hub)
}

async fn end(hub: Hub) {
    hub.stop();
    within("the hub ends", hub.wait()).await.unwrap();
}

fn is_list(answer: &RawAnswer, text: &str) {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    assert_eq!((answer.header("content-encoding"), answer.text()), (None, text));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

fn gunzip(answer: &RawAnswer) -> String {
    assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")));
    let mut text = String::new();
    flate2::bufread::GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    text
}

async fn s_1_to_s_3_and_s_7_the_list_as_the_gateways_ask_for_it(place: &Place) {
    let (api, hub) = s1(place).await;
    assert_eq!(LIST.len(), 156);
    let s_1 = format!("GET /internal/data/v1/revokedjwt HTTP/1.1\r\n{ADMIN}host: hub\r\nuser-agent: ballerina\r\n\r\n");
    is_list(&exchange(&api, &s_1).await, LIST);
    let go = |query: &str| {
        format!(
            "GET /internal/data/v1/revokedjwt{query} HTTP/1.1\r\nHost: hub:9443\r\nUser-Agent: Go-http-client/1.1\r\n\
             {ADMIN}Accept-Encoding: gzip\r\n\r\n"
        )
    };
    assert_eq!(gunzip(&exchange(&api, go("")).await), LIST, "S-2");
    assert_eq!(gunzip(&exchange(&api, go("?organizationId=ALL")).await), LIST, "S-3");
    let s_7 = s_1.replace("YWRtaW46YWRtaW4=", "YWRtaW46YmFk");
    for refused in [s_7.clone(), s_1.replace(ADMIN, ""), s_1.replace("YWRtaW46YWRtaW4=", "%%%")] {
        let answer = exchange(&api, refused).await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        let challenge = r#"Basic realm="revocation-hub", charset="UTF-8""#;
        assert_eq!(answer.header("www-authenticate"), Some(challenge));
    }
    end(hub).await;
}

async fn s_4_the_spelling_of_3_1(place: &Place) {
    let mut config = with_admin(place);
    config.keep_signature = true;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let sent = json!({"token": "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln", "exp": FAR});
    let request = hub.request(reqwest::Method::POST, "/v1/revocations").basic_auth("admin", Some("admin"));
    hub.send(request.json(&sent)).await.unwrap().expect(201);
    let s_4 = format!("GET /throttle/data/v1/revokedjwt HTTP/1.1\r\nHost: hub\r\n{ADMIN}\r\n");
    is_list(&exchange(&hub, &s_4).await, r#"[{"jwtSignature":"c2ln","expiryTime":4102444800}]"#);
    // Newer ones know it by its jti.
    let s_1 = s_4.replace("/throttle", "/internal");
    is_list(&exchange(&hub, &s_1).await, r#"[{"jwt_signature":"a","expiry_time":4102444800000}]"#);
    hub.stop().await;
}

async fn s_5_and_s_6_the_object_and_nothing(place: &Place) {
    let hub = TestHub::start(with_admin(place), Clock::manual(1_767_225_599)).await;
    let get = |path: &str| format!("GET {path}/revokedjwt HTTP/1.1\r\nHost: hub\r\n{ADMIN}\r\n");
    is_list(&exchange(&hub, get("/internal/data/v1")).await, "[]");
    is_list(&exchange(&hub, get("/throttle/data/v1")).await, "[]");
    let nothing = r#"{"revokedJWTList":[],"revokedJWTSubjectEntityList":[],"revokedJWTConsumerKeyList":[]}"#;
    is_list(&exchange(&hub, get("/apim43/internal/data/v1")).await, nothing);
    // By default what was issued in the second of the revocation is hit: 1767225599 + 1.
    for sent in [
        json!({"jti": JTI, "exp": FAR}),
        json!({"sub": "4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412"}),
        json!({"client_id": "rfjtExampleKey0000000000000a"}),
        json!({"sid": "has no place in these lists"}),
        json!({"kid": "nor has this"}),
        json!({"iss": "nor this"}),
    ] {
        let request = hub.request(reqwest::Method::POST, "/v1/revocations").basic_auth("admin", Some("admin"));
        hub.send(request.json(&sent)).await.unwrap().expect(201);
    }
    let object = r#"{"revokedJWTList":[{"jwt_signature":"c0a8f3d2-41b6-4e57-8f9a-2d7b6c1e5a30","expiry_time":4102444800000}],"revokedJWTSubjectEntityList":[{"entity_id":"4f6d2a19-7c30-4b8e-a5d1-93e0b7c8f412","entity_type":"USER_ID","revocation_time":1767225600000,"organization":"carbon.super"}],"revokedJWTConsumerKeyList":[{"consumer_key":"rfjtExampleKey0000000000000a","revocation_time":1767225600000,"type":null,"organization":"carbon.super"}]}"#;
    is_list(&exchange(&hub, get("/apim43/internal/data/v1")).await, object);
    hub.stop().await;
}

/// The store is not there, so the list is not known.
async fn s_8_before_the_list_is_loaded_not_a_byte(place: &Place) {
    let mut config = with_admin(place);
    // Nobody listens on port 1.
    config.database_url = DatabaseUrl::new("postgres://hub@127.0.0.1:1/hub");
    let hub = TestHub::launch(config, Clock::manual(NOW)).await;
    for base in ["/internal/data/v1", "/apim43/internal/data/v1", "/throttle/data/v1"] {
        for credentials in [ADMIN, "", "Authorization: Basic YWRtaW46YmFk\r\n"] {
            for method in ["GET", "HEAD"] {
                let mut raw = Raw::connect(&hub).await;
                raw.send(format!("{method} {base}/revokedjwt HTTP/1.1\r\nHost: hub\r\n{credentials}\r\n")).await;
                assert_eq!(raw.rest().await, b"", "{method} {base}");
            }
        }
    }
    // On a connection that was of use before as well.
    let mut raw = Raw::connect(&hub).await;
    raw.send("GET /livez HTTP/1.1\r\nHost: hub\r\n\r\n").await;
    assert_eq!(raw.answer().await.unwrap().status, 200);
    raw.send(format!("GET /internal/data/v1/revokedjwt HTTP/1.1\r\nHost: hub\r\n{ADMIN}\r\n")).await;
    assert_eq!(raw.rest().await, b"");
    assert!(hub.metric("wso2_hung_up_total", "").await >= 19.0);
    // Everybody else is told.
    let basic = |path: &str| hub.request(reqwest::Method::GET, path).basic_auth("admin", Some("admin"));
    let zeros = "0".repeat(32);
    for path in ["/v1/revocations", "/v1/check?jti=a", "/v1/events", &format!("/v1/revocations/{zeros}")] {
        let answer = hub.send(basic(path)).await.unwrap().expect(503);
        assert_eq!(answer.code(), "not_loaded", "{path}");
        let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=3).contains(&after));
    }
    let request = hub.request(reqwest::Method::POST, "/v1/revocations").basic_auth("admin", Some("admin"));
    let answer = hub.send(request.json(&json!({"jti": "a"}))).await.unwrap().expect(503);
    assert_eq!(answer.code(), "store_unavailable");
    assert!(answer.header("retry-after").is_some());
    let answer = hub.get("/readyz").await.expect(503);
    assert_eq!(answer.json()["status"], "not ready");
    assert!(answer.header("retry-after").is_some());
    assert_eq!(hub.get("/livez").await.status, 200);
    hub.stop().await;
}

async fn what_two_issuers_name_alike_is_listed_once_with_the_longest_life(place: &Place) {
    let hub = place.hub().await;
    let a = hub.revoke(&json!({"jti": "same", "iss": "a", "exp": NOW + 10})).await;
    let b = hub.revoke(&json!({"jti": "same", "iss": "b", "exp": NOW + 20})).await;
    hub.revoke(&json!({"jti": "same", "exp": NOW + 15})).await;
    hub.revoke(&json!({"jti": "other", "exp": NOW + 5})).await;
    let listed = async || {
        let list = hub.get("/internal/data/v1/revokedjwt").await.expect(200).json();
        let ends = list.as_array().unwrap().iter().filter(|item| item["jwt_signature"] == "same");
        ends.map(|item| item["expiry_time"].as_i64().unwrap() / 1000 - NOW).collect::<Vec<_>>()
    };
    assert_eq!(listed().await, [20]);
    hub.lift(&b).await;
    assert_eq!(listed().await, [15]);
    hub.lift(&a).await;
    assert_eq!(listed().await, [15]);
    hub.revoke(&json!({"jti": "same", "iss": "c", "exp": NOW + 12})).await;
    assert_eq!(listed().await, [15]);
    hub.clock.set(NOW + 15 + 60);
    until("all are over", async || listed().await.is_empty().then_some(())).await;
    hub.stop().await;
}

async fn opaque_tokens_are_listed_only_when_their_text_is_kept(place: &Place) {
    let hub = place.hub().await;
    hub.revoke(&json!({"token": "opaque-1"})).await;
    assert_eq!(hub.get("/internal/data/v1/revokedjwt").await.text(), "[]");
    hub.stop().await;
    let mut config = place.config();
    config.keep_opaque = true;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    hub.revoke(&json!({"token": "opaque-\"2\"", "exp": FAR})).await;
    let text = r#"[{"jwt_signature":"opaque-\"2\"","expiry_time":4102444800000}]"#;
    assert_eq!(hub.get("/internal/data/v1/revokedjwt").await.text(), text);
    let legacy = r#"[{"jwtSignature":"opaque-\"2\"","expiryTime":4102444800}]"#;
    assert_eq!(hub.get("/throttle/data/v1/revokedjwt").await.text(), legacy);
    // There and nowhere else.
    let everything = hub.get("/v1/revocations").await.text().to_owned();
    assert!(!everything.contains("opaque-\\\"2"), "{everything}");
    hub.stop().await;
}

async fn nothing_but_credentials_is_answered_with_a_4xx(place: &Place) {
    let (api, hub) = s1(place).await;
    let ask = |first: &str, more: &str| format!("{first} HTTP/1.1\r\nHost: hub\r\n{ADMIN}{more}\r\n");
    let path = "/internal/data/v1/revokedjwt";
    for (first, more) in [
        (format!("GET {path}?"), ""),
        (format!("GET {path}?query=%ff&query=2&&=&a"), ""),
        (format!("GET {path}?organizationId=%zz"), ""),
        (format!("GET http://elsewhere{path}"), ""),
        (format!("GET {path}"), "Accept: text/html\r\n"),
        (format!("GET {path}"), "Accept: ;;;\r\nAccept: \r\n"),
        (format!("GET {path}"), "Accept-Encoding: br;q=x, ,\r\n"),
        (format!("GET {path}"), "If-None-Match: *\r\n"),
        (format!("GET {path}"), "If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT\r\n"),
        (format!("GET {path}"), "Range: bytes=900-\r\n"),
        (format!("GET {path}"), "Expect: 100-continue\r\n"),
        (format!("GET {path}"), "Content-Type: text/plain\r\nContent-Length: 0\r\n"),
    ] {
        is_list(&exchange(&api, ask(&first, more)).await, LIST);
    }
    let mut raw = Raw::connect(&api).await;
    raw.send(ask(&format!("HEAD {path}"), "")).await;
    let head = raw.answer_without_body().await.unwrap();
    assert_eq!((head.status, head.header("content-type")), (200, Some("application/json")));
    // The connection is in step: no body came.
    raw.send(ask(&format!("GET {path}"), "")).await;
    is_list(&raw.answer().await.unwrap(), LIST);
    end(hub).await;
}

async fn paths_and_shapes_are_as_configured(place: &Place) {
    use revocation_hub::config::{Wso2, Wso2Shape};
    let entry = |base_path: &str, shape| Wso2 { base_path: base_path.into(), shape };
    let wso2 = vec![entry("/a", Wso2Shape::Object), entry("/b/c", Wso2Shape::Array)];
    let config = Config { wso2, wso2_organization: "acme \"é\"".into(), ..place.config() };
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    hub.revoke(&json!({"sub": "u"})).await;
    let json = hub.get("/a/revokedjwt").await.expect(200).json();
    assert_eq!(json["revokedJWTSubjectEntityList"][0]["organization"], "acme \"é\"");
    assert_eq!(hub.get("/b/c/revokedjwt").await.expect(200).text(), "[]");
    assert_eq!(hub.get("/internal/data/v1/revokedjwt").await.expect(404).code(), "not_found");
    hub.stop().await;
}

both_stores!(s_1_to_s_3_and_s_7_the_list_as_the_gateways_ask_for_it);
on_sqlite!(
    s_4_the_spelling_of_3_1,
    s_5_and_s_6_the_object_and_nothing,
    s_8_before_the_list_is_loaded_not_a_byte,
    what_two_issuers_name_alike_is_listed_once_with_the_longest_life,
    opaque_tokens_are_listed_only_when_their_text_is_kept,
    nothing_but_credentials_is_answered_with_a_4xx,
    paths_and_shapes_are_as_configured,
);
