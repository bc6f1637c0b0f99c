//! One token has one spelling, wherever it is handed in: another one is refused, and never taken for another token.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::{Method, RequestBuilder};
use revocation_hub::clock::Clock;
use revocation_hub::config::Config;
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;
use crate::issuers::twin;

fn config(place: &Place, issuer: &TestIssuer) -> Config {
    let credentials = json!({"audiences": ["hub"], "scopes": {"all": ["publish", "read", "lift", "rules", "admin"]}});
    Config {
        issuers: vec![issuer.config(json!({"credentials": credentials}))],
        sources: vec![
            source(json!({"name": "oauth", "kind": "rfc7009"})),
            source(json!({"name": "azure", "kind": "apim_invalidate", "audiences": ["hub"]})),
        ],
        clients: vec![client("app", &["read"]), client("sts", &["publish", "read"])],
        ..place.config()
    }
}

/// Texts that somebody's reader takes for `token`.
fn spellings(token: &str) -> Vec<String> {
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("a JWT") };
    // The last character of a P-256 signature holds four bits that mean nothing.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(signature.chars().last().unwrap()).unwrap();
    let stray = &alphabet[at + 1..at + 2];
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    vec![
        format!("{token}="),
        format!("{token}=="),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}=.{signature}"),
        format!("{header}.{payload}.{}{stray}", &signature[..signature.len() - 1]),
        format!("{header}.{payload}.{}+", &signature[..signature.len() - 1]),
        format!("{header}.{payload}.{}/", &signature[..signature.len() - 1]),
        format!("{token}."),
        format!("{token}.."),
        format!("{token}..."),
        format!("{token}.{signature}"),
        format!("{token}.."),
        format!("{token}.{payload}.{signature}"),
        format!("{token}.a.b.c"),
        format!(".{token}"),
        format!("..{token}"),
        format!("{header}..{payload}.{signature}"),
        format!("{header}.{payload}"),
        format!("{header}..{signature}"),
        format!("{}.{payload}", encoded(r#"{ "alg" : "none" }"#)),
        format!("Bearer {token}"),
        format!("bearer {token}"),
        format!("Bearer%20{token}"),
        format!("DPoP {token}"),
        format!("\"{token}\""),
        format!(" {token}"),
        format!("{token} "),
        format!("{token}\n"),
        format!("{token}\r\n"),
        format!("\t{token}"),
        format!("{header}. {payload}.{signature}"),
        format!("{header}.{payload}.\n{signature}"),
        format!("{token}\0"),
        format!("{token}\u{200b}"),
        format!("\u{feff}{token}"),
        token.replacen('.', "\u{ff0e}", 1),
        token.replacen('.', "%2e", 1),
    ]
}

/// Whether the text can stand in a header.
fn bearer(request: RequestBuilder, text: &str) -> Option<RequestBuilder> {
    let value = reqwest::header::HeaderValue::from_bytes(format!("Bearer {text}").as_bytes()).ok()?;
    Some(request.header("authorization", value))
}

async fn no_spelling_of_a_revoked_token_passes_for_another_one(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = TestHub::start(config(place, &issuer), Clock::manual(NOW)).await;
    let as_sts = |method, path: &str| hub.request(method, path).basic_auth("sts", Some("secret"));
    let form = async |who: &str, path: &str, token: &str| {
        let request = hub.request(Method::POST, path).basic_auth(who, Some("secret"));
        hub.send(request.form(&[("token", token)])).await.unwrap()
    };
    let (with_jti, without) = (issuer.claims("a"), with(&issuer.claims("a"), json!({"jti": null, "sub": "bob"})));
    for claims in [with_jti, without] {
        let token = key.token(&with(&claims, json!({"scope": "all"})));
        let post = as_sts(Method::POST, "/v1/revocations").json(&json!({"token": token}));
        hub.send(post).await.unwrap().expect(201);
        let rows = place.rows().await;

        // The other signature that is as good is the same token everywhere.
        let other = twin(&token);
        assert_ne!(token, other);
        for text in [&token, &other] {
            assert_eq!(form("app", "/v1/check", text).await.expect(200).json()["revoked"], true);
            assert_eq!(form("app", "/introspect", text).await.expect(200).json(), json!({"active": false}));
            let post = as_sts(Method::POST, "/v1/revocations").json(&json!({"token": text}));
            assert_eq!(hub.send(post).await.unwrap().expect(200).json()["status"], "unchanged");
            for who in ["app", "sts"] {
                form(who, "/revoke", text).await.expect(200);
            }
            hub.send(hub.request(Method::POST, "/shared/security/invalidate").bearer_auth(text))
                .await
                .unwrap()
                .expect(200);
            let read = hub.request(Method::GET, "/v1/revocations").bearer_auth(text);
            assert_eq!(hub.send(read).await.unwrap().expect(401).code(), "unauthorized");
        }
        // Without its signature it is the same token still, and good for nothing.
        let bare = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(form("app", "/v1/check", &bare).await.expect(200).json()["revoked"], true);
        assert_eq!(form("app", "/introspect", &bare).await.expect(200).json(), json!({"active": false}));
        hub.send(hub.request(Method::POST, "/shared/security/invalidate").bearer_auth(&bare))
            .await
            .unwrap()
            .expect(401);
        assert_eq!(place.rows().await, rows);

        for text in spellings(&token).into_iter().chain(spellings(&other)) {
            println!("{text:?}");
            let answer = form("app", "/v1/check", &text).await;
            // Three parts whose first is empty or no header are an opaque token to everybody.
            let opaque = answer.status == 200;
            assert!(!opaque || text.starts_with('.') || text.contains('"') || text.contains('%'), "{}", answer.text());
            assert!(opaque || answer.expect(422).code() == "malformed_token");
            assert_eq!(form("app", "/introspect", &text).await.expect(200).json(), json!({"active": false}));
            if !opaque {
                let post = as_sts(Method::POST, "/v1/revocations").json(&json!({"token": text}));
                assert_eq!(hub.send(post).await.unwrap().expect(422).code(), "malformed_token");
                let post = as_sts(Method::POST, "/v1/revocations").json(&json!([{"jti": "never"}, {"token": text}]));
                assert_eq!(hub.send(post).await.unwrap().expect(422).json()["index"], 1);
                // Of a client it is an invalid token, which is none to revoke; a publisher is told.
                form("app", "/revoke", &text).await.expect(200);
                assert_eq!(form("sts", "/revoke", &text).await.expect(400).json()["error"], "invalid_request");
            }
            // Blanks around a credential belong to the header (RFC 9110 §5.5 and §11.6.2).
            if text.trim() != token && text.trim() != other {
                let call = bearer(hub.request(Method::POST, "/shared/security/invalidate"), &text);
                if let Some(call) = call {
                    hub.send(call).await.unwrap().expect(401);
                }
            }
            if let Some(read) = bearer(hub.request(Method::GET, "/v1/revocations"), &text) {
                hub.send(read).await.unwrap().expect(401);
            }
            assert_eq!(place.rows().await, rows);
        }
    }
    hub.stop().await;
}

/// An encrypted token is known by its whole text, so its text has one spelling too.
async fn no_spelling_of_an_encrypted_token_passes_for_another_one(place: &Place) {
    let hub = place.hub().await;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM"}"#);
    // The tag has 16 bytes, so its last character holds four bits that mean nothing.
    let token = format!("{header}..{}.{}.{}", "A".repeat(16), "Y2lwaGVydGV4dA", "B".repeat(21) + "A");
    hub.revoke(&json!({"token": token})).await;
    let check =
        async |text: &str| hub.send(hub.request(Method::POST, "/v1/check").form(&[("token", text)])).await.unwrap();
    assert_eq!(check(&token).await.expect(200).json()["revoked"], true);
    let stray = format!("{}B", &token[..token.len() - 1]);
    let keyed = token.replacen("..", ".AAAA.", 1);
    for other in [format!("{token}="), stray, keyed, format!("{token}."), format!("{token}.a"), format!(" {token}")] {
        assert_eq!(check(&other).await.expect(422).code(), "malformed_token", "{other}");
        let answer: Value = hub.post(&json!({"token": other})).await.expect(422).json();
        assert_eq!(answer["code"], "malformed_token");
    }
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

on_sqlite!(
    no_spelling_of_a_revoked_token_passes_for_another_one,
    no_spelling_of_an_encrypted_token_passes_for_another_one,
);
