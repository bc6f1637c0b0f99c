//! Input that nobody should send: each gets its documented answer, and the hub lives.

use std::time::Duration;

use reqwest::Method;
use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use serde_json::{Value, json};

use crate::harness::*;
use crate::raw::{Raw, RawAnswer, exchange};

const MAX_BODY: usize = 200_000;

/// A hub that takes small bodies only.
async fn tight(place: &Place) -> TestHub {
    let mut config = place.config();
    config.limits.max_body_bytes = MAX_BODY;
    TestHub::start(config, Clock::manual(NOW)).await
}

/// A hub that does not wait long. It also closes idle connections so soon that a client which keeps some has to be quick.
async fn impatient(place: &Place) -> TestHub {
    let mut config = place.config();
    config.limits.header_timeout = Duration::from_millis(500);
    config.limits.body_timeout = Duration::from_millis(500);
    TestHub::start(config, Clock::manual(NOW)).await
}

/// The hub still does its work.
async fn lives(hub: &Api) {
    let id = hub.revoke(&json!({"jti": "still there", "ttl": 60})).await;
    assert_eq!(hub.get("/v1/check?jti=still+there").await.expect(200).json()["by"]["id"], id);
    hub.lift(&id).await;
}

fn head(more: &str) -> String {
    format!("POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n{more}\r\n")
}

/// Posts a JSON body of any bytes.
async fn post(hub: &Api, body: impl AsRef<[u8]>) -> RawAnswer {
    let body = body.as_ref();
    let mut request = head(&format!("Content-Length: {}\r\n", body.len())).into_bytes();
    request.extend_from_slice(body);
    exchange(hub, request).await
}

fn is(answer: &RawAnswer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code().as_str()), (status, code), "{}", answer.text());
}

async fn bodies_that_are_too_large(place: &Place) {
    let hub = tight(place).await;
    // Announced: refused without reading it.
    for length in ["200001", "99999999999", "9223372036854775807"] {
        let answer = exchange(&hub, head(&format!("Content-Length: {length}\r\n"))).await;
        is(&answer, 413, "body_too_large");
    }
    // Not announced: as soon as it has become too large.
    let chunk = format!("{:x}\r\n{}\r\n", 50_000, "x".repeat(50_000));
    let mut raw = Raw::connect(&hub).await;
    raw.send(head("Transfer-Encoding: chunked\r\n")).await;
    for _ in 0..5 {
        raw.send(&chunk).await;
    }
    is(&raw.answer().await.unwrap(), 413, "body_too_large");
    let answer = post(&hub, format!("{{\"jti\":\"a\"}}{}", " ".repeat(MAX_BODY - 11))).await;
    assert_eq!(answer.status, 201, "just small enough");
    let form = "POST /v1/check HTTP/1.1\r\nHost: hub\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    is(&exchange(&hub, format!("{form}Content-Length: 200001\r\n\r\n")).await, 413, "body_too_large");
    lives(&hub).await;
    hub.stop().await;
}

async fn json_that_is_deep_or_is_none(place: &Place) {
    let hub = tight(place).await;
    let deep = |open: &str, close: &str| open.repeat(15_000) + "1" + &close.repeat(15_000);
    for (body, status, code) in [
        (deep("[", "]"), 422, "invalid_item"),
        (deep("{\"a\":", "}"), 422, "invalid_item"),
        (deep("{\"jti\":", "}"), 422, "invalid_item"),
        (format!("{{\"jti\":\"a\",\"reason\":{}}}", deep("[", "]")), 422, "invalid_item"),
        ("[".repeat(100_000), 400, "invalid_json"),
        ("{\"jti\":".repeat(20_000), 422, "invalid_item"),
        ("\u{feff}{\"jti\":\"a\"}".into(), 400, "invalid_json"),
        ("{\"jti\":\"a\"}\0".into(), 400, "invalid_json"),
        ("{'jti':'a'}".into(), 400, "invalid_json"),
        ("{\"jti\":\"a\",}".into(), 400, "invalid_json"),
        ("{\"jti\":NaN}".into(), 400, "invalid_json"),
        ("{\"jti\":\"a\" /* x */}".into(), 400, "invalid_json"),
    ] {
        let answer = post(&hub, &body).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{:.60}: {}", body, answer.text());
    }
    for bad in [
        &b"{\"jti\":\"\xff\"}"[..],
        b"[{\"jti\":\"\xc3\x28\"}]",
        b"{\"\xed\xa0\x80\":1}",
        b"\xff\xfe{\0}\0",
        b"{\"jti\":\"\xf5\x80\x80\x80\"}",
    ] {
        is(&post(&hub, bad).await, 400, "invalid_json");
    }
    lives(&hub).await;
    assert_eq!(hub.snapshot().await.map.len(), 0);
    hub.stop().await;
}

async fn wrong_types_are_named_and_never_quoted(place: &Place) {
    let hub = tight(place).await;
    let texts = ["jti", "sha256", "token", "sid", "sub", "client_id", "kid", "iss", "reason"];
    let times = ["exp", "ttl", "issued_before"];
    for member in texts.into_iter().chain(times) {
        let mut wrong = vec![json!(true), json!(["secret-7Qx"]), json!({"secret-7Qx": 1}), json!(1.5)];
        match times.contains(&member) {
            true => wrong.extend([json!("secret-7Qx"), json!("5"), json!("x, expected secret-7Qx")]),
            false => wrong.extend([json!(5), json!(-5)]),
        }
        for value in wrong {
            let mut item = json!({"sub": "u"});
            item[member] = value;
            for body in [item.to_string(), format!("[{item}]")] {
                let answer = post(&hub, &body).await;
                is(&answer, 422, "invalid_item");
                assert!(!answer.text().contains("secret"), "{}", answer.text());
            }
        }
    }
    for (body, status, code) in [
        (r#"{"jti":"a","jti":"b"}"#, 422, "invalid_item"),
        (r#"{"jti":"a","jti":"a"}"#, 422, "invalid_item"),
        (r#"{"jti":"a","exp":1900000000,"exp":1900000000}"#, 422, "invalid_item"),
        (r#"{"jti":"a","j\u0074i":"b"}"#, 422, "invalid_item"),
        (r#"{"jti":"a","JTI":"b"}"#, 422, "invalid_item"),
        (r#"[["a",null,null,null,null,null,null,null,null,null,null,null]]"#, 422, "invalid_item"),
    ] {
        is(&post(&hub, body).await, status, code);
    }
    lives(&hub).await;
    hub.stop().await;
}

async fn times_of_every_kind(place: &Place) {
    let hub = tight(place).await;
    for (exp, status, code) in [
        ("1900000000000", 422, "looks_like_milliseconds"),
        ("1900000000000000", 422, "looks_like_milliseconds"),
        ("9223372036854775807", 422, "looks_like_milliseconds"),
        ("-1", 422, "invalid_time"),
        ("-9223372036854775808", 422, "invalid_time"),
        ("1900000000.5", 422, "invalid_item"),
        ("1.9e9", 422, "invalid_item"),
        ("-0.0", 422, "invalid_item"),
        ("9223372036854775808", 422, "invalid_item"),
        ("18446744073709551616", 422, "invalid_item"),
        ("1e400", 400, "invalid_json"),
        ("\"1900000000\"", 422, "invalid_item"),
        ("true", 422, "invalid_item"),
        ("[]", 422, "invalid_item"),
        ("01900000000", 400, "invalid_json"),
        ("+1900000000", 400, "invalid_json"),
        ("0x10", 400, "invalid_json"),
        ("Infinity", 400, "invalid_json"),
        ("", 400, "invalid_json"),
    ] {
        for member in ["exp", "ttl", "issued_before"] {
            let answer = post(&hub, format!("{{\"sub\":\"a\",\"{member}\":{exp}}}")).await;
            assert_eq!((answer.status, answer.code().as_str()), (status, code), "{member} {exp}");
        }
    }
    // Within a raw token; a claim that is no number makes it no token.
    let token = |exp: &str| {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(r#"{"alg":"x"}"#), encode(&format!(r#"{{"jti":"a","exp":{exp}}}"#)))
    };
    for (exp, status, code) in [
        ("1900000000000", 422, "looks_like_milliseconds"),
        ("1e300", 422, "looks_like_milliseconds"),
        ("-1e300", 422, "invalid_time"),
        ("-0.5", 200, ""),
        ("1e400", 422, "malformed_token"),
        ("\"1900000000\"", 422, "malformed_token"),
        ("1.9e9", 201, ""),
        ("null", 200, ""),
    ] {
        let answer = post(&hub, json!({"token": token(exp)}).to_string()).await;
        assert_eq!(answer.status, status, "{exp} {}", answer.text());
        assert!(code.is_empty() || answer.code() == code, "{exp}");
    }
    assert_eq!(post(&hub, r#"{"jti":"none","exp":null}"#).await.status, 201, "absent");
    assert_eq!(post(&hub, r#"{"jti":"zero","exp":0}"#).await.status, 200, "long over");
    assert_eq!(post(&hub, r#"{"jti":"zero","exp":-0}"#).await.status, 422, "a float to serde_json");
    lives(&hub).await;
    hub.stop().await;
}

async fn control_characters_reach_no_frame(place: &Place) {
    let hub = tight(place).await;
    let mut stream = hub.stream(Start::Now).await;
    let members = ["jti", "sid", "sub", "client_id", "kid", "iss"];
    for escape in [r"\n", r"\r", r"\r\n", r"\u0000", r"\u0085", r"\u001b", r"\u007f", r"\u009f", r"\t", r"\u0001"] {
        let text = format!("x{escape}event: revoked{escape}data: y");
        for member in members {
            is(&post(&hub, format!("{{\"{member}\":\"{text}\"}}")).await, 422, "invalid_text");
            is(&post(&hub, format!("{{\"{member}\":\"{escape}\"}}")).await, 422, "invalid_text");
        }
        is(&post(&hub, format!("{{\"jti\":\"a\",\"iss\":\"{text}\"}}")).await, 422, "invalid_text");
        is(&post(&hub, format!("{{\"jti\":\"a\",\"reason\":\"{text}\"}}")).await, 422, "invalid_text");
        is(&post(&hub, format!("{{\"sha256\":\"{text}\"}}")).await, 422, "invalid_text");
        is(&post(&hub, format!("{{\"token\":\"{text}\"}}")).await, 422, "malformed_token");
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for payload in [format!(r#"{{"jti":"{text}"}}"#), format!(r#"{{"jti":"a","iss":"{text}"}}"#)] {
            let token = format!("{}.{}.c2ln", encode(r#"{"alg":"x"}"#), encode(&payload));
            is(&post(&hub, json!({"token": token}).to_string()).await, 422, "invalid_text");
        }
    }
    // As bytes within a string they are no JSON.
    for byte in [0u8, 1, 9, 10, 13, 27, 31] {
        let body = [&b"{\"jti\":\"a"[..], &[byte], b"b\"}"].concat();
        is(&post(&hub, body).await, 400, "invalid_json");
    }
    for lone in [r"\ud800", r"\udc00", r"\ud800\ud800", r"\ud83d x", r"\uD800\n"] {
        is(&post(&hub, format!("{{\"jti\":\"{lone}\"}}")).await, 400, "invalid_json");
        is(&post(&hub, format!("[{{\"jti\":\"{lone}\"}}]")).await, 400, "invalid_json");
    }
    assert_eq!(hub.snapshot().await.cursor.seq, 0);
    // What is no control character is data, and arrives as it was sent.
    for text in
        ["\u{2028}", "\u{2029}", "\u{feff}", "\u{200b}", "\u{202e}", "\u{10ffff}", "\u{fffd}", "id: 7", ":", " "]
    {
        let answer = post(&hub, json!({"jti": text, "iss": text, "reason": text}).to_string()).await;
        assert_eq!(answer.status, 201, "{text:?} {}", answer.text());
        let seen = stream.until("the event", |seen, _| match seen {
            Seen::Revoked(value) => Some(value.clone()),
            _ => None,
        });
        let value = seen.await;
        assert_eq!((&value["jti"], &value["iss"], &value["reason"]), (&json!(text), &json!(text), &json!(text)));
        let lines = hub.send(hub.request(Method::GET, "/v1/revocations").header("accept", "application/x-ndjson"));
        let lines = lines.await.unwrap();
        // Lines end at LF only, whatever else Unicode takes for the end of a line.
        assert!(
            lines.text().split('\n').filter(|line| !line.is_empty()).all(|l| serde_json::from_str::<Value>(l).is_ok())
        );
        assert!(hub.get("/internal/data/v1/revokedjwt").await.json().is_array());
    }
    lives(&hub).await;
    hub.stop().await;
}

async fn headers_without_end(place: &Place) {
    let hub = tight(place).await;
    let get = |more: &str| format!("GET /livez HTTP/1.1\r\nHost: hub\r\n{more}\r\n");
    let many = (0..90).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    assert_eq!(exchange(&hub, get(&many)).await.status, 200);
    let many = (0..200).map(|i| format!("X-{i}: {i}\r\n")).collect::<String>();
    assert_eq!(exchange(&hub, get(&many)).await.status, 431);
    let mut raw = Raw::connect(&hub).await;
    raw.send(get(&format!("X: {}\r\n", "x".repeat(300_000)))).await;
    // It answers before it has read everything, so the connection may be reset before the answer is read.
    let answer = raw.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 431 "), "{:?}", String::from_utf8_lossy(&answer));
    let mut raw = Raw::connect(&hub).await;
    raw.send(format!("GET /{} HTTP/1.1\r\nHost: hub\r\n\r\n", "x".repeat(300_000))).await;
    let answer = raw.rest().await;
    let refused = [&b"HTTP/1.1 414 "[..], b"HTTP/1.1 431 "].iter().any(|status| answer.starts_with(status));
    assert!(answer.is_empty() || refused, "{:?}", String::from_utf8_lossy(&answer));
    lives(&hub).await;
    hub.stop().await;
}

async fn what_comes_too_slowly(place: &Place) {
    let hub = impatient(place).await;
    // A header that never ends is cut off without an answer, whether something of it came or nothing.
    for begin in ["", "G", "GET /livez HTTP/1.1\r\nHost: hub\r\nX: "] {
        let mut raw = Raw::connect(&hub).await;
        raw.send(begin).await;
        let answer = raw.rest().await;
        assert!(answer.is_empty(), "{begin:?} {:?}", String::from_utf8_lossy(&answer));
    }
    // Dribbling does not help.
    let mut raw = Raw::connect(&hub).await;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    raw.send("GET /livez HTTP/1.1\r\n").await;
    within("the slow header is cut off", async {
        while raw.send("X: y\r\n").await {
            tick.tick().await;
        }
    })
    .await;
    // Nor does a body.
    for begin in ["", "{\"jti\":"] {
        let mut raw = Raw::connect(&hub).await;
        raw.send(format!("{}{begin}", head("Content-Length: 50\r\n"))).await;
        is(&raw.answer().await.unwrap(), 408, "body_timeout");
    }
    let mut raw = Raw::connect(&hub).await;
    raw.send(format!("{}3\r\n{{\"j\r\n", head("Transfer-Encoding: chunked\r\n"))).await;
    is(&raw.answer().await.unwrap(), 408, "body_timeout");
    // A body that breaks off is no revocation, even if what came could be read as one.
    let mut raw = Raw::connect(&hub).await;
    raw.send(format!("{}{{\"jti\":\"cut\"}}", head("Content-Length: 50\r\n"))).await;
    raw.finish().await;
    raw.rest().await;
    // A client of its own has no idle connection that is just being closed.
    let api = Api::new(hub.address().parse().unwrap());
    lives(&api).await;
    assert_eq!(api.get("/v1/check?jti=cut").await.json(), json!({"revoked": false}));
    hub.stop().await;
}

async fn http_of_every_kind(place: &Place) {
    let hub = tight(place).await;
    // Pipelined: answered in order.
    let mut raw = Raw::connect(&hub).await;
    let item = |jti: &str| {
        let body = json!({"jti": jti}).to_string();
        format!("{}{body}", head(&format!("Content-Length: {}\r\n", body.len())))
    };
    raw.send(format!(
        "{}GET /livez HTTP/1.1\r\nHost: h\r\n\r\n{}GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
        item("a"),
        item("b")
    ))
    .await;
    for status in [201, 200, 201, 404] {
        assert_eq!(raw.answer().await.unwrap().status, status);
    }
    // HTTP/1.0: answered and closed; a list has no chunks there.
    let mut raw = Raw::connect(&hub).await;
    raw.send("GET /v1/revocations HTTP/1.0\r\n\r\n").await;
    let answer = raw.answer().await.unwrap();
    assert_eq!((answer.status, answer.header("transfer-encoding")), (200, None));
    assert_eq!(serde_json::from_slice::<Value>(&answer.body).unwrap()["revocations"].as_array().unwrap().len(), 2);
    assert_eq!(raw.rest().await, b"");
    // What is no HTTP, or not clear where it ends.
    let two = "Content-Length: 5\r\nContent-Length: 6\r\n";
    for nonsense in [
        "\r\n\r\n\r\nx\r\n\r\n".to_owned(),
        "GET\r\n\r\n".into(),
        "GET / HTTP/9.9\r\n\r\n".into(),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nHost hub\r\n\r\n".into(),
        "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n".into(),
        head(two) + "{\"jti\"",
        head("Content-Length: -5\r\n"),
        head("Content-Length: 18446744073709551616\r\n"),
        head("Transfer-Encoding: chunked\r\n") + "zz\r\n{}\r\n0\r\n\r\n",
        head("Transfer-Encoding: chunked\r\n") + "ffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    ] {
        let mut raw = Raw::connect(&hub).await;
        raw.send(&nonsense).await;
        let answer = raw.answer().await.unwrap_or_else(|| panic!("{nonsense:?}"));
        assert_eq!(answer.status, 400, "{nonsense:?}");
    }
    // A client that closes its half is taken for gone, so that a stream ends with its client: it is answered or cut, and
    // costs nothing afterwards.
    let mut raw = Raw::connect(&hub).await;
    raw.send(item("half")).await;
    raw.finish().await;
    let answer = raw.rest().await;
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 201 "), "{:?}", String::from_utf8_lossy(&answer));
    let mut raw = Raw::connect(&hub).await;
    raw.send("GET /v1/events HTTP/1.1\r\nHost: hub\r\n\r\n").await;
    raw.finish().await;
    raw.rest().await;
    until("the stream is gone", async || (hub.metric("streams", "").await == 0.0).then_some(())).await;
    for (method, path) in [
        ("PUT", "/v1/revocations"),
        ("DELETE", "/v1/revocations"),
        ("PATCH", "/v1/revocations/x"),
        ("BREW", "/v1/check"),
        ("OPTIONS", "/v1/events"),
        ("TRACE", "/livez"),
        ("POST", "/internal/data/v1/revokedjwt"),
    ] {
        let answer = exchange(&hub, format!("{method} {path} HTTP/1.1\r\nHost: hub\r\n\r\n")).await;
        is(&answer, 405, "method_not_allowed");
        assert!(answer.header("allow").unwrap().contains("GET"), "{method} {path}");
    }
    for path in [
        "/v1",
        "/v1/",
        "/v1/revocations/",
        "/v1/revocations/a/b",
        "//v1/check",
        "/v1/check/",
        "/%2e%2e/etc",
        "/V1/check",
    ] {
        let answer = exchange(&hub, format!("GET {path} HTTP/1.1\r\nHost: hub\r\n\r\n")).await;
        is(&answer, 404, "not_found");
    }
    lives(&hub).await;
    hub.stop().await;
}

/// The same numbers on every run (Marsaglia's xorshift64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % n as u64).unwrap()
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap()
    }

    /// A few changes to something that is right.
    fn spoil(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len().max(1)).min(bytes.len());
            match self.below(5) {
                0 => bytes.insert(at, self.byte()),
                1 if at < bytes.len() => drop(bytes.remove(at)),
                2 if at < bytes.len() => bytes[at] = self.byte(),
                3 => bytes.truncate(at),
                _ => {
                    let piece: &[u8] =
                        [&b"\\u0000"[..], b"[", b"{", b"\"", b"null", b"-1", b"1e999", b"\xff", b"\r\n", b"%00"]
                            [self.below(10)];
                    bytes.splice(at..at, piece.iter().copied());
                }
            }
        }
        bytes
    }
}

async fn random_bodies(place: &Place) {
    let hub = tight(place).await;
    let good: [&[u8]; 6] = [
        br#"{"jti":"a","iss":"i","exp":1900000000,"reason":"r"}"#,
        br#"[{"jti":"a"},{"sub":"u","issued_before":5},{"sid":"s","ttl":5}]"#,
        b"{\"jti\":\"a\"}\n{\"kid\":\"k\"}\n",
        br#"{"token":"eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln"}"#,
        br#"{"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#,
        b"token=eyJhbGciOiJSUzI1NiJ9.eyJqdGkiOiJhIn0.c2ln",
    ];
    let mut dice = Dice(0x5eed_0001);
    for case in 0..3000 {
        let body = match dice.below(10) {
            0 => (0..dice.below(300)).map(|_| dice.byte()).collect(),
            _ => {
                let good = good[dice.below(good.len())];
                dice.spoil(good)
            }
        };
        let (path, media_type) = [
            ("/v1/revocations", "application/json"),
            ("/v1/revocations", "application/json"),
            ("/v1/revocations", "application/x-ndjson"),
            ("/v1/check", "application/x-www-form-urlencoded"),
        ][dice.below(4)];
        let shown = String::from_utf8_lossy(&body).into_owned();
        let request = hub.request(Method::POST, path).header("content-type", media_type).body(body);
        let answer = within("an answer", hub.send(request)).await.unwrap();
        assert!(answer.status < 500, "{case}: {shown:?} {}", answer.text());
        if answer.status >= 400 {
            answer.code();
        }
    }
    lives(&hub).await;
    // Whatever got in, every list can be read.
    hub.snapshot().await;
    assert!(hub.get("/apim43/internal/data/v1/revokedjwt").await.expect(200).json().is_object());
    hub.stop().await;
}

async fn random_queries(place: &Place) {
    let hub = tight(place).await;
    let id = hub.revoke(&json!({"jti": "a", "iss": "i"})).await;
    let at = hub.snapshot().await.cursor;
    let good = [
        "/v1/check?jti=a&iss=i&sub=u&iat=5&sid=s&client_id=c&kid=k".to_owned(),
        format!("/v1/revocations?since={at}"),
        format!("/v1/revocations/{id}"),
        "/internal/data/v1/revokedjwt?organizationId=ALL".into(),
        "/v1/events?since=aaaaaaaa".into(),
    ];
    let mut dice = Dice(0x5eed_0002);
    let mut raw = Raw::connect(&hub).await;
    for case in 0..3000 {
        let good = good[dice.below(good.len())].as_bytes();
        let from = good.iter().position(|b| *b == b'?').map_or(16, |at| at + 1);
        let mut target = good[..from].to_vec();
        let tail = dice.spoil(&good[from..]);
        if target.starts_with(b"/v1/events") && tail == b"since=earliest" {
            continue;
        }
        for byte in tail {
            // Sometimes as it is, which may be no HTTP at all.
            if byte.is_ascii_graphic() || dice.below(20) == 0 {
                target.push(byte);
            } else {
                target.extend_from_slice(format!("%{byte:02x}").as_bytes());
            }
        }
        let shown = String::from_utf8_lossy(&target).into_owned();
        let request = [b"GET ", &target[..], b" HTTP/1.1\r\nHost: hub\r\n\r\n"].concat();
        raw.send(request).await;
        // A stream would go on for ever, so its body is not read.
        let is_stream = target.starts_with(b"/v1/events");
        let answer = if is_stream { raw.answer_without_body().await } else { raw.answer().await };
        let status = answer.as_ref().map_or(0, |answer| answer.status);
        assert!((1..500).contains(&status), "{case}: {shown:?} {answer:?}");
        if is_stream || status == 400 || status == 431 {
            raw = Raw::connect(&hub).await;
        }
    }
    lives(&hub).await;
    hub.stop().await;
}

on_sqlite!(
    bodies_that_are_too_large,
    json_that_is_deep_or_is_none,
    wrong_types_are_named_and_never_quoted,
    times_of_every_kind,
    control_characters_reach_no_frame,
    headers_without_end,
    what_comes_too_slowly,
    http_of_every_kind,
    random_bodies,
    random_queries,
);
