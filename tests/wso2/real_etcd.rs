//! The façade beside a real etcd 3.4: the same requests, the same answers but for positions and times; and etcd's own
//! client against the façade.

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::*;
use crate::setup::*;

fn etcd_url() -> String {
    std::env::var("TEST_ETCD_URL").unwrap_or_else(|_| panic!("TEST_ETCD_URL is not set: run ./scripts/test"))
}

/// Takes positions and times out of the way, in the order in which the text has them.
fn without_times(text: &str) -> String {
    let mut out = text.to_owned();
    for (member, quoted) in
        [("modifiedIndex", false), ("createdIndex", false), ("index", false), ("ttl", false), ("expiration", true)]
    {
        let name = format!("\"{member}\":");
        let parts: Vec<_> = out.split(&name).map(str::to_owned).collect();
        let mut rest = parts.into_iter();
        let mut joined = rest.next().unwrap();
        for part in rest {
            let end = if quoted { part[1..].find('"').unwrap() + 2 } else { part.find([',', '}']).unwrap() };
            joined += &format!("{name}_{}", &part[end..]);
        }
        out = joined;
    }
    out
}

async fn the_same_answers_as_etcd(place: &Place) {
    // A directory of our own, because the tests share the server.
    let dir = format!("d{:016x}", rand::random::<u64>());
    let hub = hub_with(place, vec![json!({"name": "keys", "kind": "etcd", "directory": dir, "untyped": "jti"})]).await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln";
    let put = |key: &str, form: &str| (Method::PUT, format!("/{key}"), form.to_owned());
    let plain = |method: Method, path: &str| (method, path.to_owned(), String::new());
    let steps = [
        put(J, "value=true&ttl=3600"),
        put(J, "value=true&ttl=5000"),
        plain(Method::GET, &format!("/{J}")),
        plain(Method::GET, ""),
        plain(Method::GET, "/"),
        plain(Method::GET, "?quorum=false&recursive=false&sorted=true"),
        put("with-time", "value=true&ttl=3600&expiryTime=4102444800000"),
        put(jwt, "value=true&ttl=5000"),
        plain(Method::GET, &format!("/{jwt}")),
        plain(Method::DELETE, &format!("/{jwt}")),
        put("bad", "value=true&ttl=abc"),
        put("bad", "value=true&ttl=-1"),
        put("bad", "value=true&ttl=1.5"),
        put("bad", "value=true&ttl=+5"),
        plain(Method::GET, "/bad"),
        plain(Method::DELETE, "/bad"),
        plain(Method::DELETE, "/with-time"),
        plain(Method::GET, "/with-time"),
        put("a-b_c.d~e", "value=true&ttl=60&consumer_key="),
        plain(Method::DELETE, "/a-b_c.d~e"),
        plain(Method::GET, "/"),
        plain(Method::HEAD, &format!("/{J}")),
    ];
    for (method, path, form) in steps {
        let mut answers = Vec::new();
        for base in [hub.url().to_owned(), etcd_url()] {
            let request = http.request(method.clone(), format!("{base}/v2/keys/{dir}{path}"));
            let request = request.basic_auth("root", Some("root")).header("content-type", FORM).body(form.clone());
            let response = within("an answer", request.send()).await.unwrap();
            let status = response.status().as_u16();
            let mut names: Vec<_> =
                response.headers().keys().map(|n| n.as_str().to_owned()).filter(|n| n.starts_with("x-")).collect();
            names.sort();
            let content_type = response.headers()["content-type"].clone();
            answers.push((status, content_type, names, without_times(&response.text().await.unwrap())));
        }
        assert_eq!(answers[0], answers[1], "{method} {path} {form}");
    }
    hub.stop().await;
}

async fn etcds_own_client(place: &Place) {
    let hub = hub_with(place, vec![json!({"name": "keys", "kind": "etcd"})]).await;
    let etcdctl = async |user: &str, arguments: &[&str]| {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "2").args(["--no-sync", "--endpoints", hub.url(), "-u", user]).args(arguments);
        let output = within("etcdctl ends", command.output()).await.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let key = format!("/jti/{J}");
    assert_eq!(etcdctl("root:root", &["set", &key, "true", "--ttl", "3600"]).await.1, "true");
    assert_eq!(live(&hub).await, [(format!("token {J}"), Some(NOW + 3600))]);
    assert_eq!(etcdctl("root:root", &["get", &key]).await.1, "true");
    assert_eq!(etcdctl("root:root", &["ls", "/jti"]).await.1, key);
    assert_eq!(etcdctl("reader:reader", &["ls", "/jti"]).await.1, key);
    let (done, _, error) = etcdctl("root:wrong", &["get", &key]).await;
    assert!(!done && !error.is_empty(), "{error}");
    let (done, _, _) = etcdctl("reader:reader", &["rm", &key]).await;
    assert!(!done && names(&hub).await.len() == 1);
    let (done, text, error) = etcdctl("root:root", &["rm", &key]).await;
    assert!(done, "{text} {error}");
    assert_eq!(names(&hub).await, [""; 0]);
    let (done, _, error) = etcdctl("root:root", &["get", &key]).await;
    assert!(!done && error.contains("100") && error.contains("Key not found"), "{error}");
    assert_eq!(etcdctl("root:root", &["ls", "/jti"]).await, (true, String::new(), String::new()));
    let list: Value = get(&hub, "/v2/keys/jti").await.json();
    assert_eq!(list["node"]["nodes"], json!([]));
    hub.stop().await;
}

on_sqlite!(the_same_answers_as_etcd, etcds_own_client);
