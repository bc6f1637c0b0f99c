//! Security Event Tokens by poll (RFC 8936), against a transmitter that delivers until it is told not to.

use revocation_hub::clock::Clock;
use revocation_hub::config::DatabaseUrl;
use serde_json::{Value, json};

use crate::harness::*;
use crate::sets::*;
use crate::transmitter::Transmitter;

fn source(url: Value) -> Value {
    json!({"name": "idp", "kind": "ssf_poll", "url": url, "bearer": "secret-of-ours", "audiences": [AUDIENCE]})
}

async fn state(hub: &Api) -> String {
    hub.get("/v1/sources").await.expect(200).json()["sources"][0]["state"].as_str().unwrap().to_owned()
}

async fn rfc8936_2_4_what_is_committed_is_acknowledged_and_what_is_no_good_is_reported(place: &Place) {
    let signer = Signer::rs256("k");
    let transmitter = Transmitter::start(Some("secret-of-ours")).await;
    for n in 0..7 {
        transmitter.offer(&format!("a{n}"), signer.sign(&session(&format!("a{n}"), &format!("s{n}"))));
    }
    transmitter.offer("b", Signer::es256("k").sign(&session("b", "never")));
    transmitter.offer("c", signer.sign(&session("another", "never")));
    transmitter.offer("d", "no token".into());
    let hub = TestHub::start(believing(place, &signer, source(json!(transmitter.url()))), Clock::manual(NOW)).await;
    transmitter.until_acknowledged(7).await;
    let refused = until("all are settled", async || {
        let refused = transmitter.refused();
        (refused.len() == 3).then_some(refused)
    });
    let refused = refused.await;
    for (jti, err) in [("b", "invalid_key"), ("c", "invalid_request"), ("d", "invalid_request")] {
        assert_eq!(refused[jti]["err"], err, "{jti}");
        assert!(refused[jti]["description"].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert_eq!(place.rows().await, 7);
    // A long poll brings what comes later at once, and an ignored event is acknowledged as well.
    transmitter.offer("e", signer.sign(&session("e", "s7")));
    transmitter.offer("f", signer.sign(&claims("f", &format!("{RISC}opt-in"))));
    transmitter.until_acknowledged(9).await;
    assert_eq!((place.rows().await, state(&hub).await), (8, "connected".into()));
    for (headers, request) in transmitter.requests() {
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["accept"], "application/json");
        assert_eq!(headers.contains_key("content-language"), request.get("setErrs").is_some());
        assert!(request["maxEvents"].as_u64().is_some_and(|n| n > 0));
    }
    let requests = transmitter.requests();
    assert!(requests[1..].iter().all(|(_, request)| request["returnImmediately"] == false));
    // Every token was settled the first time.
    assert!(["a0", "a6", "b", "e"].iter().all(|jti| transmitter.delivered(jti) == 1));
    hub.stop().await;
}

async fn rfc8936_2_4_nothing_is_acknowledged_while_the_store_is_away(place: &Place) {
    let signer = Signer::es256("k");
    let transmitter = Transmitter::start(None).await;
    let wire = Proxy::new(place).await;
    let mut config = believing(place, &signer, source(json!(transmitter.url())));
    config.database_url = DatabaseUrl::new(wire.url(place));
    config.store.timeout = std::time::Duration::from_millis(500);
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    wire.set(Wire::Cut);
    transmitter.offer("a", signer.sign(&session("a", "s")));
    until("the source holds back", async || (state(&hub).await == "holding").then_some(())).await;
    assert_eq!((transmitter.delivered("a"), transmitter.acknowledged()), (1, vec![]));
    assert_eq!(place.rows().await, 0);
    wire.set(Wire::Good);
    transmitter.until_acknowledged(1).await;
    assert_eq!(place.rows().await, 1);
    until("the source goes on", async || (state(&hub).await == "connected").then_some(())).await;
    hub.stop().await;
}

async fn killed_between_commit_and_acknowledgement_nothing_is_lost_or_doubled(place: &Place) {
    let signer = Signer::es256("k");
    let transmitter = Transmitter::start(None).await;
    transmitter.let_acks_through(false);
    transmitter.offer("a", signer.sign(&session("a", "s")));
    let settings = format!(
        "[[issuers]]\nissuer = {ISSUER:?}\njwks_file = {:?}\n\
         [[sources]]\nname = \"idp\"\nkind = \"ssf_poll\"\nurl = {:?}\naudiences = [{AUDIENCE:?}]\n",
        signer.jwks_file(place).display().to_string(),
        transmitter.url()
    );
    let mut hub = Process::launch(place, &settings, &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    until("the token is committed", async || (!hub.snapshot().await.map.is_empty()).then_some(())).await;
    // Its id is remembered right after. Killed in between, a token whose lifetime starts with the revocation would be kept for
    // the seconds longer that pass until it comes again.
    until("the token is remembered", async || (place.number("select count(*) from seen").await == 1).then_some(()))
        .await;
    let before = hub.snapshot().await;
    hub.kill();
    drop(hub);
    assert_eq!(transmitter.acknowledged(), Vec::<String>::new());
    transmitter.let_acks_through(true);
    let mut hub = Process::launch(place, &settings, &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    transmitter.until_acknowledged(1).await;
    assert_eq!(transmitter.acknowledged().last().map(String::as_str), Some("a"));
    assert!(transmitter.delivered("a") >= 2);
    assert_eq!(hub.snapshot().await, before);
    hub.terminate();
    assert!(hub.ended().await.success());
}

async fn a_transmitter_may_be_away_and_come_back(place: &Place) {
    let signer = Signer::es256("k");
    let transmitter = Transmitter::start(None).await;
    let there = Place { url: transmitter.url(), folder: tempfile::tempdir().unwrap() };
    let wire = Proxy::new(&there).await;
    wire.set(Wire::Cut);
    let url = json!([wire.url(&there)]);
    let hub = TestHub::start(believing(place, &signer, source(url)), Clock::manual(NOW)).await;
    until("the source has tried", async || (state(&hub).await == "waiting").then_some(())).await;
    transmitter.offer("a", signer.sign(&session("a", "s")));
    wire.set(Wire::Good);
    transmitter.until_acknowledged(1).await;
    // In the middle of a long poll.
    until("the source waits", async || (state(&hub).await == "connected").then_some(())).await;
    wire.set(Wire::Cut);
    until("the source has noticed", async || (state(&hub).await == "waiting").then_some(())).await;
    transmitter.offer("b", signer.sign(&session("b", "s2")));
    wire.set(Wire::Good);
    transmitter.until_acknowledged(2).await;
    assert_eq!(place.rows().await, 2);
    hub.stop().await;
}

async fn the_addresses_are_tried_in_turn(place: &Place) {
    let signer = Signer::es256("k");
    let wrong = Transmitter::start(Some("another secret")).await;
    let transmitter = Transmitter::start(None).await;
    transmitter.offer("a", signer.sign(&session("a", "s")));
    let urls = json!([wrong.url(), transmitter.url()]);
    let hub = TestHub::start(believing(place, &signer, source(urls)), Clock::manual(NOW)).await;
    transmitter.until_acknowledged(1).await;
    let report = hub.get("/v1/sources").await.expect(200).json()["sources"][0].clone();
    assert_eq!((&report["failures"], place.rows().await), (&json!(1), 1));
    assert!(report["last_error"].as_str().is_some_and(|error| error.contains("401") && !error.contains("secret")));
    hub.stop().await;
}

async fn keys_that_cannot_be_read_now_leave_a_token_with_its_transmitter(place: &Place) {
    let signer = Signer::es256("k");
    let transmitter = Transmitter::start(None).await;
    transmitter.offer("a", signer.sign(&session("a", "s")));
    let config = believing(place, &signer, source(json!(transmitter.url())));
    std::fs::remove_file(signer.jwks_file(place)).unwrap();
    let hub = TestHub::start(config, Clock::manual(NOW)).await;
    until("it was delivered twice", async || (transmitter.delivered("a") >= 2).then_some(())).await;
    assert_eq!((transmitter.acknowledged().len(), transmitter.refused().len()), (0, 0));
    signer.jwks_file(place);
    transmitter.until_acknowledged(1).await;
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
}

both_stores!(
    rfc8936_2_4_what_is_committed_is_acknowledged_and_what_is_no_good_is_reported,
    killed_between_commit_and_acknowledgement_nothing_is_lost_or_doubled,
);

on_postgres!(rfc8936_2_4_nothing_is_acknowledged_while_the_store_is_away);

on_sqlite!(
    a_transmitter_may_be_away_and_come_back,
    the_addresses_are_tried_in_turn,
    keys_that_cannot_be_read_now_leave_a_token_with_its_transmitter,
);
