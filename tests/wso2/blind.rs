//! What a kind of reader cannot judge is counted, and said once.

use reqwest::Method;
use serde_json::json;

use crate::harness::*;
use crate::setup::*;

async fn counted_by_reader_and_warned_of_once(place: &Place) {
    let settings = "[[sources]]\nname = \"keys\"\nkind = \"etcd\"\n";
    let mut hub = Process::launch(place, settings, &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    let missed = async |reader: &str| hub.metric("unjudged_revocations", &format!("\"{reader}\"")).await;
    let read = async || {
        for path in [ARRAY, LEGACY, OBJECT, "/v2/keys/jti/"] {
            hub.get(path).await.expect(200);
        }
    };
    let warnings = || hub.printed().matches("cannot judge").count();
    // A token that all of them know; only its signature would do for the oldest.
    hub.revoke(&json!({"jti": "a"})).await;
    hub.get(ARRAY).await.expect(200);
    assert_eq!((missed("array").await, warnings()), (0.0, 0));
    hub.revoke(&json!({"sid": "s"})).await;
    hub.revoke(&json!({"sub": "u"})).await;
    hub.revoke(&json!({"client_id": "c"})).await;
    hub.revoke(&json!({"kid": "k"})).await;
    let issuer = hub.revoke(&json!({"iss": "i"})).await;
    hub.revoke(&json!({"token": "opaque"})).await;
    // It came before there was anything: the rise is seen by whoever reads the metrics.
    assert_eq!((missed("array").await, missed("object").await, warnings()), (6.0, 0.0, 1));
    read().await;
    read().await;
    assert_eq!(missed("array").await, 6.0);
    assert_eq!(missed("etcd").await, 6.0);
    assert_eq!(missed("legacy").await, 7.0);
    assert_eq!(missed("object").await, 4.0);
    assert_eq!(warnings(), 4, "{}", hub.printed());
    hub.lift(&issuer).await;
    assert_eq!((missed("array").await, missed("object").await), (5.0, 3.0));
    assert_eq!(hub.send(hub.request(Method::GET, ARRAY)).await.unwrap().status, 200);
    assert_eq!(warnings(), 4);
}

on_sqlite!(counted_by_reader_and_warned_of_once);
