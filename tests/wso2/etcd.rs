//! The vectors E-1 to E-9 of the etcd façade.

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::*;
use crate::raw::exchange;
use crate::setup::*;

fn sources() -> Vec<Value> {
    vec![json!({"name": "keys", "kind": "etcd"})]
}

fn in_order(text: &str, members: &[&str]) {
    let places: Vec<_> = members.iter().map(|m| text.find(m).unwrap_or_else(|| panic!("{m} in {text}"))).collect();
    assert!(places.is_sorted(), "{text}");
}

async fn e_1_as_the_sts_sends_it_e_2_and_e_5(place: &Place) {
    let hub = hub_with(place, sources()).await;
    let raw = format!(
        "PUT /v2/keys/jti/{J} HTTP/1.1\r\nAuthorization: Basic cm9vdDpyb290\r\n\
         Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\nContent-Length: 19\r\nHost: hub:2379\r\n\r\n\
         value=true&ttl=3600"
    );
    let answer = exchange(&hub, &raw).await;
    assert_eq!((answer.status, answer.header("content-type")), (201, Some("application/json")));
    for name in ["x-etcd-cluster-id", "x-etcd-index", "x-raft-index", "x-raft-term"] {
        assert!(answer.header(name).is_some_and(|value| !value.is_empty()), "{name}");
    }
    assert_eq!(answer.header("x-etcd-index"), Some("1"));
    let expected = format!(
        "{{\"action\":\"set\",\"node\":{{\"key\":\"/jti/{J}\",\"value\":\"true\",\"expiration\":\"2027-01-15T09:00:00Z\",\
         \"ttl\":3600,\"modifiedIndex\":1,\"createdIndex\":1}}}}\n"
    );
    assert_eq!(answer.text(), expected);
    assert_eq!(live(&hub).await, [(format!("token {J}"), Some(NOW + 3600))]);
    let again = put(&hub, &format!("/v2/keys/jti/{J}"), "value=true&ttl=5000").await.expect(200);
    in_order(again.text(), &["\"action\":\"set\"", "\"node\"", "\"ttl\":5000", "\"prevNode\"", "\"ttl\":3600"]);
    hub.clock.set(NOW + 100);
    for path in ["/v2/keys/jti", "/v2/keys/jti/", "/v3/keys/jti/", "/v2/keys/jti?quorum=false&recursive=true"] {
        let list = get(&hub, path).await.expect(200);
        let json = list.json();
        assert_eq!((&json["node"]["key"], &json["node"]["dir"]), (&json!("/jti"), &json!(true)));
        assert_eq!(json["node"]["nodes"].as_array().unwrap().len(), 1);
        assert_eq!(json["node"]["nodes"][0]["key"], format!("/jti/{J}"));
        assert_eq!(json["node"]["nodes"][0]["ttl"], 4900);
        in_order(list.text(), &["\"action\":\"get\"", "\"dir\":true", "\"nodes\":[{\"key\"", "\"modifiedIndex\""]);
    }
    let one = get(&hub, &format!("/v3/keys/jti/{J}")).await.expect(200).json();
    assert_eq!((&one["action"], &one["node"]["ttl"]), (&json!("get"), &json!(4900)));
    hub.stop().await;
}

async fn e_3_and_the_three_forms_of_4_3(place: &Place) {
    let hub = hub_with(place, sources()).await;
    put(&hub, &format!("/v2/keys/jti/{J}"), "value=true&ttl=3600&expiryTime=4102444800000").await.expect(201);
    let app = format!("value=true&ttl=3600&consumer_key={CONSUMER}&revocationTime=1767225600000");
    put(&hub, &format!("/v2/keys/jti/{CONSUMER}"), &app).await.expect(201);
    let user = format!("value=true&ttl=3600&entityId={ENTITY}&entityType=USER_ID&revocationTime=1767225600000");
    put(&hub, &format!("/v3/keys/jti/{ENTITY}"), &user).await.expect(201);
    let client = "value=true&ttl=3600&entityId=c2&entityType=CLIENT_ID&revocationTime=1767225600000";
    put(&hub, "/v2/keys/jti/c2", client).await.expect(201);
    let all = live(&hub).await;
    let expected = ["client c2", &format!("client {CONSUMER}"), &format!("subject {ENTITY}"), &format!("token {J}")];
    assert_eq!(all.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), expected);
    assert_eq!(all[3].1, Some(FAR));
    let revocations = get(&hub, "/v1/revocations").await.json();
    let before = revocations["revocations"].as_array().unwrap().iter().filter_map(|r| r["issued_before"].as_i64());
    assert_eq!(before.collect::<Vec<_>>(), [1_767_225_600; 3]);
    // Who reads keys knows tokens only.
    let list = get(&hub, "/v2/keys/jti/").await.json();
    assert_eq!(list["node"]["nodes"].as_array().unwrap().len(), 1);
    hub.stop().await;
}

async fn keys_of_every_kind_and_their_ends(place: &Place) {
    let hub =
        hub_with(place, vec![json!({"name": "keys", "kind": "etcd", "untyped": "opaque", "keep_opaque": true})]).await;
    assert_eq!(get(&hub, "/v2/keys/jti/").await.expect(200).text().split("\"nodes\":").nth(1).unwrap()[..3], *"[],");
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln";
    put(&hub, &format!("/v2/keys/jti/{jwt}"), "value=true&ttl=3600").await.expect(201);
    put(&hub, &format!("/v2/keys/jti/{J}"), "value=true&ttl=3600").await.expect(201);
    put(&hub, "/v2/keys/jti/a1b2c3d4-opaque", "value=true&ttl=3600").await.expect(201);
    let nodes = get(&hub, "/v2/keys/jti/").await.json()["node"]["nodes"].clone();
    let keys: Vec<_> = nodes.as_array().unwrap().iter().map(|node| node["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["/jti/a", &format!("/jti/{J}"), "/jti/a1b2c3d4-opaque"]);
    for key in [jwt, "a", J, "a1b2c3d4-opaque"] {
        assert_eq!(
            get(&hub, &format!("/v2/keys/jti/{key}")).await.expect(200).json()["node"]["key"],
            format!("/jti/{key}")
        );
    }
    // E-8
    let missing = get(&hub, "/v2/keys/jti/zzz").await.expect(404);
    let text = "{\"errorCode\":100,\"message\":\"Key not found\",\"cause\":\"/jti/zzz\",\"index\":3}\n";
    assert_eq!((missing.text(), missing.header("content-type")), (text, Some("application/json")));
    // E-9, and its relatives.
    for ttl in ["abc", "-1", "3600.5", "+5", "%205", "99999999999999999999"] {
        let answer = put(&hub, "/v2/keys/jti/bad", &format!("value=true&ttl={ttl}")).await.expect(400);
        let text = "{\"errorCode\":202,\"message\":\"The given TTL in POST form is not a number\",\
                    \"cause\":\"invalid value for \\\"ttl\\\"\",\"index\":0}\n";
        assert_eq!(answer.text(), text, "{ttl}");
    }
    for (key, form, exp) in [
        ("empty", "value=true&ttl=", Some(NOW + 30 * 86400)),
        ("zero", "value=true&ttl=0", Some(NOW + 30 * 86400)),
        ("none", "value=true", Some(NOW + 30 * 86400)),
        ("twice", "ttl=60&ttl=70", Some(NOW + 60)),
        ("large", "ttl=18446744073709551615", Some(NOW + 100 * 365 * 86400)),
        ("never", "ttl=60&expiryTime=9223372036854775807", None),
    ] {
        put(&hub, &format!("/v2/keys/jti/{key}"), form).await.expect(201);
        let node = get(&hub, &format!("/v2/keys/jti/{key}")).await.expect(200).json()["node"].clone();
        assert_eq!(node["ttl"].as_i64(), exp.map(|exp| exp - NOW), "{key}");
        assert_eq!(node.get("expiration").is_some(), exp.is_some(), "{key}");
    }
    hub.stop().await;
}

async fn delete_takes_back_and_who_may_what(place: &Place) {
    let hub = hub_with(place, sources()).await;
    // Both that it may be.
    put(&hub, "/v2/keys/jti/some", "value=true&ttl=3600").await.expect(201);
    assert_eq!(names(&hub).await.len(), 2);
    let path = "/v2/keys/jti/some";
    for user in ["reader", "tokens"] {
        assert_eq!(send(&hub, user, Method::DELETE, path, "", FORM).await.expect(403).code(), "missing_scope");
    }
    let answer = send(&hub, "root", Method::DELETE, path, "", FORM).await.expect(200);
    let json = answer.json();
    assert_eq!((&json["action"], &json["node"]["key"]), (&json!("delete"), &json!("/jti/some")));
    assert!(json["node"].get("value").is_none() && json["prevNode"]["value"] == "true");
    in_order(answer.text(), &["\"action\"", "\"node\"", "\"prevNode\"", "\"value\"", "\"ttl\""]);
    assert_eq!(names(&hub).await, [""; 0]);
    let gone = send(&hub, "root", Method::DELETE, path, "", FORM).await.expect(404);
    assert_eq!(gone.json()["errorCode"], 100);
    assert_eq!(get(&hub, path).await.status, 404);
    // Revoked anew after it was taken back is a new key.
    put(&hub, path, "value=true&ttl=3600").await.expect(201);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        assert_eq!(send(&hub, "nobody", method.clone(), path, "ttl=1", FORM).await.status, 401, "{method}");
    }
    assert_eq!(send(&hub, "reader", Method::PUT, path, "ttl=1", FORM).await.status, 403);
    assert_eq!(send(&hub, "tokens", Method::GET, path, "", FORM).await.status, 403);
    assert_eq!(send(&hub, "tokens", Method::PUT, "/v2/keys/jti/rule", "consumer_key=c", FORM).await.status, 403);
    hub.stop().await;
}

/// More than one page, each key once though two issuers name it, and none missed.
async fn a_long_list_is_whole_and_a_key_stands_in_it_once(place: &Place) {
    let hub = hub_with(place, sources()).await;
    let lines = |iss: &str, n: usize| {
        let all = (0..n).map(|i| json!({"jti": format!("t{i}"), "iss": iss, "ttl": 3600}).to_string() + "\n");
        all.collect::<String>()
    };
    for body in [lines("a", 10_000), lines("b", 5_000)] {
        send(&hub, "root", Method::POST, "/v1/revocations", &body, "application/x-ndjson").await.expect(200);
    }
    let list = get(&hub, "/v2/keys/jti/").await.expect(200).json();
    let nodes = list["node"]["nodes"].as_array().unwrap();
    let mut keys: Vec<_> = nodes.iter().map(|node| node["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    let all = keys.len();
    keys.dedup();
    assert_eq!((all, keys.len()), (10_000, 10_000));
    hub.stop().await;
}

both_stores!(e_1_as_the_sts_sends_it_e_2_and_e_5, delete_takes_back_and_who_may_what);
on_sqlite!(
    e_3_and_the_three_forms_of_4_3,
    keys_of_every_kind_and_their_ends,
    a_long_list_is_whole_and_a_key_stands_in_it_once,
);
