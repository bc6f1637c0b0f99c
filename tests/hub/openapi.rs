//! The document and the hub agree, in both directions.

use std::collections::BTreeSet;

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Config, DatabaseUrl};
use revocation_hub::http::Code;
use revocation_hub::outlets::operate::OPENAPI;
use revocation_hub::router::{PATHS, SERVED};
use serde_json::{Value, json};

use crate::harness::*;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// Every path and method of the document that every hub has.
fn documented(document: &Value) -> BTreeSet<(String, String)> {
    operations(document, false)
}

/// Every path and method of the document that needs something to be configured, or none of them.
fn operations(document: &Value, needs: bool) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let methods = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, op)| (path, m, op)));
    let methods = methods.filter(|(_, method, _)| METHODS.contains(&method.as_str()));
    let methods = methods.filter(|(_, _, operation)| operation.get("x-needs").is_some() == needs);
    methods.map(|(path, method, _)| (path.clone(), method.clone())).collect()
}

#[test]
fn the_document_has_the_routes_and_no_others() {
    let routes = PATHS.iter().flat_map(|(path, methods)| methods.iter().map(|m| ((*path).to_owned(), (*m).to_owned())));
    let wso2 = Config::default().wso2;
    let wso2 = wso2.iter().map(|entry| (format!("{}/revokedjwt", entry.base_path), "get".to_owned()));
    assert_eq!(documented(&document()), routes.chain(wso2).collect());
}

#[test]
fn the_document_has_what_has_to_be_configured() {
    let routes =
        SERVED.iter().flat_map(|(path, methods)| methods.iter().map(|m| ((*path).to_owned(), (*m).to_owned())));
    assert_eq!(operations(&document(), true), routes.collect());
}

/// What needs something is there with it, and is not there without.
async fn what_has_to_be_configured_is_there_only_then(place: &Place) {
    let document = document();
    let plain = place.hub().await;
    let source = |kind: &str| serde_json::from_value(json!({"name": kind, "kind": kind})).unwrap();
    let mut config = place.config();
    config.database_url = DatabaseUrl::new(format!("sqlite://{}", place.folder.path().join("other.db").display()));
    let wso2 = ["wso2_notify", "etcd", "activemq_rest"].map(source);
    config.sources = ["rfc7009", "ssf_push", "global_token_revocation", "apim_invalidate"].map(source).into();
    config.sources.extend(wso2);
    let logout = json!({"name": "logout", "kind": "backchannel_logout", "audiences": ["hub"]});
    config.sources.push(serde_json::from_value(logout).unwrap());
    let issuer = json!({"issuer": "https://op.example", "jwks_file": "/nowhere"});
    config.issuers = vec![serde_json::from_value(issuer).unwrap()];
    // Nobody listens on port 1.
    config.proxy.url = Some(DatabaseUrl::new("http://127.0.0.1:1"));
    let full = TestHub::start(config, Clock::manual(NOW)).await;
    for (path, method) in operations(&document, true) {
        let operation = &document["paths"][&path][&method];
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let path = path.replace("{key}", "a").replace("{path}", "subscriptions");
        let form = "application/x-www-form-urlencoded";
        let ask = async |hub: &TestHub| {
            let request = hub.request(method.clone(), &path).header("content-type", form).body("revokedToken=a");
            hub.send(request).await.unwrap()
        };
        assert_eq!(ask(&plain).await.expect(404).code(), "not_found", "{method} {path}");
        let answer = ask(&full).await;
        let of_the_hub = answer.header("content-type") == Some("application/problem+json");
        assert!(!(of_the_hub && matches!(answer.status, 404 | 405)), "{method} {path}: {}", answer.text());
        let known = operation["responses"][answer.status.to_string()].is_object();
        assert!(known, "{method} {path}: {} is not in the document", answer.status);
    }
    plain.stop().await;
    full.stop().await;
}

#[test]
fn the_document_has_every_problem_with_its_status() {
    let document = document();
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(document["components"]["schemas"]["Code"]["enum"], json!(codes));
    let mut left: BTreeSet<&str> = codes.into_iter().collect();
    for (name, response) in document["components"]["responses"].as_object().unwrap() {
        let problem = &response["content"]["application/problem+json"];
        if problem.is_null() {
            continue;
        }
        let constraints = &problem["schema"]["allOf"][1]["properties"];
        for code in constraints["code"]["enum"].as_array().unwrap() {
            let code = Code::ALL.iter().find(|known| known.name() == code).unwrap();
            assert_eq!(constraints["status"]["const"], code.status().as_u16(), "{name}");
            let example = &problem["examples"][code.name()]["value"];
            assert_eq!(example["code"], code.name(), "{name}");
            assert_eq!(example["title"], code.title(), "{name}");
            assert_eq!(example["status"], code.status().as_u16(), "{name}");
            left.remove(code.name());
        }
    }
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_used() {
    fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    found.insert(to);
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for reference in &found {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    for group in ["schemas", "responses", "headers"] {
        for name in document["components"][group].as_object().unwrap().keys() {
            let reference = format!("#/components/{group}/{name}");
            // What every path answers to a method that it does not have belongs to no operation.
            assert!(found.contains(&*reference) || name == "MethodNotAllowed", "{reference}");
        }
    }
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Parks a message that nobody can read, and returns the number of the newest.
async fn park(place: &Place, hub: &Api) -> String {
    let values = "randomblob(32), 's', 'unknown_format', '', x'00', 0";
    place
        .sql(&format!("insert into parked (digest, source, reason, detail, body, received_at) values ({values})"))
        .await;
    let parked = hub.get("/v1/parked?limit=1000").await.expect(200).json();
    parked["parked"].as_array().unwrap().last().unwrap()["number"].to_string()
}

async fn the_hub_has_what_the_document_says(place: &Place) {
    let hub = place.hub().await;
    let served = hub.get("/openapi.json").await.expect(200);
    assert_eq!((served.header("content-type"), served.text()), (Some("application/json"), OPENAPI));
    let document = document();
    let mut id = String::new();
    for (path, method) in documented(&document) {
        // One of the methods takes it away.
        id = hub.revoke(&json!({"jti": "a"})).await;
        let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        let request =
            hub.request(method.clone(), &path.replace("{id}", &id).replace("{number}", &park(place, &hub).await));
        // A stream has no end; its head is what counts.
        let response = within("an answer", request.send()).await.unwrap();
        let status = response.status();
        assert!(status != 404 && status != 405 && !status.is_server_error(), "{method} {path}: {status}");
        let operation = &document["paths"][&path][method.as_str().to_lowercase()];
        let response_object = &operation["responses"][status.as_str()];
        assert!(response_object.is_object(), "{method} {path}: {status} is not in the document");
        if status.is_success() {
            match response.headers().get("content-type").map(|value| value.to_str().unwrap()) {
                Some(kind) => assert!(response_object["content"][kind].is_object(), "{method} {path}: {kind}"),
                None => assert!(response_object["content"].is_null(), "{method} {path}"),
            }
            for name in response_object["headers"].as_object().into_iter().flat_map(|headers| headers.keys()) {
                let present = response.headers().contains_key(name.as_str());
                assert!(present || name == "Content-Encoding", "{method} {path}: {name}");
            }
        }
    }
    // A method that is not documented is not there.
    let documented = documented(&document);
    for (path, _) in &documented {
        for method in ["get", "put", "post", "delete", "options", "patch"] {
            if documented.contains(&(path.clone(), method.to_owned())) {
                continue;
            }
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = hub
                .send(hub.request(method.clone(), &path.replace("{id}", &id).replace("{number}", "1")))
                .await
                .unwrap()
                .expect(405);
            assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
            let allowed = answer.header("allow").unwrap();
            for (_, method) in documented.iter().filter(|(other, _)| other == path) {
                assert!(allowed.split(',').any(|m| m.trim().eq_ignore_ascii_case(method)), "{path}: {allowed}");
            }
        }
    }
    assert_eq!(hub.get("/v1/nothing").await.expect(404).code(), "not_found");
    hub.stop().await;
}

on_sqlite!(the_hub_has_what_the_document_says, what_has_to_be_configured_is_there_only_then);
