//! Who may do what: credentials, scopes, issuers, and that no secret is ever said aloud.

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{Basic, Bearer, Client, Config, Scope, Secret};
use serde_json::{Value, json};

use crate::harness::*;

fn bearer(name: &str, scopes: &[Scope], issuers: Option<&[&str]>) -> Client {
    Client {
        name: name.into(),
        scopes: scopes.to_vec(),
        issuers: issuers.map(|all| all.iter().map(|iss| (*iss).to_owned()).collect()),
        basic: None,
        bearer: Some(Bearer { token: Secret::new(format!("token-of-{name}")), token_file: None }),
        certificate: None,
        webhook: None,
        keep_opaque: None,
        max_token_lifetime: None,
    }
}

fn basic(name: &str, scopes: &[Scope]) -> Client {
    let password = Secret::new("pässword: with colon");
    Client {
        basic: Some(Basic { username: name.into(), password, password_file: None }),
        bearer: None,
        ..bearer(name, scopes, None)
    }
}

async fn start(place: &Place, clients: Vec<Client>) -> TestHub {
    TestHub::start(Config { clients, ..place.config() }, Clock::manual(NOW)).await
}

/// Asks as the client of this name (see [`bearer`]).
async fn ask(hub: &Api, name: &str, method: Method, path: &str, json: Option<&Value>) -> Answer {
    let request = hub.request(method, path).bearer_auth(format!("token-of-{name}"));
    hub.send(json.into_iter().fold(request, |request, json| request.json(json))).await.unwrap()
}

async fn post(hub: &Api, name: &str, json: &Value) -> Answer {
    ask(hub, name, Method::POST, "/v1/revocations", Some(json)).await
}

async fn each_scope_opens_what_it_names_and_nothing_else(place: &Place) {
    use Scope::{Admin, Lift, Publish, Read, Rules};
    let all = [("publish", Publish), ("read", Read), ("lift", Lift), ("rules", Rules), ("admin", Admin)];
    let mut clients: Vec<Client> = all.iter().map(|(name, scope)| bearer(name, &[*scope], None)).collect();
    clients.push(bearer("sts", &[Publish, Rules], None));
    clients.push(bearer("lifter", &[Lift, Rules], None));
    let hub = start(place, clients).await;
    let item = json!({"jti": "a"});
    let id = post(&hub, "sts", &item).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let rule = post(&hub, "sts", &json!({"sub": "u"})).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    let (one, wide) = (format!("/v1/revocations/{id}"), format!("/v1/revocations/{rule}"));
    for (name, _) in all {
        let answer = post(&hub, name, &item).await;
        assert_eq!(answer.status, if name == "publish" { 200 } else { 403 }, "{name}");
        for path in
            ["/v1/revocations", &one, "/v1/check?jti=a", "/internal/data/v1/revokedjwt", "/throttle/data/v1/revokedjwt"]
        {
            let answer = ask(&hub, name, Method::GET, path, None).await;
            assert_eq!(answer.status, if name == "read" { 200 } else { 403 }, "{name} {path}");
            if name != "read" {
                assert_eq!(answer.code(), "missing_scope");
                assert!(answer.json()["detail"].as_str().unwrap().contains("read"));
                assert_eq!(answer.header("www-authenticate"), None);
            }
        }
        let request = hub.request(Method::GET, "/v1/events").bearer_auth(format!("token-of-{name}"));
        let status = within("the head of the stream", request.send()).await.unwrap().status();
        assert_eq!(status, if name == "read" { 200 } else { 403 }, "{name}");
        let request = hub.request(Method::POST, "/v1/check").bearer_auth(format!("token-of-{name}"));
        let answer = hub.send(request.form(&[("token", "x")])).await.unwrap();
        assert_eq!(answer.status, if name == "read" { 200 } else { 403 }, "{name}");
        // What is wider than one token takes `rules`, to revoke as to lift.
        for json in [
            json!({"sub": "x"}),
            json!({"sid": "x"}),
            json!({"client_id": "x"}),
            json!({"kid": "x"}),
            json!({"iss": "x"}),
        ] {
            let answer = post(&hub, name, &json).await.expect(403);
            assert_eq!(answer.code(), "missing_scope", "{name} {json}");
        }
        assert_eq!(ask(&hub, name, Method::DELETE, &wide, None).await.expect(403).code(), "missing_scope", "{name}");
        if name != "lift" {
            assert_eq!(ask(&hub, name, Method::DELETE, &one, None).await.expect(403).code(), "missing_scope", "{name}");
        }
    }
    ask(&hub, "lift", Method::DELETE, &one, None).await.expect(200);
    ask(&hub, "lifter", Method::DELETE, &wide, None).await.expect(200);
    assert_eq!(ask(&hub, "read", Method::GET, "/v1/revocations", None).await.json()["revocations"], json!([]));
    hub.stop().await;
}

async fn wrong_credentials_are_challenged(place: &Place) {
    let reader = basic("gateway", &[Scope::Read]);
    let hub = start(place, vec![reader, bearer("sts", &[Scope::Publish], None)]).await;
    let list = || hub.request(Method::GET, "/v1/revocations");
    // Good ones; the scheme is not case-sensitive (RFC 9110 §11.1).
    hub.send(list().basic_auth("gateway", Some("pässword: with colon"))).await.unwrap().expect(200);
    hub.send(list().header("authorization", "bEaReR token-of-sts")).await.unwrap().expect(403);
    hub.send(list().header("authorization", "Bearer   token-of-sts ")).await.unwrap().expect(403);
    for wrong in [
        list(),
        list().basic_auth("gateway", Some("wrong-7Kq")),
        list().basic_auth("gateway", None::<&str>),
        list().basic_auth("Gateway", Some("pässword: with colon")),
        list().basic_auth("sts", Some("token-of-sts")),
        list().bearer_auth("token-of-sts-wrong-7Kq"),
        list().bearer_auth("token-of-st"),
        list().bearer_auth("gateway:pässword: with colon"),
        list().header("authorization", ""),
        list().header("authorization", "Basic"),
        list().header("authorization", "Basic %%%wrong-7Kq"),
        list().header("authorization", "token-of-sts"),
        list().header("authorization", "Digest token-of-sts"),
        list().header("authorization", "Negotiate wrong-7Kq"),
        list().query(&[("access_token", "token-of-sts")]),
    ] {
        let answer = hub.send(wrong).await.unwrap().expect(401);
        assert_eq!(answer.code(), "unauthorized");
        assert!(!answer.text().contains("7Kq") && !answer.text().contains("token-of"), "{}", answer.text());
        let challenges: Vec<&str> =
            answer.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect();
        let wanted = [r#"Basic realm="revocation-hub", charset="UTF-8""#, r#"Bearer realm="revocation-hub""#];
        assert_eq!(challenges, wanted);
    }
    for path in ["/v1/revocations/x", "/v1/check", "/v1/events", "/internal/data/v1/revokedjwt"] {
        hub.get(path).await.expect(401);
    }
    hub.post(&json!({"jti": "a"})).await.expect(401);
    hub.delete("/v1/revocations/x").await.expect(401);
    // Operating needs none, and says nothing of the list.
    for path in ["/livez", "/readyz", "/metrics", "/openapi.json", "/"] {
        hub.get(path).await.expect(200);
    }
    hub.get("/nothing").await.expect(404);
    hub.stop().await;
    // Only what is configured is offered.
    let hub = start(place, vec![bearer("sts", &[Scope::Publish], None)]).await;
    let answer = hub.get("/v1/revocations").await.expect(401);
    assert_eq!(answer.headers.get_all("www-authenticate").iter().count(), 1);
    assert_eq!(answer.header("www-authenticate"), Some(r#"Bearer realm="revocation-hub""#));
    hub.stop().await;
}

fn jwt(payload: &Value) -> String {
    use base64::Engine;
    let encode = |text: String| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", encode(json!({"alg": "x"}).to_string()), encode(payload.to_string()))
}

async fn a_client_of_one_issuer_speaks_of_that_one_only(place: &Place) {
    use Scope::{Lift, Publish, Read, Rules};
    let everything = [Publish, Rules, Lift, Read];
    let hub = start(
        place,
        vec![
            bearer("a", &everything, Some(&["https://a"])),
            bearer("tokens-of-a", &[Publish, Lift], Some(&["https://a"])),
            bearer("a-and-b", &everything, Some(&["https://a", "https://b"])),
            bearer("any", &everything, None),
        ],
    )
    .await;
    let read = async |answer: Answer| {
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        ask(&hub, "any", Method::GET, &format!("/v1/revocations/{id}"), None).await.expect(200).json()
    };
    // Its only issuer need not be named.
    for (json, kind) in [
        (json!({"jti": "1"}), "token"),
        (json!({"sid": "1"}), "session"),
        (json!({"sub": "1"}), "subject"),
        (json!({"client_id": "1"}), "client"),
        (json!({"kid": "1"}), "key"),
    ] {
        let one = read(post(&hub, "a", &json).await.expect(201)).await;
        assert_eq!((&one["kind"], &one["iss"], &one["source"]), (&json!(kind), &json!("https://a"), &json!("a")));
    }
    post(&hub, "a", &json!({"iss": "https://a"})).await.expect(201);
    assert_eq!(
        read(post(&hub, "a", &json!({"token": jwt(&json!({"jti": "2", "iss": "https://a"}))})).await).await["iss"],
        "https://a"
    );
    // A digest names one token and no issuer.
    assert_eq!(read(post(&hub, "a", &json!({"token": "opaque"})).await.expect(201)).await["iss"], Value::Null);
    post(&hub, "a", &json!({"token": jwt(&json!({"sub": "u"}))})).await.expect(201);
    for refused in [
        json!({"jti": "1", "iss": "https://b"}),
        json!({"jti": "1", "iss": "https://a/"}),
        json!({"sub": "1", "iss": "https://b"}),
        json!({"iss": "https://b"}),
        json!({"token": jwt(&json!({"jti": "1", "iss": "https://b"}))}),
        json!({"token": jwt(&json!({"sub": "1", "iss": "https://b"}))}),
        // A token that names no issuer would not be hit by a rule with one.
        json!({"token": jwt(&json!({"jti": "1"}))}),
    ] {
        let answer = post(&hub, "a", &json!([{"jti": "good"}, refused])).await.expect(403);
        assert_eq!((answer.code().as_str(), &answer.json()["index"]), ("issuer_not_allowed", &json!(1)), "{refused}");
    }
    // Bound to two: which one has to be said.
    assert_eq!(post(&hub, "a-and-b", &json!({"jti": "3"})).await.expect(403).code(), "issuer_not_allowed");
    post(&hub, "a-and-b", &json!({"jti": "3", "iss": "https://b"})).await.expect(201);
    // Wider than one token takes `rules`, whosever it is.
    assert_eq!(post(&hub, "tokens-of-a", &json!({"sub": "1"})).await.expect(403).code(), "missing_scope");
    // Lifting is bound as well.
    let lift = async |name: &str, json: &Value| {
        let id = post(&hub, "any", json).await.json()["id"].as_str().unwrap().to_owned();
        ask(&hub, name, Method::DELETE, &format!("/v1/revocations/{id}"), None).await
    };
    for other in
        [json!({"jti": "4", "iss": "https://b"}), json!({"jti": "4"}), json!({"iss": "https://b"}), json!({"sub": "4"})]
    {
        assert_eq!(lift("a", &other).await.expect(403).code(), "issuer_not_allowed", "{other}");
    }
    lift("a", &json!({"jti": "4", "iss": "https://a"})).await.expect(200);
    lift("a", &json!({"iss": "https://a"})).await.expect(200);
    lift("tokens-of-a", &json!({"jti": "5", "iss": "https://a"})).await.expect(200);
    let answer = lift("tokens-of-a", &json!({"sub": "5", "iss": "https://a"})).await.expect(403);
    assert_eq!(answer.code(), "missing_scope");
    hub.stop().await;
}

async fn a_clients_own_settings_count(place: &Place) {
    let longer = Client {
        webhook: None,
        keep_opaque: Some(true),
        max_token_lifetime: Some(std::time::Duration::from_secs(120)),
        ..bearer("own", &[Scope::Publish, Scope::Read], None)
    };
    let hub = start(place, vec![longer, bearer("other", &[Scope::Publish], None)]).await;
    post(&hub, "own", &json!({"token": "opaque-own"})).await.expect(201);
    post(&hub, "other", &json!({"token": "opaque-other"})).await.expect(201);
    let list = ask(&hub, "own", Method::GET, "/internal/data/v1/revokedjwt", None).await.expect(200).json();
    assert_eq!(list, json!([{"jwt_signature": "opaque-own", "expiry_time": (NOW + 120) * 1000}]));
    hub.stop().await;
}

async fn secrets_come_from_files_and_reach_no_log(place: &Place) {
    let file = |name: &str, text: &str| {
        let path = place.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let password = file("password", "pass-9Zt4\n");
    let token = file("token", "tok-5Rw8\n");
    let settings = format!(
        "[log]\nlevel = \"trace\"\n\
         [[clients]]\nname = \"gateway\"\nscopes = [\"read\"]\n\
         basic = {{ username = \"gw\", password_file = {password:?} }}\n\
         [[clients]]\nname = \"sts\"\nscopes = [\"publish\"]\nbearer = {{ token_file = {token:?} }}\n"
    );
    let mut hub = Process::launch(place, &settings, &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    let list = || hub.request(Method::GET, "/v1/revocations");
    let mut answers = vec![
        hub.send(list().basic_auth("gw", Some("pass-9Zt4"))).await.unwrap().expect(200),
        hub.send(list().bearer_auth("tok-5Rw8")).await.unwrap().expect(403),
        // The line break of the file is no part of the secret.
        hub.send(list().header("authorization", "Basic Z3c6cGFzcy05WnQ0Cg==")).await.unwrap().expect(401),
        hub.send(list().basic_auth("gw", Some("pass-9Zt4x"))).await.unwrap().expect(401),
        hub.send(list().bearer_auth("tok-5Rw8x")).await.unwrap().expect(401),
        hub.send(list().basic_auth("pass-9Zt4", Some("tok-5Rw8"))).await.unwrap().expect(401),
        hub.get("/metrics").await.expect(200),
        hub.get("/").await.expect(200),
    ];
    let request = hub.request(Method::POST, "/v1/revocations").bearer_auth("tok-5Rw8");
    answers.push(hub.send(request.json(&json!({"jti": "a"}))).await.unwrap().expect(201));
    answers.push(hub.send(list().basic_auth("gw", Some("pass-9Zt4"))).await.unwrap().expect(200));
    hub.terminate();
    assert!(hub.ended().await.success());
    let printed = hub.printed();
    assert!(printed.contains("listening"));
    for secret in ["9Zt4", "5Rw8", "Z3c6cGFzcy05WnQ0", "cGFzcy05WnQ0"] {
        assert!(!printed.contains(secret), "{printed}");
        for answer in &answers {
            assert!(!answer.text().contains(secret) && !format!("{:?}", answer.headers).contains(secret));
        }
    }
}

on_sqlite!(
    each_scope_opens_what_it_names_and_nothing_else,
    wrong_credentials_are_challenged,
    a_client_of_one_issuer_speaks_of_that_one_only,
    a_clients_own_settings_count,
    secrets_come_from_files_and_reach_no_log,
);
