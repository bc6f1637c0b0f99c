//! `GET /v1/check` and `POST /v1/check`: the table of targets, row by row.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::harness::*;

const SHA: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

/// The id of the revocation that a token with these claims is hit by.
async fn hit(hub: &Api, query: &str) -> Option<String> {
    let answer = hub.get(&format!("/v1/check?{query}")).await.expect(200);
    assert!(answer.header("revocation-cursor").is_some());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    read(&answer)
}

fn read(answer: &Answer) -> Option<String> {
    let json = answer.json();
    match json["revoked"].as_bool().unwrap() {
        true => Some(json["by"]["id"].as_str().unwrap().to_owned()),
        false => {
            assert_eq!(json, json!({"revoked": false}));
            None
        }
    }
}

async fn post(hub: &Api, token: &str) -> Answer {
    hub.send(hub.request(Method::POST, "/v1/check").form(&[("token", token)])).await.unwrap()
}

/// A JWT whose signature nobody looks at.
fn jwt(header: Value, payload: Value) -> String {
    use base64::Engine;
    let encode = |json: Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.c2ln", encode(header), encode(payload))
}

async fn without_issuer_a_rule_is_for_all(place: &Place) {
    let hub = place.hub().await;
    for (sent, claim) in [
        (json!({"jti": "v"}), "jti=v"),
        (json!({"sid": "v"}), "sid=v"),
        (json!({"sub": "v"}), "sub=v"),
        (json!({"client_id": "v"}), "client_id=v"),
        (json!({"kid": "v"}), "kid=v"),
    ] {
        let id = hub.revoke(&sent).await;
        assert_eq!(hit(&hub, claim).await, Some(id.clone()), "{claim}");
        assert_eq!(hit(&hub, &format!("{claim}&iss=any")).await, Some(id), "{claim}");
        assert_eq!(hit(&hub, &format!("{claim}x")).await, None, "{claim}");
        // The value counts in its own place only.
        for other in ["jti", "sid", "sub", "client_id", "kid", "iss"] {
            if !claim.starts_with(other) {
                assert_eq!(hit(&hub, &format!("{other}=v")).await, None, "{claim} {other}");
            }
        }
        hub.lift(&hit(&hub, claim).await.unwrap()).await;
        assert_eq!(hit(&hub, claim).await, None, "{claim}");
    }
    hub.stop().await;
}

async fn with_issuer_a_rule_is_for_that_one_or_when_the_asker_does_not_say(place: &Place) {
    let hub = place.hub().await;
    for (sent, claim) in [
        (json!({"jti": "v", "iss": "https://a"}), "jti=v"),
        (json!({"sid": "v", "iss": "https://a"}), "sid=v"),
        (json!({"sub": "v", "iss": "https://a"}), "sub=v"),
        (json!({"client_id": "v", "iss": "https://a"}), "client_id=v"),
        (json!({"kid": "v", "iss": "https://a"}), "kid=v"),
    ] {
        let id = hub.revoke(&sent).await;
        assert_eq!(hit(&hub, &format!("{claim}&iss=https%3A%2F%2Fa")).await, Some(id.clone()), "{claim}");
        assert_eq!(hit(&hub, claim).await, Some(id), "{claim}");
        for other in ["https://b", "https://a/", "HTTPS://A", ""] {
            assert_eq!(hit(&hub, &format!("{claim}&iss={other}")).await, None, "{claim} {other}");
        }
    }
    // A token that has no issuer is not "of any issuer".
    for payload in [json!({"jti": "v"}), json!({"sub": "v"}), json!({"client_id": "v"})] {
        assert_eq!(read(&post(&hub, &jwt(json!({"alg": "x"}), payload)).await.expect(200)), None);
    }
    hub.stop().await;
}

async fn issued_before_is_a_border_and_no_iat_is_before_it(place: &Place) {
    let hub = place.hub().await;
    for (sent, claim) in [
        (json!({"sub": "v", "issued_before": NOW}), "sub=v"),
        (json!({"client_id": "v", "issued_before": NOW}), "client_id=v"),
        (json!({"iss": "v", "issued_before": NOW}), "iss=v"),
    ] {
        let id = hub.revoke(&sent).await;
        assert_eq!(hit(&hub, &format!("{claim}&iat={}", NOW - 1)).await, Some(id.clone()), "{claim}");
        assert_eq!(hit(&hub, &format!("{claim}&iat={NOW}")).await, None, "{claim}");
        assert_eq!(hit(&hub, &format!("{claim}&iat={}", NOW + 1)).await, None, "{claim}");
        assert_eq!(hit(&hub, &format!("{claim}&iat=-5")).await, Some(id.clone()), "{claim}");
        assert_eq!(hit(&hub, claim).await, Some(id), "{claim}");
    }
    // By default the very second of the revocation is hit as well.
    let id = hub.revoke(&json!({"sub": "w"})).await;
    assert_eq!(hit(&hub, &format!("sub=w&iat={NOW}")).await, Some(id));
    assert_eq!(hit(&hub, &format!("sub=w&iat={}", NOW + 1)).await, None);
    // Sessions and keys have no such border.
    let id = hub.revoke(&json!({"sid": "s"})).await;
    assert_eq!(hit(&hub, &format!("sid=s&iat={}", NOW + 9)).await, Some(id));
    // A fraction of a second is cut off, as the claim is compared in whole seconds.
    let token = |iat: f64| jwt(json!({"alg": "x"}), json!({"sub": "v", "iat": iat}));
    assert!(read(&post(&hub, &token(NOW as f64 - 0.5)).await.expect(200)).is_some());
    assert!(read(&post(&hub, &token(NOW as f64)).await.expect(200)).is_none());
    hub.stop().await;
}

async fn the_client_is_client_id_else_azp_else_appid(place: &Place) {
    let hub = place.hub().await;
    let id = Some(hub.revoke(&json!({"client_id": "c"})).await);
    for (payload, hit) in [
        (json!({"client_id": "c"}), &id),
        (json!({"azp": "c"}), &id),
        (json!({"appid": "c"}), &id),
        (json!({"client_id": "c", "azp": "d", "appid": "d"}), &id),
        (json!({"azp": "c", "appid": "d"}), &id),
        (json!({"client_id": "d", "azp": "c"}), &None),
        (json!({"azp": "d", "appid": "c"}), &None),
        (json!({"client_id": null, "azp": "c"}), &id),
        (json!({"sub": "c", "aud": "c"}), &None),
    ] {
        let token = jwt(json!({"alg": "x"}), payload.clone());
        assert_eq!(read(&post(&hub, &token).await.expect(200)), *hit, "{payload}");
    }
    hub.stop().await;
}

async fn a_raw_token_is_asked_for_with_all_its_claims(place: &Place) {
    let hub = place.hub().await;
    let token = jwt(
        json!({"alg": "RS256", "kid": "k"}),
        json!({"iss": "i", "jti": "j", "sub": "u", "sid": "s", "azp": "c", "iat": NOW - 5}),
    );
    for sent in [
        json!({"iss": "i"}),
        json!({"kid": "k", "iss": "i"}),
        json!({"client_id": "c"}),
        json!({"sub": "u", "iss": "i"}),
        json!({"sid": "s"}),
        json!({"jti": "j", "iss": "i"}),
        json!({"token": token}),
    ] {
        let id = hub.revoke(&sent).await;
        let by = post(&hub, &token).await.expect(200);
        assert_eq!(read(&by), Some(id.clone()), "{sent}");
        let one = hub.get(&format!("/v1/revocations/{id}")).await.json();
        assert_eq!(by.json()["by"], one, "by is the revocation itself");
        hub.lift(&id).await;
        assert_eq!(read(&post(&hub, &token).await.expect(200)), None, "{sent}");
    }
    // Several hit: the narrowest is named.
    hub.revoke(&json!({"iss": "i"})).await;
    let narrow = hub.revoke(&json!({"jti": "j", "iss": "i"})).await;
    hub.revoke(&json!({"sub": "u"})).await;
    assert_eq!(read(&post(&hub, &token).await), Some(narrow));
    hub.stop().await;
}

async fn an_opaque_token_is_known_by_its_hash(place: &Place) {
    use sha2::{Digest, Sha256};
    let hub = place.hub().await;
    let id = hub.revoke(&json!({"token": "a1b2c3d4-opaque"})).await;
    let hash = hex::encode(Sha256::digest("a1b2c3d4-opaque"));
    assert_eq!(hub.get(&format!("/v1/revocations/{id}")).await.json()["sha256"], hash);
    assert_eq!(read(&post(&hub, "a1b2c3d4-opaque").await.expect(200)), Some(id.clone()));
    assert_eq!(read(&post(&hub, "a1b2c3d4-opaquE").await.expect(200)), None);
    assert_eq!(hit(&hub, &format!("sha256={hash}")).await, Some(id.clone()));
    assert_eq!(hit(&hub, &format!("sha256={}&iss=any", hash.to_uppercase())).await, Some(id));
    let id = hub.revoke(&json!({"sha256": SHA})).await;
    assert_eq!(read(&post(&hub, "test").await.expect(200)), Some(id));
    hub.stop().await;
}

async fn questions_that_are_none_are_refused(place: &Place) {
    let hub = place.hub().await;
    for query in
        ["", "?", "?iat=5", "?jtj=a", "?jti=a&x=", "?jti=a&jti=b", "?jti=a&iat=x", "?jti=a&iat=1.5", "?token=a"]
    {
        let answer = hub.get(&format!("/v1/check{query}")).await.expect(400);
        assert_eq!(answer.code(), "invalid_request", "{query}");
    }
    let form = "application/x-www-form-urlencoded";
    for (media_type, body, status, code) in [
        (form, "", 400, "invalid_request"),
        (form, "tokens=a", 400, "invalid_request"),
        (form, "token=a&token=b", 400, "invalid_request"),
        (form, "token=", 422, "malformed_token"),
        (form, "token=a+b", 422, "malformed_token"),
        (form, "token=%ff", 422, "malformed_token"),
        (form, "token=eyJhbGciOiJSUzI1NiJ9.e30%3D.c2ln", 422, "malformed_token"),
        ("application/json", r#"{"token":"a"}"#, 415, "unsupported_media_type"),
        ("", "token=a", 415, "unsupported_media_type"),
    ] {
        let mut request = hub.request(Method::POST, "/v1/check").body(body);
        if !media_type.is_empty() {
            request = request.header(CONTENT_TYPE, media_type);
        }
        assert_eq!(hub.send(request).await.unwrap().expect(status).code(), code, "{body}");
    }
    // Members of RFC 7662 that say nothing here do no harm.
    let request = hub.request(Method::POST, "/v1/check").form(&[("token", "a"), ("token_type_hint", "access_token")]);
    assert_eq!(hub.send(request).await.unwrap().expect(200).json(), json!({"revoked": false}));
    hub.stop().await;
}

async fn what_is_over_is_no_longer_found(place: &Place) {
    let hub = place.hub().await;
    let id = hub.revoke(&json!({"jti": "a", "exp": NOW + 10})).await;
    hub.clock.set(NOW + 10 + 59);
    assert_eq!(hit(&hub, "jti=a").await, Some(id));
    hub.clock.set(NOW + 10 + 60);
    until("it is gone", async || hit(&hub, "jti=a").await.is_none().then_some(())).await;
    hub.stop().await;
}

on_sqlite!(
    without_issuer_a_rule_is_for_all,
    with_issuer_a_rule_is_for_that_one_or_when_the_asker_does_not_say,
    issued_before_is_a_border_and_no_iat_is_before_it,
    the_client_is_client_id_else_azp_else_appid,
    a_raw_token_is_asked_for_with_all_its_claims,
    an_opaque_token_is_known_by_its_hash,
    questions_that_are_none_are_refused,
    what_is_over_is_no_longer_found,
);
