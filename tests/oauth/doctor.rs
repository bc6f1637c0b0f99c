//! `revocation-hub doctor` and the key sets of issuers.

use serde_json::json;

use crate::harness::*;
use crate::issuer::*;
use crate::visit::doctor;

async fn key_sets_are_read_as_the_hub_reads_them(place: &Place) {
    let key = Key::p256("of-today");
    let issuer = TestIssuer::start(&[&key]).await;
    let settings = |more: &str| format!("[[issuers]]\nissuer = \"{}\"\n{more}\n", issuer.iss);
    let only = ["--only", "issuers"];
    let visit = doctor(place, &settings(""), &only).await;
    let (severity, words) = visit.of("issuer ");
    // It is a warning that it comes over http.
    assert!(visit.code == 3 && severity == "warning" && words.contains("of-today (ES256)"), "{}", visit.text);

    let visit = doctor(place, &settings("algorithms = [\"ES256\", \"RS256\"]"), &only).await;
    assert!(visit.of("issuer ").1.contains("allows RS256, for which it has no key"), "{}", visit.text);
    let visit = doctor(place, &settings("algorithms = [\"RS256\"]"), &only).await;
    assert!(visit.code == 1 && visit.of("issuer ").1.contains("none of its 1 keys"), "{}", visit.text);

    issuer.serve_set(json!({"keys": []}));
    assert_eq!(doctor(place, &settings(""), &only).await.code, 1);
    issuer.answer(503);
    let visit = doctor(place, &settings(""), &only).await;
    assert!(visit.code == 1 && visit.of("issuer ").1.contains("503"), "{}", visit.text);

    let file = place.folder.path().join("keys.json");
    std::fs::write(&file, json!({"keys": [key.jwk()]}).to_string()).unwrap();
    let visit = doctor(place, &settings(&format!("jwks_file = \"{}\"", file.display())), &only).await;
    assert!(visit.code == 0 && visit.of("issuer ").1.contains("1 usable keys"), "{}", visit.text);
}

on_sqlite!(key_sets_are_read_as_the_hub_reads_them);
