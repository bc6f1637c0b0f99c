//! `integrations/azure-apim`: its policies are well-formed and read only what the hub sends, and its configurations are
//! accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use quick_xml::Reader;
use quick_xml::events::Event;
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Config, OutletKind, SourceKind};
use revocation_hub::revocation::Kind;
use serde_json::{Value, json};

use crate::apim::Gateway;
use crate::harness::*;
use crate::snippets;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integrations/azure-apim")
}

/// All expressions and texts of a policy, after it was read as XML to its end.
fn policy(name: &str) -> String {
    let xml = std::fs::read_to_string(folder().join(name)).unwrap();
    let mut reader = Reader::from_str(&xml);
    let (mut depth, mut roots, mut texts) = (0, Vec::new(), String::new());
    loop {
        let event = reader.read_event().unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Event::Start(element) | Event::Empty(element) = &event {
            if depth == 0 {
                roots.push(element.name().as_ref().to_owned());
            }
            for attribute in element.attributes() {
                let attribute = attribute.unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(!attribute.value.contains('<'), "{name}: < in an attribute");
                let value = quick_xml::escape::unescape(&attribute.value);
                texts.push_str(&value.unwrap_or_else(|error| panic!("{name}: {error}")));
                texts.push('\n');
            }
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            Event::Text(text) => texts.push_str(&text),
            // An expression between tags would need no escaping; there is none.
            Event::GeneralRef(_) | Event::CData(_) => panic!("{name}: write it into an attribute"),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(depth, 0, "{name}");
    assert!(roots == ["policies"] || roots == ["fragment"], "{name}: {roots:?}");
    texts
}

/// What stands in `["…"]` after an expression that is not the table of variables.
fn members(policy: &str) -> BTreeSet<&str> {
    let parts = policy.match_indices("[\"").filter(|(at, _)| !policy[..*at].ends_with("Variables"));
    parts.map(|(at, _)| policy[at + 2..].split('"').next().unwrap()).collect()
}

/// The pairs `{ "a", "b" }` of the policy.
fn pairs(policy: &str) -> BTreeMap<&str, &str> {
    let parts = policy.split("{ \"").skip(1).filter_map(|part| part.split_once("\" }"));
    parts.map(|(pair, _)| pair.split_once("\", \"").unwrap()).collect()
}

/// Each policy reads the answer of the hub, or what its outlet sends, and nothing that is not there.
async fn every_member_that_a_policy_reads_is_sent(place: &Place) {
    let gateway = Gateway::default();
    let outlet = json!({"name": "apim", "kind": "apim", "url": gateway.start().await, "bearer": "to-the-gateway"});
    let config = Config { outlets: vec![serde_json::from_value(outlet).unwrap()], ..place.config() };
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let fields = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Signature).map(Kind::field);
    let mut ids = Vec::new();
    for field in fields {
        let value = if field == "sha256" { "ab".repeat(32) } else { "a".to_owned() };
        ids.push(hub.revoke(&json!({field: value, "ttl": 600})).await);
    }
    ids.push(hub.revoke(&json!({"jti": "b", "iss": "https://sts.example", "ttl": 600})).await);
    hub.lift(&ids[0]).await;
    let sent = async || Some(gateway.called.lock().clone()).filter(|all| all.len() > ids.len());
    let sent: Vec<Value> = until("every call", sent).await;

    let operation = policy("invalidate-operation.xml");
    let by_kind = pairs(&operation);
    assert_eq!(by_kind.len(), Kind::ALL.len() - 1);
    for body in &sent {
        assert!(body[by_kind[body["kind"].as_str().unwrap()]].is_string(), "{body}");
    }
    let read = members(&operation);
    assert_eq!(read, BTreeSet::from(["event", "iss", "issued_before", "kind", "ttl"]));
    for member in read {
        assert!(sent.iter().any(|body| !body[member].is_null()), "{member} is never sent");
    }
    // What the operation compares and what the hub says.
    assert!(operation.contains("== \"lifted\"") && sent.last().unwrap()["event"] == "lifted");
    // The fragment looks up what the operation stores.
    let cache = policy("check-cache-fragment.xml");
    assert!(operation.contains(r#""revoked-" + kind + "-" + iss.Length + "-" + iss + "-" + "#));
    assert!(cache.contains(r#"return iss.Length + "-" + iss + "-";"#));
    let looked_up = |rest: &str| -> Vec<&str> {
        let parts = cache.split("@(\"revoked-").skip(1).filter_map(|part| part.split_once("-\" + "));
        parts.filter(|(_, after)| after.starts_with(rest)).map(|(kind, _)| kind).collect()
    };
    // Each with the token's issuer, and without one, whose length is 0.
    let (of_issuer, of_any) = (looked_up(r#"(string)context.Variables["revoked-issuer"]"#), looked_up(r#""0--""#));
    assert_eq!((of_issuer, of_any), (vec!["token", "session", "subject"], vec!["token", "session", "subject"]));
    for kind in ["token", "session", "subject"] {
        assert!(by_kind.contains_key(kind), "{kind} is never stored");
        for name in [format!("\"revoked-{kind}\""), format!("\"revoked-{kind}-any\"")] {
            assert!(cache.contains(&format!("ContainsKey({name})")), "{name} is not judged");
        }
    }

    let ask = policy("check-hub-fragment.xml");
    assert!(ask.contains("}}/v1/check") && ask.contains("\"token=\""));
    let answer = hub.send(hub.request(Method::POST, "/v1/check").form(&[("token", "x")])).await.unwrap().expect(200);
    assert_eq!(members(&ask), BTreeSet::from(["revoked"]));
    assert!(answer.json()["revoked"].is_boolean());
    hub.stop().await;
}

#[test]
fn every_configuration_is_accepted_and_every_name_is_explained() {
    let load = |name: &str| snippets::accepted(&folder().join(name));
    assert_eq!(load("hub-invalidate.toml").sources[0].kind, SourceKind::ApimInvalidate);
    assert_eq!(load("hub-outlet.toml").outlets[0].kind, OutletKind::Apim);
    assert_eq!(load("hub-check.toml").clients.len(), 2);
    snippets::linked(&folder().join("README.md"));
    let readme = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let mut named = 0;
    for name in ["invalidate-operation.xml", "check-cache-fragment.xml", "check-hub-fragment.xml"] {
        let policy = policy(name);
        for value in policy.split("{{").skip(1).map(|part| part.split("}}").next().unwrap()) {
            assert!(readme.contains(&format!("--named-value-id {value} ")), "{name}: {value} is not explained");
            named += 1;
        }
    }
    assert_eq!(named, 3);
}

on_sqlite!(every_member_that_a_policy_reads_is_sent);
