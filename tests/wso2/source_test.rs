//! `revocation-hub source test` against a hub with every source that it can try.

use std::process::{Command, Output};

use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::json;

use crate::harness::*;

fn run(hub: &Api, kind: &str, more: &[&str]) -> (i32, String, String) {
    let program = env!("CARGO_BIN_EXE_revocation-hub");
    let arguments = ["source", "test", kind, "--url", hub.url()];
    let output: Output =
        tokio::task::block_in_place(|| Command::new(program).args(arguments).args(more).output().unwrap());
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn a_sample_of_every_kind_arrives_and_is_taken_back(place: &Place) {
    let kinds = ["wso2_notify", "etcd", "activemq_rest", "rfc7009", "global_token_revocation"];
    let source = |kind: &str| serde_json::from_value(json!({"name": kind, "kind": kind})).unwrap();
    let config = Config { sources: kinds.map(source).into(), ..place.config() };
    let hub = TestHub::start(config, Clock::system()).await;
    for kind in kinds {
        let before = hub.snapshot().await.cursor;
        let (code, out, error) = run(&hub, kind, &[]);
        assert_eq!((code, error.as_str()), (0, ""), "{kind}: {out}");
        for word in ["sent     P", "answer   20", "arrived  ", "lifted   "] {
            assert!(out.contains(word), "{kind}: {out}");
        }
        // It was there, and is gone.
        until("the lift is known", async || {
            let after = hub.snapshot().await;
            (after.map.is_empty() && after.cursor != before).then_some(())
        })
        .await;
    }
    // Nothing serves there.
    let (code, _, error) = run(&hub, "rfc7009", &["--path", "/nowhere"]);
    assert!(code == 1 && error.contains("a source of this kind at /nowhere"), "{code}: {error}");
    let (code, _, error) = run(&hub, "stomp", &[]);
    assert!(code == 2 && error.contains("broker"), "{code}: {error}");
    hub.stop().await;
}

/// What is answered well and set aside has not arrived.
async fn what_is_only_answered_is_no_success(place: &Place) {
    let mut config = place.config();
    let client = |name: &str, scopes: &[&str]| {
        let basic = json!({"username": name, "password": "secret"});
        serde_json::from_value(json!({"name": name, "scopes": scopes, "basic": basic})).unwrap()
    };
    config.clients = vec![client("oauth", &["read"]), client("sender", &["publish"])];
    config.sources = vec![serde_json::from_value(json!({"name": "revoke", "kind": "rfc7009"})).unwrap()];
    let hub = TestHub::start(config, Clock::system()).await;
    let password = place.folder.path().join("password");
    std::fs::write(&password, "secret\n").unwrap();
    let as_user = |name: &str| {
        let password = password.to_str().unwrap();
        run(&hub, "rfc7009", &["--user", name, "--password-file", password])
    };
    // A JWT that nobody has signed is 200 for this client, and not stored.
    let (code, out, error) = as_user("oauth");
    assert!(code == 1 && out.contains("answer   200") && error.contains("did not arrive"), "{code}: {out}{error}");
    // This one may not look.
    let (code, out, error) = as_user("sender");
    assert!(code == 1 && out.contains("answer   200") && error.contains("nobody can say"), "{code}: {out}{error}");
    assert!(!out.contains("arrived"), "{out}");
    hub.stop().await;
}

on_sqlite!(a_sample_of_every_kind_arrives_and_is_taken_back, what_is_only_answered_is_no_success);
