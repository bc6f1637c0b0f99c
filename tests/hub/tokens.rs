//! Real tokens, sent as they are: found again by their `jti` or by the hash of what was signed, and nowhere as text.

use std::collections::BTreeMap;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use reqwest::Method;
use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::harness::*;

const ISS: &str = "https://login.example.com/realms/main";

/// Signs with a key of its own, made for this test.
struct Mint {
    algorithm: Algorithm,
    key: EncodingKey,
    public: Vec<u8>,
}

impl Mint {
    fn all() -> [Mint; 3] {
        [Self::rs256(), Self::es256(), Self::eddsa()]
    }

    fn rs256() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der = pair.as_der().unwrap();
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der.as_ref()));
        let key = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        Self { algorithm: Algorithm::RS256, key, public: pair.public_key().as_ref().to_vec() }
    }

    fn es256() -> Self {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, der.as_ref()).unwrap();
        let key = EncodingKey::from_ec_der(der.as_ref());
        Self { algorithm: Algorithm::ES256, key, public: pair.public_key().as_ref().to_vec() }
    }

    fn eddsa() -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        let key = EncodingKey::from_ed_der(der.as_ref());
        Self { algorithm: Algorithm::EdDSA, key, public: pair.public_key().as_ref().to_vec() }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("key-1".into()), ..Header::new(self.algorithm) };
        encode(&header, claims, &self.key).unwrap()
    }

    /// Whether a gateway would take the token, its life aside.
    fn accepts(&self, token: &str) -> bool {
        let key = match self.algorithm {
            Algorithm::RS256 => DecodingKey::from_rsa_der(&self.public),
            Algorithm::ES256 => DecodingKey::from_ec_der(&self.public),
            _ => DecodingKey::from_ed_der(&self.public),
        };
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        decode::<Value>(token, &key, &validation).is_ok()
    }
}

fn claims(jti: Option<&str>, exp: i64) -> Value {
    let mut claims = json!({"iss": ISS, "sub": "4f6d2a19", "azp": "shop", "iat": NOW - 60, "exp": exp});
    if let Some(jti) = jti {
        claims["jti"] = json!(jti);
    }
    claims
}

/// Independent of the hub: SHA-256 over everything before the last dot.
fn signing_input_hash(token: &str) -> String {
    hex::encode(Sha256::digest(&token.as_bytes()[..token.rfind('.').unwrap()]))
}

fn signature(token: &str) -> &str {
    &token[token.rfind('.').unwrap() + 1..]
}

async fn check(hub: &Api, token: &str) -> Answer {
    hub.send(hub.request(Method::POST, "/v1/check").form(&[("token", token)])).await.unwrap()
}

async fn every_token_is_found_again_everywhere(place: &Place) {
    let mut config = place.config();
    config.keep_signature = true;
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    let mut stream = hub.stream(Start::Now).await;
    let mut wanted = BTreeMap::new();
    let (mut array, mut legacy) = (Vec::new(), Vec::new());
    let mut exp = NOW + 3600;
    for mint in Mint::all() {
        let jti = format!("{:?}-1", mint.algorithm);
        for jti in [Some(jti.as_str()), None] {
            exp += 1;
            let token = mint.sign(&claims(jti, exp));
            assert!(mint.accepts(&token));
            let other = mint.sign(&claims(jti.map(|_| "another"), exp + 1000));
            assert_eq!(check(&hub, &token).await.expect(200).json(), json!({"revoked": false}));

            let id = hub.revoke(&json!({"token": token, "reason": "stolen"})).await;
            let mut entry = json!({"id": id, "exp": exp, "revoked_at": NOW, "reason": "stolen", "source": "http"});
            let by_claims = match jti {
                Some(jti) => {
                    (entry["kind"], entry["iss"], entry["jti"]) = (json!("token"), json!(ISS), json!(jti));
                    format!("jti={jti}&iss={ISS}")
                }
                None => {
                    let sha256 = signing_input_hash(&token);
                    (entry["kind"], entry["sha256"]) = (json!("token_hash"), json!(sha256));
                    format!("sha256={sha256}&iss={ISS}")
                }
            };
            let event = stream.until("the event", |seen, _| match seen {
                Seen::Revoked(value) => Some(value.clone()),
                _ => None,
            });
            assert_eq!(event.await, entry);
            assert_eq!(check(&hub, &token).await.expect(200).json(), json!({"revoked": true, "by": entry}));
            let answer = hub.get(&format!("/v1/check?{by_claims}")).await.expect(200);
            assert_eq!(answer.json(), json!({"revoked": true, "by": entry}));
            assert_eq!(check(&hub, &other).await.expect(200).json(), json!({"revoked": false}));
            assert_eq!(hub.post(&json!({"token": token})).await.expect(200).json()["status"], "unchanged");

            let name = jti.unwrap_or(signature(&token));
            array.push(json!({"jwt_signature": name, "expiry_time": exp * 1000}));
            legacy.push(json!({"jwtSignature": signature(&token), "expiryTime": exp}));
            wanted.insert(id, entry);
        }
    }
    assert_eq!(hub.snapshot().await.map, wanted);
    assert_eq!(hub.get("/internal/data/v1/revokedjwt").await.expect(200).json(), json!(array));
    let object = json!({"revokedJWTList": array, "revokedJWTSubjectEntityList": [], "revokedJWTConsumerKeyList": []});
    assert_eq!(hub.get("/apim43/internal/data/v1/revokedjwt").await.expect(200).json(), object);
    assert_eq!(hub.get("/throttle/data/v1/revokedjwt").await.expect(200).json(), json!(legacy));
    hub.stop().await;
}

/// The other valid ECDSA signature of the same text: (r, n − s) (FIPS 186-5 §6.4 verifies s and −s alike).
fn twin(token: &str) -> String {
    // The order of P-256 (SP 800-186 §3.2.1.3).
    let n = hex::decode("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551").unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature(token)).unwrap();
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i32::from(n[i]) - i32::from(bytes[32 + i]) - borrow;
        borrow = i32::from(difference < 0);
        bytes[32 + i] = u8::try_from(difference & 0xff).unwrap();
    }
    format!("{}.{}", &token[..token.rfind('.').unwrap()], URL_SAFE_NO_PAD.encode(bytes))
}

async fn another_signature_of_the_same_token_does_not_help(place: &Place) {
    let hub = place.hub().await;
    let mint = Mint::es256();
    let token = mint.sign(&claims(None, NOW + 60));
    let twin = twin(&token);
    assert_ne!(token, twin);
    assert!(mint.accepts(&twin), "a gateway takes it");
    let id = hub.revoke(&json!({"token": token})).await;
    assert_eq!(check(&hub, &twin).await.expect(200).json()["by"]["id"], id);
    // ECDSA signatures are random: signed again, the token is still the same one.
    let again = mint.sign(&claims(None, NOW + 60));
    assert_ne!(signature(&token), signature(&again));
    assert_eq!(check(&hub, &again).await.expect(200).json()["by"]["id"], id);
    hub.stop().await;
}

async fn other_spellings_are_refused(place: &Place) {
    let hub = place.hub().await;
    for mint in Mint::all() {
        let token = mint.sign(&claims(None, NOW + 60));
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!() };
        // The last character of 64 or 256 bytes carries bits that lenient readers ignore.
        let last = signature.chars().last().unwrap();
        let stray = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".chars();
        let same = |c: char| {
            let stray = format!("{}{c}", &signature[..signature.len() - 1]);
            let decode = |text: &str| {
                let config = base64::engine::GeneralPurposeConfig::new()
                    .with_decode_allow_trailing_bits(true)
                    .with_decode_padding_mode(base64::engine::DecodePaddingMode::RequireNone);
                base64::engine::GeneralPurpose::new(&base64::alphabet::URL_SAFE, config).decode(text).unwrap()
            };
            (c != last && decode(&stray) == decode(signature)).then_some(stray)
        };
        let stray = stray.filter_map(same).next().expect("a spelling with stray bits");
        let array = URL_SAFE_NO_PAD.encode("[]");
        for bad in [
            format!("{token}="),
            format!("{token}=="),
            format!("{header}=.{payload}.{signature}"),
            format!("{header}.{payload}==.{signature}"),
            format!("{header}.{payload}.{stray}"),
            format!("{header}.{payload}.{signature}+"),
            format!("{header}.{payload}.{signature}/"),
            format!("{header}.{array}.{signature}"),
            format!("{header}..{signature}"),
            // Whoever splits at the dots and drops what is empty at the end takes this for the token.
            format!("{token}."),
            format!("{token}.."),
            format!(" {token}"),
            format!("{token}\n"),
            format!("{header}.\t{payload}.{signature}"),
            format!("{header}.{payload}.{signature}\u{200b}"),
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"jti":"a","jti":"b"}"#)),
            format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(r#"{"jti":5}"#)),
        ] {
            let answer = check(&hub, &bad).await.expect(422);
            assert_eq!(answer.code(), "malformed_token", "{bad:?}");
            let answer = hub.post(&json!({"token": bad})).await.expect(422);
            assert_eq!(answer.code(), "malformed_token", "{bad:?}");
            assert!(!answer.text().contains(payload), "{}", answer.text());
        }
    }
    assert_eq!(hub.snapshot().await.cursor.seq, 0);
    hub.stop().await;
}

async fn the_text_of_a_token_is_nowhere(place: &Place) {
    let mut hub = Process::launch(place, "[log]\nlevel = \"trace\"\n", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    let far = 4_102_444_800;
    let mut secrets = vec!["opaque-5Jh2mQ9xLw7".to_owned()];
    for mint in Mint::all() {
        secrets.push(mint.sign(&claims(Some(&format!("{:?}", mint.algorithm)), far)));
        secrets.push(mint.sign(&claims(None, far)));
    }
    let mut answers = Vec::new();
    for (i, secret) in secrets.iter().enumerate() {
        answers.push(check(&hub, secret).await.expect(200));
        answers.push(hub.post(&json!({"token": secret, "exp": far})).await.expect(201));
        answers.push(hub.post_lines(&[json!({"token": secret, "exp": far}), json!({"jti": format!("n{i}")})]).await);
        answers.push(check(&hub, secret).await.expect(200));
        // Where it does not belong.
        for wrong in [
            json!(secret),
            json!({"token": {"a": secret}}),
            json!({"token": [secret]}),
            json!({"exp": secret, "jti": "a"}),
            json!({"exp": format!("x, expected {secret}"), "jti": "a"}),
            json!({"jti": "a", "ttl": 5, "issued_before": secret}),
            json!([secret]),
            json!([[secret]]),
            json!({"token": format!("{secret} ")}),
            json!({"token": format!("{secret}\u{1}")}),
            json!({"token": secret, "sid": "x"}),
            json!({"sha256": secret}),
            json!({secret: 1}),
        ] {
            // A name as short as this one is quoted, so that people find their slip.
            if !(wrong.get(secret).is_some() && secret.len() < 100) {
                answers.push(hub.post(&wrong).await);
            }
        }
        let request = hub.request(Method::POST, "/v1/revocations").header("content-type", "application/json");
        answers.push(hub.send(request.body(format!("{{\"token\":\"{secret}\""))).await.unwrap());
        for path in
            ["/v1/check?token=", "/v1/check?iat=", "/v1/check?jti=a&iat=", "/v1/events?x=", "/v1/revocations?since="]
        {
            answers.push(hub.get(&format!("{path}{secret}")).await);
        }
        answers.push(hub.get(&format!("/v1/revocations/{secret}")).await);
        answers.push(hub.send(hub.request(Method::GET, "/v1/events").header("last-event-id", secret)).await.unwrap());
        answers.push(hub.send(hub.request(Method::GET, "/v1/revocations").bearer_auth(secret)).await.unwrap());
    }
    for path in [
        "/v1/revocations",
        "/internal/data/v1/revokedjwt",
        "/apim43/internal/data/v1/revokedjwt",
        "/throttle/data/v1/revokedjwt",
        "/metrics",
    ] {
        answers.push(hub.get(path).await.expect(200));
    }
    let live = hub.snapshot().await.map.len();
    assert_eq!(live, 2 * secrets.len());
    let mut stream = hub.stream(Start::Earliest).await;
    let mut events = Map::new();
    stream.follow(&mut events, hub.snapshot().await.cursor.seq).await;
    hub.terminate();
    assert!(hub.ended().await.success());

    let printed = hub.printed();
    assert!(printed.contains("listening"));
    let mut files = 0;
    for secret in &secrets {
        // Neither whole nor without its signature.
        let parts = [secret.as_str(), &secret[..secret.rfind('.').unwrap_or(secret.len())]];
        for part in parts {
            assert!(!printed.contains(part), "in the log");
            assert!(!json!(events).to_string().contains(part), "on the stream");
            for answer in &answers {
                assert!(!answer.text().contains(part), "{}", answer.text());
                assert!(!format!("{:?}", answer.headers).contains(part), "{:?}", answer.headers);
            }
            for entry in place.folder.path().read_dir().unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("log.db") {
                    let bytes = std::fs::read(path).unwrap();
                    assert!(!bytes.windows(part.len()).any(|w| w == part.as_bytes()), "in the database");
                    files += 1;
                }
            }
        }
    }
    assert!(files > 0);
}

on_sqlite!(
    every_token_is_found_again_everywhere,
    another_signature_of_the_same_token_does_not_help,
    other_spellings_are_refused,
    the_text_of_a_token_is_nowhere,
);
