//! Issuers: where keys come from, which tokens they make good, and what happens while they change or are away. Seen through
//! introspection, which says whether a token is good.

use std::sync::LazyLock;

use reqwest::Method;
use revocation_hub::clock::Clock;
use revocation_hub::config::{self, Config};
use serde_json::{Value, json};

use crate::harness::*;
use crate::issuer::*;

static RSA: LazyLock<Key> = LazyLock::new(|| Key::rsa("rsa"));

/// A token whose signature is good, with a key of 1024 bits: `short.example`, until 2100.
const SHORT: &str = "eyJhbGciOiJSUzI1NiIsImtpZCI6InNob3J0IiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL3Nob3J0LmV4YW1wbGUiLCJzdWIiOiJ1IiwianRpIjoic2hvcnQiLCJleHAiOjQxMDI0NDQ4MDB9.VtKP667B2XjBwYKtEW8vw36Xi2XqcVXTWK1cbmzll3la89nzOj7vsC8bVmnSSA1fQ-GocjQ4poOVXxoqaoU8dcIzdSqKRn0n2mSpkvIIx75n7vcCzkNnXGfCR-EwqTzFnhkrMwJ29JUsPdWomOn5gsdySXDqdRWPWZccJk67U04";
const SHORT_N: &str = "pXDWolC6fjPKOsmMyZmvIIDNKpuYpC_gSlX8NotWRRHt0O3vq7p661VsbaNTW_Re8GLD_bbsMsqwn1tYeCpl694gmacG8yVuO1lys6fOmk5lggO2pA7DD_yyUIHCdJo7S3utUrnk8vOl6sPURQ9TapzIoArUAVCamOqH3t7grjE";
const SHORT_PEM: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQClcNaiULp+M8o6yYzJma8ggM0q
m5ikL+BKVfw2i1ZFEe3Q7e+runrrVWxto1Nb9F7wYsP9tuwyyrCfW1h4KmXr3iCZ
pwbzJW47WXKzp86aTmWCA7akDsMP/LJQgcJ0mjtLe61SueTy86Xqw9RFD1NqnMig
CtQBUJqY6ofe3uCuMQIDAQAB
-----END PUBLIC KEY-----
";

async fn start(place: &Place, issuers: Vec<config::Issuer>) -> TestHub {
    TestHub::start(Config { issuers, ..place.config() }, Clock::manual(NOW)).await
}

async fn ask(hub: &Api, token: &str) -> Answer {
    hub.send(hub.request(Method::POST, "/introspect").form(&[("token", token)])).await.unwrap()
}

/// Whether the token is active.
async fn active(hub: &Api, token: &str) -> bool {
    let json = ask(hub, token).await.expect(200).json();
    let active = json["active"].as_bool().unwrap();
    assert!(active || json == json!({"active": false}), "{json}");
    active
}

async fn keys_come_from_where_the_configuration_says(place: &Place) {
    let key = Key::p256("k");
    let (jwks, pem) = (place.folder.path().join("keys.json"), place.folder.path().join("key.pem"));
    std::fs::write(&jwks, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    std::fs::write(&pem, key.pem()).unwrap();
    let (found, told, listed) =
        (TestIssuer::start(&[&key]).await, TestIssuer::start(&[&key]).await, TestIssuer::start(&[&key]).await);
    // The metadata of another issuer must not speak for this one (OpenID Connect Discovery 1.0 §4.3).
    let stranger: config::Issuer = serde_json::from_value(json!({
        "issuer": "https://stranger.example", "discovery_url": format!("{}/.well-known/openid-configuration", found.iss)
    }))
    .unwrap();
    let (in_set, in_pem) = (TestIssuer::start(&[]).await, TestIssuer::start(&[]).await);
    let issuers = vec![
        found.config(json!({})),
        told.config(json!({"discovery_url": format!("{}/.well-known/openid-configuration", told.iss)})),
        listed.config(json!({"jwks_url": format!("{}/keys", listed.iss)})),
        in_set.config(json!({"jwks_file": jwks})),
        in_pem.config(json!({"pem_file": pem})),
        stranger,
    ];
    let hub = start(place, issuers).await;
    for issuer in [&found, &told, &listed, &in_set, &in_pem] {
        assert!(active(&hub, &key.token(&issuer.claims("a"))).await, "{}", issuer.iss);
    }
    let token = key.token(&with(&found.claims("a"), json!({"iss": "https://stranger.example"})));
    assert_eq!(ask(&hub, &token).await.expect(503).json()["error"], "temporarily_unavailable");
    assert!(hub.metric("key_sets_total", "outcome=\"failed\"").await >= 1.0);
    assert!(hub.metric("key_sets_total", "outcome=\"read\"").await >= 5.0);
    hub.stop().await;
}

async fn every_listed_algorithm_works_with_its_own_kind_of_key_and_no_other(place: &Place) {
    let (ec, ec384, ed) = (Key::p256("ec"), Key::p384("ec384"), Key::ed("ed"));
    let issuer = TestIssuer::start(&[&RSA, &ec, &ec384, &ed]).await;
    let strict = TestIssuer::start(&[&RSA, &ec]).await;
    let hub = start(place, vec![issuer.config(json!({})), strict.config(json!({"algorithms": ["ES256"]}))]).await;
    let claims = issuer.claims("a");
    for (key, alg, good) in [
        (&*RSA, "RS256", true),
        (&RSA, "RS512", true),
        (&RSA, "PS256", true),
        (&ec, "ES256", true),
        (&ec384, "ES384", true),
        (&ed, "EdDSA", true),
        (&ec, "RS256", false),
        (&RSA, "ES256", false),
        (&ec384, "ES256", false),
        (&ec, "ES384", false),
        (&ed, "ES256", false),
        (&RSA, "RS257", false),
    ] {
        let token = key.token_with(&json!({"alg": alg, "kid": key.kid}), &claims);
        assert_eq!(active(&hub, &token).await, good, "{} {alg}", key.kid);
    }
    assert!(active(&hub, &ec.token(&strict.claims("a"))).await);
    assert!(!active(&hub, &RSA.token(&strict.claims("a"))).await, "RS256 is not in its list");
    assert_eq!(hub.metric("jwt_checks_total", "outcome=\"good\"").await, 7.0);
    assert_eq!(hub.metric("jwt_checks_total", "outcome=\"wrong_algorithm\"").await, 2.0);
    hub.stop().await;
}

async fn what_is_not_well_signed_and_well_spelt_is_refused(place: &Place) {
    let (key, other) = (Key::p256("ec"), Key::p256("ec"));
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = start(place, vec![issuer.config(json!({}))]).await;
    let claims = issuer.claims("a");
    let header = json!({"alg": "ES256", "kid": "ec"});
    let good = key.token(&claims);
    assert!(active(&hub, &good).await);
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (head, payload) = input.split_once('.').unwrap();
    let head_with = |members: Value| key.token_with(&with(&header, members), &claims);
    let say = |members: Value| key.token(&with(&claims, members));
    let mut tampered = claims.clone();
    tampered["sub"] = "mallory".into();
    // The last character of a P-256 signature holds two bits that mean nothing.
    let last = signature.as_bytes()[85];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.iter().position(|b| *b == last).unwrap();
    let stray = format!("{}{}", &signature[..85], alphabet[at | 1] as char);
    let members = claims.to_string();
    let twice = format!("{},\"aud\":\"other\"}}", &members[..members.len() - 1]);
    let refused = [
        ("another key", other.token(&claims)),
        ("another payload", format!("{head}.{}.{signature}", b64(tampered.to_string()))),
        ("no signature", format!("{input}.")),
        ("half a signature", format!("{input}.{}", &signature[..43])),
        ("alg none", format!("{}.{payload}.", b64(json!({"alg": "none"}).to_string()))),
        ("alg none with a signature", head_with(json!({"alg": "none"}))),
        ("alg nOnE", format!("{}.{payload}.", b64(json!({"alg": "nOnE"}).to_string()))),
        ("HS256 with the public PEM", hmac_token(key.pem().as_bytes(), "ec", &claims)),
        ("HS256 with the public x", hmac_token(key.jwk()["x"].as_str().unwrap().as_bytes(), "ec", &claims)),
        ("HS256 with nothing", hmac_token(b"", "ec", &claims)),
        ("crit", head_with(json!({"crit": ["exp"], "exp": 1}))),
        ("b64 false, as RFC 7797 has it", head_with(json!({"crit": ["b64"], "b64": false}))),
        ("b64 false alone", head_with(json!({"b64": false}))),
        ("crit null", key.raw(r#"{"alg":"ES256","kid":"ec","crit":null}"#, &claims.to_string())),
        ("kid twice", key.raw(r#"{"alg":"ES256","kid":"ec","kid":"ec"}"#, &claims.to_string())),
        ("a claim twice", key.raw(&header.to_string(), &twice)),
        ("a key of its own", other.token_with(&with(&header, json!({"jwk": other.jwk()})), &claims)),
        ("a key elsewhere", other.token_with(&with(&header, json!({"jku": format!("{}/keys", issuer.iss)})), &claims)),
        ("padding", format!("{good}==")),
        ("padding inside", format!("{head}=.{payload}.{signature}")),
        ("stray bits", format!("{input}.{stray}")),
        ("the other alphabet", format!("{input}.{}", signature.replace('-', "+").replace('_', "/") + "+/")),
        ("white space", format!(" {good}")),
        ("a line break", format!("{good}\n")),
        ("an array of claims", key.raw(&header.to_string(), "[]")),
        ("five segments", format!("{good}.a.b")),
        ("another issuer", say(json!({"iss": "https://other.example"}))),
        ("an issuer with a slash", say(json!({"iss": format!("{}/", issuer.iss)}))),
        ("no issuer", say(json!({"iss": null}))),
        ("expired", say(json!({"exp": NOW - 60}))),
        ("exp as text", say(json!({"exp": (NOW + 300).to_string()}))),
        ("nbf in the future", say(json!({"nbf": NOW + 61}))),
        ("nbf as text", say(json!({"nbf": "soon"}))),
        ("iat in the future", say(json!({"iat": NOW + 61}))),
        ("a logout token", head_with(json!({"typ": "logout+jwt"}))),
        ("an event", head_with(json!({"typ": "application/secevent+jwt"}))),
    ];
    for (what, token) in refused {
        assert!(!active(&hub, &token).await, "{what}");
    }
    for (what, token) in [
        ("just before the end of the skew", say(json!({"exp": NOW - 59}))),
        ("times that are no whole numbers", say(json!({"exp": NOW as f64 - 59.5, "nbf": NOW as f64 + 59.5}))),
        ("at the edge of the skew", say(json!({"nbf": NOW + 60, "iat": NOW + 60}))),
        ("without exp", say(json!({"exp": null}))),
        ("an access token", head_with(json!({"typ": "at+jwt"}))),
        ("an access token in full", head_with(json!({"typ": "application/AT+JWT"}))),
        ("without typ", head_with(json!({}))),
        ("without kid", head_with(json!({"kid": null}))),
    ] {
        assert!(active(&hub, &token).await, "{what}");
    }
    hub.stop().await;
}

async fn rsa_keys_under_2048_bits_are_refused(place: &Place) {
    let (set, pem) = (place.folder.path().join("keys.json"), place.folder.path().join("key.pem"));
    let jwk = json!({"kty": "RSA", "kid": "short", "n": SHORT_N, "e": "AQAB"});
    std::fs::write(&set, json!({"keys": [jwk, RSA.jwk()]}).to_string()).unwrap();
    std::fs::write(&pem, SHORT_PEM).unwrap();
    for place_of_key in [json!({"jwks_file": set}), json!({"pem_file": pem})] {
        let issuer = with(&json!({"issuer": "https://short.example"}), place_of_key);
        let hub = start(place, vec![serde_json::from_value(issuer).unwrap()]).await;
        assert!(!active(&hub, SHORT).await);
        hub.stop().await;
    }
}

async fn of_a_key_set_only_keys_for_signatures_count(place: &Place) {
    let (one, two, nameless, encrypts, derives, fixed) =
        (Key::p256("same"), Key::p256("same"), Key::p256("x"), Key::p256("enc"), Key::p256("ops"), Key::rsa("fixed"));
    let secret = b"0123456789abcdef0123456789abcdef";
    let issuer = TestIssuer::start(&[]).await;
    issuer.serve_set(json!({"keys": [
        {"kty": "oct", "kid": "ec", "k": b64(secret), "alg": "HS256"},
        {"kty": "LATTICE", "kid": "later", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "RSA", "kid": "broken"},
        {"kty": "EC", "kid": "secp", "crv": "secp256k1", "x": "AA", "y": "AA"},
        "not even an object",
        with(&encrypts.jwk(), json!({"use": "enc"})),
        with(&derives.jwk(), json!({"key_ops": ["deriveKey"]})),
        with(&fixed.jwk(), json!({"alg": "RS256"})),
        one.jwk(),
        with(&two.jwk(), json!({"use": "sig", "key_ops": ["verify"]})),
        with(&nameless.jwk(), json!({"kid": null})),
    ]}));
    // Each token may have the set read again, so that none is answered by "perhaps".
    let hub = start(place, vec![issuer.config(json!({"unknown_key_interval": "1ms"}))]).await;
    let claims = issuer.claims("a");
    for key in [&one, &two, &nameless, &fixed] {
        assert!(active(&hub, &key.token(&claims)).await, "{}", key.kid);
    }
    for (what, token) in [
        ("the secret of an oct key", hmac_token(secret, "ec", &claims)),
        ("a key for encryption", encrypts.token(&claims)),
        ("a key for derivation", derives.token(&claims)),
        ("a key for another algorithm", fixed.token_with(&json!({"alg": "PS256", "kid": "fixed"}), &claims)),
    ] {
        assert!(!active(&hub, &token).await, "{what}");
    }
    hub.stop().await;
}

async fn a_new_key_works_at_once_and_made_up_names_cost_one_read(place: &Place) {
    let (old, new, stranger) = (Key::p256("old"), Key::p256("new"), Key::p256("made up"));
    let issuer = TestIssuer::start(&[&old]).await;
    let hub = start(place, vec![issuer.config(json!({"unknown_key_interval": "1h", "refresh_interval": "1h"}))]).await;
    assert!(active(&hub, &old.token(&issuer.claims("a"))).await);
    assert_eq!(issuer.reads(), 1);
    issuer.serve(&[&old, &new]);
    assert!(active(&hub, &new.token(&issuer.claims("a"))).await);
    assert_eq!(issuer.reads(), 2);
    // It is not read again so soon, and they may be keys that were made meanwhile: nobody knows, so nobody is told "no".
    let token = |i: usize| stranger.token_with(&json!({"alg": "ES256", "kid": i.to_string()}), &issuer.claims("a"));
    let flood: Vec<String> = (0..300).map(token).collect();
    let answers = futures_util::future::join_all(flood.iter().map(|token| ask(&hub, token))).await;
    assert!(answers.iter().all(|answer| answer.status == 503 && answer.header("retry-after").is_some()));
    // What says that it is older than the set was signed with none of the issuer's keys.
    let old_ones = with(&issuer.claims("a"), json!({"iat": NOW - 61}));
    assert!(!active(&hub, &stranger.token(&old_ones)).await);
    // Neither was what names a key that is there.
    let header = json!({"alg": "ES256", "kid": "new"});
    assert!(!active(&hub, &stranger.token_with(&header, &issuer.claims("a"))).await);
    // What is known goes on working.
    assert!(active(&hub, &old.token(&issuer.claims("a"))).await);
    assert_eq!(issuer.reads(), 2);
    hub.stop().await;
}

async fn a_key_made_since_the_set_was_read_is_503_until_it_may_be_read_again(place: &Place) {
    let (old, new, stranger) = (Key::p256("old"), Key::p256("new"), Key::p256("made up"));
    let issuer = TestIssuer::start(&[&old]).await;
    let settings = json!({"unknown_key_interval": "2s", "refresh_interval": "1h"});
    let hub = start(place, vec![issuer.config(settings)]).await;
    // Somebody makes names up just before the issuer changes its key.
    assert!(!active(&hub, &stranger.token(&issuer.claims("a"))).await, "it was read for this token");
    issuer.serve(&[&old, &new]);
    let token = new.token(&issuer.claims("a"));
    let mut refused = 0;
    until("the new key is known", async || {
        let answer = ask(&hub, &token).await;
        if answer.status == 503 {
            refused += 1;
            assert!(answer.header("retry-after").is_some());
            return None;
        }
        assert_eq!(answer.expect(200).json()["active"], true);
        Some(())
    })
    .await;
    assert!(refused > 0);
    hub.stop().await;
}

async fn a_withdrawn_key_stops_working(place: &Place) {
    let (old, new) = (Key::p256("old"), Key::p256("new"));
    let issuer = TestIssuer::start(&[&old, &new]).await;
    let hub = start(place, vec![issuer.config(json!({"refresh_interval": "50ms"}))]).await;
    let token = old.token(&issuer.claims("a"));
    assert!(active(&hub, &token).await);
    issuer.serve(&[&new]);
    until("the old key is refused", async || (!active(&hub, &token).await).then_some(())).await;
    assert!(active(&hub, &new.token(&issuer.claims("a"))).await);
    hub.stop().await;
}

async fn an_issuer_that_is_away_costs_nothing_while_its_keys_are_known(place: &Place) {
    let (key, new) = (Key::p256("known"), Key::p256("new"));
    let (issuer, late) = (TestIssuer::start(&[&key]).await, TestIssuer::start(&[&key]).await);
    late.answer(500);
    let quick = json!({"refresh_interval": "50ms", "unknown_key_interval": "50ms"});
    let hub = start(place, vec![issuer.config(quick.clone()), late.config(quick)]).await;
    assert!(active(&hub, &key.token(&issuer.claims("a"))).await);
    // Nothing is known, so nothing is said.
    let unknown = ask(&hub, &key.token(&late.claims("a"))).await.expect(503);
    assert_eq!(unknown.json()["error"], "temporarily_unavailable");
    assert!(unknown.header("retry-after").is_some());
    issuer.answer(500);
    let failed = hub.metric("key_sets_total", "outcome=\"failed\"").await;
    until("the keys could not be read again", async || {
        (hub.metric("key_sets_total", "outcome=\"failed\"").await > failed + 5.0).then_some(())
    })
    .await;
    assert!(active(&hub, &key.token(&issuer.claims("a"))).await);
    // It may be a key that the issuer has made meanwhile.
    ask(&hub, &new.token(&issuer.claims("a"))).await.expect(503);
    issuer.answer(200);
    late.answer(200);
    issuer.serve(&[&key, &new]);
    until("both are back", async || {
        let tokens = [new.token(&issuer.claims("a")), key.token(&late.claims("a"))];
        let answers = [ask(&hub, &tokens[0]).await, ask(&hub, &tokens[1]).await];
        answers.iter().all(|answer| answer.text().contains("\"active\":true")).then_some(())
    })
    .await;
    hub.stop().await;
}

/// The order of P-256 (SEC 2 §2.4.2).
const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";

/// The other signature that is as good: (r, n − s).
pub fn twin(token: &str) -> String {
    use base64::Engine as _;
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    let mut borrow = 0;
    for (digit, order) in signature[32..].iter_mut().zip(hex::decode(ORDER).unwrap()).rev() {
        let difference = i16::from(order) - i16::from(*digit) - borrow;
        borrow = i16::from(difference < 0);
        *digit = difference.rem_euclid(256) as u8;
    }
    format!("{input}.{}", b64(signature))
}

async fn the_twin_of_a_signature_is_good_and_is_found_revoked(place: &Place) {
    let key = Key::p256("k");
    let issuer = TestIssuer::start(&[&key]).await;
    let hub = start(place, vec![issuer.config(json!({}))]).await;
    for claims in [issuer.claims("a"), with(&issuer.claims("a"), json!({"jti": null}))] {
        let token = key.token(&claims);
        let other = twin(&token);
        assert_ne!(token, other);
        assert!(active(&hub, &token).await && active(&hub, &other).await);
        hub.revoke(&json!({"token": token})).await;
        assert!(!active(&hub, &token).await && !active(&hub, &other).await);
    }
    hub.stop().await;
}

on_sqlite!(
    keys_come_from_where_the_configuration_says,
    every_listed_algorithm_works_with_its_own_kind_of_key_and_no_other,
    what_is_not_well_signed_and_well_spelt_is_refused,
    rsa_keys_under_2048_bits_are_refused,
    of_a_key_set_only_keys_for_signatures_count,
    a_new_key_works_at_once_and_made_up_names_cost_one_read,
    a_key_made_since_the_set_was_read_is_503_until_it_may_be_read_again,
    a_withdrawn_key_stops_working,
    an_issuer_that_is_away_costs_nothing_while_its_keys_are_known,
    the_twin_of_a_signature_is_good_and_is_found_revoked,
);
