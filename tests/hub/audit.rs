//! The audit: whoever changes something leaves a record, and nothing of a token is in it.

use std::process::Command;

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Bearer, Client, Config, Scope, Secret, Source};
use serde_json::{Value, json};

use crate::harness::*;

fn client(name: &str, scopes: &[Scope]) -> Client {
    Client {
        name: name.into(),
        scopes: scopes.to_vec(),
        issuers: None,
        basic: None,
        bearer: Some(Bearer { token: Secret::new(format!("token-of-{name}")), token_file: None }),
        certificate: None,
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    }
}

fn clients() -> Vec<Client> {
    use Scope::{Admin, Lift, Publish, Read, Rules};
    vec![client("sts", &[Publish, Rules, Read]), client("ops", &[Admin, Lift]), client("reader", &[Read])]
}

async fn ask(hub: &Api, name: &str, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = hub.request(method, path).bearer_auth(format!("token-of-{name}"));
    let request = request.header("x-request-id", "trace\u{9}7").header("x-forwarded-for", "203.0.113.9");
    hub.send(body.iter().fold(request, |request, body| request.json(body))).await.unwrap()
}

/// All records that a query finds, page by page.
async fn records(hub: &Api, query: &str) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = ask(hub, "ops", Method::GET, &format!("/v1/audit?{query}{after}"), None).await.expect(200).json();
        all.extend(page["records"].as_array().unwrap().iter().cloned());
        let Some(next) = page["next"].as_str() else { return all };
        after = format!("&after={next}");
    }
}

async fn who_did_what_from_where_and_through_which_source(place: &Place) {
    let source: Source = serde_json::from_value(json!({"name": "km", "kind": "activemq_rest"})).unwrap();
    let config = Config { clients: clients(), sources: vec![source], ..place.config() };
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let post = async |body| ask(&hub, "sts", Method::POST, "/v1/revocations", Some(body)).await;
    let token = post(json!({"jti": "a", "iss": "https://sts"})).await.expect(201).json();
    post(json!({"jti": "a", "iss": "https://sts"})).await.expect(200);
    post(json!({"jti": ""})).await.expect(422);
    post(json!({"token": "an-opaque-token"})).await.expect(201);
    post(json!([{"sub": "alice", "ttl": 60}, {"jti": "a", "iss": "https://sts"}, {"sid": "s"}])).await.expect(200);
    let many: Vec<Value> = (0..3000).map(|n| json!({"jti": format!("m{n}"), "iss": "https://sts"})).collect();
    post(many.into()).await.expect(200);
    let message = json!({"revokedToken": "0bca8b7a-3f3d-4d21-9c2c-7b5b6a1f8e11"});
    ask(&hub, "sts", Method::POST, "/api/message/tokenRevocation", Some(message)).await.expect(200);
    let id = token["id"].as_str().unwrap();
    ask(&hub, "ops", Method::DELETE, &format!("/v1/revocations/{id}"), None).await.expect(200);
    ask(&hub, "ops", Method::DELETE, &format!("/v1/revocations/{id}"), None).await.expect(404);

    let all = records(&hub, "order=oldest&limit=2").await;
    let short: Vec<_> =
        all.iter().map(|r| [&r["action"], &r["client"], &r["source"], &r["count"], &r["unchanged"]]).collect();
    assert_eq!(
        json!(short),
        json!([
            ["revoke", "sts", "sts", 1, 0],
            ["revoke", "sts", "sts", 1, 0],
            ["revoke", "sts", "sts", 2, 1],
            ["revoke", "sts", "sts", 3000, 0],
            ["revoke", "sts", "km", 1, 0],
            ["lift", "ops", "ops", 1, 0],
        ]),
        "repeats and what is refused leave none"
    );
    for record in &all {
        assert_eq!((&record["address"], &record["cause"]), (&json!("127.0.0.1"), &json!("request")));
        assert_eq!(record["forwarded_for"], "203.0.113.9");
        assert_eq!(record["request_id"], "trace\u{fffd}7");
        assert_eq!(record["at"], json!(NOW as f64));
    }
    assert_eq!(all[0]["targets"], json!([{"id": id, "kind": "token", "iss": "https://sts"}]), "lifted, so no name");
    assert_eq!((&all[0]["first_seq"], &all[0]["last_seq"]), (&json!(1), &json!(1)));
    assert_eq!(all[2]["targets"][0]["sub"], "alice");
    assert_eq!(all[2]["targets"][1]["sid"], "s");
    assert!(all[3].get("targets").is_none() && all[3].get("ids").is_none());
    assert_eq!((&all[3]["first_seq"], &all[3]["last_seq"]), (&json!(5), &json!(3004)));
    assert_eq!(all[4]["targets"][0]["jti"], "0bca8b7a-3f3d-4d21-9c2c-7b5b6a1f8e11", "as long as it is revoked");
    let mut newest = records(&hub, "limit=4").await;
    newest.reverse();
    assert_eq!(newest, all);
    assert!(!json!(all).to_string().contains("opaque"));
    let whole = "select count(*) from audit where detail like '%opaque%' or detail like '%0bca8b7a%'";
    assert_eq!(place.number(whole).await, 0, "no single token by name");

    // By whom, by which way, about what.
    let numbers = |found: Vec<Value>| found.into_iter().map(|r| r["number"].clone()).collect::<Vec<_>>();
    let at = |places: &[usize]| places.iter().map(|i| all[*i]["number"].clone()).collect::<Vec<_>>();
    for (query, places) in [
        ("client=ops", &[5][..]),
        ("client=nobody", &[]),
        ("source=km", &[4]),
        ("action=lift", &[5]),
        ("jti=a", &[5, 0]),
        ("jti=a&iss=https://sts", &[5, 0]),
        ("jti=a&iss=https://other", &[]),
        ("jti=m2999", &[3]),
        ("jti=m2999&iss=https://sts", &[3]),
        ("jti=m3000", &[]),
        ("sub=alice", &[2]),
        ("sid=s&client=sts", &[2]),
        (&format!("target={id}"), &[5, 0]),
        (&format!("since={NOW}&until={}", NOW + 1), &[5, 4, 3, 2, 1, 0]),
        (&format!("until={NOW}"), &[]),
        (&format!("since={}", NOW + 1), &[]),
    ] {
        assert_eq!(numbers(records(&hub, query).await), at(places), "{query}");
    }
    let ids = records(&hub, "jti=m7&ids=true").await.remove(0);
    assert_eq!(ids["ids"].as_array().unwrap().len(), 3000);
    for bad in [
        "limit=0",
        "limit=1001",
        "limit=11&ids=true",
        "order=up",
        "action=x",
        "after=7",
        "target=x",
        "jti=a&sub=b",
        "target=17ff4c81ed84eb9298bd115737bd8202&jti=a",
        "since=x",
        "page=2",
    ] {
        let answer = ask(&hub, "ops", Method::GET, &format!("/v1/audit?{bad}"), None).await;
        assert_eq!(answer.expect(400).code(), "invalid_request", "{bad}");
    }
    let request = hub.request(Method::GET, "/v1/audit?limit=2").bearer_auth("token-of-ops");
    let lines = hub.send(request.header("accept", "application/x-ndjson")).await.unwrap().expect(200);
    assert_eq!(lines.text().lines().count(), 2);
    let next = lines.header("audit-next").unwrap();
    assert_eq!(records(&hub, &format!("after={next}")).await.len(), 4);

    // For admins only.
    for name in ["sts", "reader"] {
        assert_eq!(ask(&hub, name, Method::GET, "/v1/audit", None).await.expect(403).code(), "missing_scope");
    }
    hub.get("/v1/audit").await.expect(401);
    // And as people ask.
    let file = place.folder.path().join("token");
    std::fs::write(&file, "token-of-ops").unwrap();
    let audit = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
        command.args(["audit", "--url", hub.url(), "--bearer-file", file.to_str().unwrap()]).args(arguments);
        let done = command.output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    };
    let said = audit(&["--jti", "a"]);
    assert!(said.contains("lift  token") && said.contains("by ops  through ops  from 127.0.0.1"), "{said}");
    assert_eq!(audit(&["--json", "--limit", "3"]).lines().count(), 3);
    hub.stop().await;
}

/// Records outlive what they are about, and not longer than they are to.
async fn records_are_kept_as_long_as_they_are_to_be(place: &Place) {
    let mut config = place.config();
    config.audit.retention = std::time::Duration::from_secs(7 * 24 * 3600);
    config.store.prune_batch = 2;
    let clock = Clock::manual(NOW);
    let hub = TestHub::start(config, clock.clone()).await;
    for n in 0..5 {
        hub.revoke(&json!({"jti": format!("old{n}"), "ttl": 10})).await;
    }
    clock.advance(3 * 24 * 3600);
    hub.revoke(&json!({"jti": "young", "ttl": 10})).await;
    until("the log is pruned", async || (place.rows().await <= 1).then_some(())).await;
    let found = hub.get("/v1/audit?jti=old3").await.expect(200).json();
    assert_eq!(found["records"].as_array().unwrap().len(), 1, "who revoked it is known when it is gone");
    clock.advance(4 * 24 * 3600 + 1);
    until("old records go", async || (place.number("select count(*) from audit").await == 1).then_some(())).await;
    let left = hub.get("/v1/audit").await.expect(200).json();
    assert_eq!(left["records"][0]["at"], json!((NOW + 3 * 24 * 3600) as f64));
    until("they are counted", async || (hub.metric("audit_pruned_total", "").await == 5.0).then_some(())).await;
    assert!(hub.metric("audit_prune_last_success_timestamp_seconds", "").await >= (NOW + 7 * 24 * 3600) as f64);
    hub.stop().await;
}

/// What nobody asked for has its record, too.
async fn new_epochs_imports_and_what_is_put_back(place: &Place) {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_revocation-hub")).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let hub = place.hub().await;
    let far = NOW + 1_000_000_000;
    hub.revoke(&json!({"jti": "a", "exp": far})).await;
    hub.revoke(&json!({"jti": "b", "exp": far})).await;
    let file = place.folder.path().join("log.ndjson");
    let path = file.to_str().unwrap();
    run(&["export", "--database-url", &place.url, "--output", path]);
    // The log loses one, and its head; the hub notices.
    let lost = "delete from revocation where seq = 2; update log set head = 1";
    if place.is_postgres() {
        place.sql(lost).await;
        until("it is put back", async || {
            let found = hub.get("/v1/audit").await.expect(200).json();
            (found["records"][0]["cause"] == "put_back").then_some(())
        })
        .await;
        let found = hub.get("/v1/audit").await.json();
        let put_back = &found["records"][0];
        assert_eq!((&put_back["source"], &put_back["targets"][0]["jti"]), (&json!("hub"), &json!("b")));
        let renewed = &found["records"][1];
        assert_eq!((&renewed["action"], &renewed["cause"]), (&json!("renew_epoch"), &json!("shrunk")));
        assert_eq!(renewed["epoch"], hub.snapshot().await.cursor.epoch.as_str());
        assert_eq!(hub.metric("epoch_renewals_total", "reason=\"shrunk\"").await, 1.0);
        hub.stop().await;
    } else {
        // One hub has the file and never loses sight of it; what it finds at its start is another matter.
        hub.stop().await;
        place.sql(lost).await;
        let hub = place.hub().await;
        let found = hub.get("/v1/audit?action=renew_epoch").await.expect(200).json();
        assert_eq!(found["records"][0]["cause"], "shrunk");
        hub.stop().await;
    }
    run(&["epoch", "renew", "--database-url", &place.url]);
    place.sql("delete from revocation").await;
    run(&["import", "--database-url", &place.url, path]);
    let hub = place.hub().await;
    // The commands have the system's clock and the test another one, so the order says nothing.
    let all = hub.get("/v1/audit").await.expect(200).json().to_string();
    for cause in ["by_hand", "import"] {
        assert!(all.contains(cause), "{cause}: {all}");
    }
    let imports = hub.get("/v1/audit?action=revoke&source=hub").await.json();
    let import = imports["records"].as_array().unwrap().iter().find(|r| r["cause"] == "import").unwrap().clone();
    assert!(import["client"].as_str().unwrap().contains('@'), "{import}");
    assert_eq!(import["count"], 2);
    hub.stop().await;
}

both_stores!(
    who_did_what_from_where_and_through_which_source,
    records_are_kept_as_long_as_they_are_to_be,
    new_epochs_imports_and_what_is_put_back,
);
