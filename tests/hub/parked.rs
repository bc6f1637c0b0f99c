//! Sources, outlets and parked messages, as people see them: over HTTP and on the command line.

use std::process::{Command, Output};

use base64::Engine as _;
use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Bearer, Client, Config, Scope, Secret, Source};
use serde_json::{Value, json};

use crate::harness::*;

/// Parks messages beside the hub, in their order; hexadecimal bodies.
async fn park(place: &Place, source: &str, bodies: &[&[u8]]) {
    for body in bodies {
        let hex = hex::encode(body);
        let (digest, body) = match place.is_postgres() {
            true => (format!("decode('{:064x}', 'hex')", rand::random::<u128>()), format!("decode('{hex}', 'hex')")),
            false => (format!("x'{:064x}'", rand::random::<u128>()), format!("x'{hex}'")),
        };
        place
            .sql(&format!(
                "insert into parked (digest, source, reason, detail, content_type, body, received_at)
                 values ({digest}, '{source}', 'why', 'because', 'application/json', {body}, {NOW})"
            ))
            .await;
    }
}

fn source(toml: &str) -> Source {
    let text = format!("[[sources]]\n{toml}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    Config::load_from(Some(file.path()), [], Default::default()).unwrap().sources.remove(0)
}

async fn numbers(hub: &Api) -> Vec<u64> {
    let list = hub.get("/v1/parked").await.expect(200).json();
    list["parked"].as_array().unwrap().iter().map(|m| m["number"].as_u64().unwrap()).collect()
}

async fn replay(hub: &Api, number: u64) -> Answer {
    hub.send(hub.request(Method::POST, &format!("/v1/parked/{number}/replay"))).await.unwrap()
}

async fn parked_messages_can_be_seen_replayed_and_dropped(place: &Place) {
    let notify = source("name = \"km\"\nkind = \"wso2_notify\"\nrules = false\ndefault_issuer = \"https://km\"");
    let hub = TestHub::start(Config { sources: vec![notify], ..place.config() }, Clock::manual(NOW)).await;
    assert_eq!(hub.get("/v1/parked").await.expect(200).json(), json!({"parked": []}));
    let (good, rule, noise) = (br#"{"jti":"a"}"#, br#"[{"jti":"b"},{"sub":"u"}]"#, b"\xff\x00noise");
    park(place, "km", &[good, rule, noise]).await;
    park(place, "gone", &[rule, b"not json"]).await;

    // Page by page, without bodies.
    let first = hub.get("/v1/parked?limit=2").await.expect(200).json();
    let next = first["next"].as_u64().unwrap();
    assert!(first["parked"][0].get("body").is_none());
    let second = hub.get(&format!("/v1/parked?limit=3&after={next}")).await.expect(200).json();
    assert!(second.get("next").is_none(), "{second}");
    let all = numbers(&hub).await;
    let paged = first["parked"].as_array().unwrap().iter().chain(second["parked"].as_array().unwrap());
    assert!(paged.map(|m| m["number"].as_u64().unwrap()).eq(all.iter().copied()));
    for bad in ["limit=0", "limit=1001", "after=-1", "limit=x", "page=2"] {
        assert_eq!(hub.get(&format!("/v1/parked?{bad}")).await.expect(400).code(), "invalid_request", "{bad}");
    }
    let [good_at, rule_at, noise_at, gone_at, text_at] = all[..] else { panic!("{all:?}") };
    let one = hub.get(&format!("/v1/parked/{noise_at}")).await.expect(200);
    assert_eq!(one.header("cache-control"), Some("no-store"));
    let body = base64::engine::general_purpose::STANDARD.encode(noise);
    let expected = json!({
        "number": noise_at, "source": "km", "reason": "why", "detail": "because", "content_type": "application/json",
        "bytes": noise.len(), "received_at": NOW, "body": body,
    });
    assert_eq!(one.json(), expected);
    assert_eq!(hub.get(&format!("/v1/parked/{text_at}")).await.json()["text"], "not json");
    for nobody in ["0", "999999", "18446744073709551616", "x", "-1"] {
        for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/replay")] {
            let request = hub.request(method, &format!("/v1/parked/{nobody}{path}"));
            assert_eq!(hub.send(request).await.unwrap().expect(404).code(), "not_found", "{nobody}");
        }
    }
    until("they are counted", async || (hub.metric("parked_messages", "").await == 5.0).then_some(())).await;

    // Replayed with the source's settings and rights; what cannot be stays.
    let receipt = replay(&hub, good_at).await.expect(200);
    let json = receipt.json();
    assert_eq!((&json["number"], &json["revoked"], &json["unchanged"]), (&json!(good_at), &json!(1), &json!(0)));
    assert_eq!(receipt.header("revocation-cursor"), json["cursor"].as_str());
    let live = hub.snapshot().await.map;
    let revoked = live.values().next().unwrap();
    assert_eq!((&revoked["source"], &revoked["iss"]), (&json!("km"), &json!("https://km")));
    replay(&hub, good_at).await.expect(404);
    for (number, why) in [(rule_at, "missing_scope: "), (noise_at, ": "), (text_at, ": ")] {
        let answer = replay(&hub, number).await.expect(422);
        assert_eq!(answer.code(), "still_unreadable");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(why) && !detail.contains("noise"), "{detail}");
    }
    assert_eq!(hub.snapshot().await.map.len(), 1, "nothing of a refused message is stored");
    // The same message of a source that is gone: the caller may do everything here.
    assert_eq!(replay(&hub, gone_at).await.expect(200).json()["revoked"], 2);
    assert_eq!(numbers(&hub).await, [rule_at, noise_at, text_at]);
    assert_eq!(hub.metric("parked_messages", "").await, 3.0);
    let dropped = hub.delete(&format!("/v1/parked/{noise_at}")).await.expect(200).json();
    assert_eq!(dropped, json!({"number": noise_at, "status": "dropped"}));
    hub.delete(&format!("/v1/parked/{noise_at}")).await.expect(404);
    assert_eq!(numbers(&hub).await, [rule_at, text_at]);
    hub.stop().await;
}

async fn parked_messages_are_for_admins_and_links_for_readers(place: &Place) {
    let client = |name: &str, scopes: &[Scope]| Client {
        name: name.into(),
        scopes: scopes.to_vec(),
        issuers: None,
        basic: None,
        bearer: Some(Bearer { token: Secret::new(format!("token-of-{name}")), token_file: None }),
        certificate: None,
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    };
    use Scope::{Admin, Lift, Publish, Read, Rules};
    let clients = vec![
        client("admin", &[Admin]),
        client("others", &[Publish, Read, Lift, Rules]),
        client("both", &[Admin, Publish]),
    ];
    let hub = TestHub::start(Config { clients, ..place.config() }, Clock::manual(NOW)).await;
    park(place, "gone", &[br#"{"jti":"a"}"#, br#"{"sub":"u"}"#]).await;
    let ask = async |name: &str, method: Method, path: &str| {
        hub.send(hub.request(method, path).bearer_auth(format!("token-of-{name}"))).await.unwrap()
    };
    let list = ask("admin", Method::GET, "/v1/parked").await.expect(200).json();
    let [token, rule] = [0, 1].map(|i| format!("/v1/parked/{}", list["parked"][i]["number"]));
    for (method, path) in [
        (Method::GET, "/v1/parked".to_owned()),
        (Method::GET, token.clone()),
        (Method::DELETE, token.clone()),
        (Method::POST, format!("{token}/replay")),
    ] {
        assert_eq!(ask("others", method.clone(), &path).await.expect(403).code(), "missing_scope", "{path}");
        hub.send(hub.request(method, &path)).await.unwrap().expect(401);
    }
    for path in ["/v1/sources", "/v1/outlets"] {
        ask("others", Method::GET, path).await.expect(200);
        ask("admin", Method::GET, path).await.expect(403);
        hub.get(path).await.expect(401);
    }
    // Without a source it is the caller who revokes, and may do only what the caller may.
    ask("admin", Method::POST, &format!("{token}/replay")).await.expect(403);
    ask("both", Method::POST, &format!("{token}/replay")).await.expect(200);
    assert_eq!(ask("both", Method::POST, &format!("{rule}/replay")).await.expect(422).code(), "still_unreadable");
    ask("admin", Method::DELETE, &rule).await.expect(200);
    hub.stop().await;
}

/// The client commands against a hub of this process.
fn run(hub: &Api, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_revocation-hub");
    tokio::task::block_in_place(|| Command::new(program).args(arguments).args(["--url", hub.url()]).output().unwrap())
}

fn printed(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

async fn the_commands_show_and_do_the_same(place: &Place) {
    let dead = "url = \"amqp://u:s3cret@127.0.0.1:9\"";
    let km = source("name = \"km\"\nkind = \"wso2_notify\"");
    let broker = source(&format!("name = \"broker\"\nkind = \"amqp\"\n{dead}"));
    let hub = TestHub::start(Config { sources: vec![km, broker], ..place.config() }, Clock::manual(NOW)).await;
    until("the broker is found dead", async || {
        let sources = hub.get("/v1/sources").await.expect(200).json();
        assert!(!sources.to_string().contains("s3cret"), "{sources}");
        assert_eq!(
            (&sources["sources"][0]["name"], &sources["sources"][0]["state"]),
            (&json!("km"), &json!("serving"))
        );
        (sources["sources"][1]["failures"].as_u64()? > 0).then_some(())
    })
    .await;
    let (code, out, _) = printed(&run(&hub, &["source", "list"]));
    let lines: Vec<&str> = out.lines().collect();
    assert!(code == 0 && lines.len() == 3 && lines[0].starts_with("NAME"), "{out}");
    assert!(lines[1].starts_with("km      wso2_notify  serving") && lines[2].starts_with("broker  amqp"), "{out}");
    let (code, out, _) = printed(&run(&hub, &["source", "list", "--json"]));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["sources"][1]["kind"]), (0, &json!("amqp")));
    let (code, out, err) = printed(&run(&hub, &["outlet", "list"]));
    assert!(code == 0 && out.is_empty() && err.contains("[[outlets]]"), "{out}{err}");

    let (code, out, err) = printed(&run(&hub, &["parked", "list"]));
    assert_eq!((code, &*out, &*err), (0, "", "0 messages are parked\n"));
    park(place, "km", &[br#"{"jti":"a"}"#, b"\x1b[2Jnoise\nmore", b"\xff\x00"]).await;
    let [good, text, bytes] = numbers(&hub).await.try_into().unwrap();
    let (_, out, err) = printed(&run(&hub, &["parked", "list"]));
    assert!(out.lines().count() == 4 && err.contains("3 messages"), "{out}{err}");
    let (_, out, _) = printed(&run(&hub, &["parked", "list", "--json"]));
    let listed: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(listed.len(), 3);
    let (_, out, _) = printed(&run(&hub, &["parked", "show", &text.to_string()]));
    assert!(out.ends_with("\n\n\\u{1b}[2Jnoise\nmore\n"), "{out}");
    let (_, out, _) = printed(&run(&hub, &["parked", "show", &bytes.to_string()]));
    assert!(out.contains("00000000  ff 00"), "{out}");
    assert_eq!(run(&hub, &["parked", "show", &bytes.to_string(), "--raw"]).stdout, b"\xff\0");
    assert_eq!(printed(&run(&hub, &["parked", "show", "999"])).0, 1);

    // What could not be done is said, the rest is done, and the exit code tells.
    let (code, out, err) = printed(&run(&hub, &["parked", "replay", "--all"]));
    assert_eq!((code, out), (1, format!("replayed {good}: 1 revoked\n")));
    assert!(err.contains(&format!("{text} stays")) && err.contains("2 of 3 not replayed"), "{err}");
    let (code, out, err) = printed(&run(&hub, &["parked", "drop", &text.to_string(), "999"]));
    assert_eq!((code, out), (1, format!("dropped {text}\n")), "{err}");
    let (code, out, _) = printed(&run(&hub, &["parked", "drop", "--all", "--json"]));
    assert_eq!(code, 0);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), json!({"number": bytes, "status": "dropped"}));
    assert_eq!(numbers(&hub).await, Vec::<u64>::new());
    let away = run(&Api::new("127.0.0.1:9".parse().unwrap()), &["parked", "list"]);
    assert_eq!(away.status.code(), Some(69));
    hub.stop().await;
}

both_stores!(parked_messages_can_be_seen_replayed_and_dropped);
on_sqlite!(parked_messages_are_for_admins_and_links_for_readers, the_commands_show_and_do_the_same);
