//! `revocation-hub doctor` and a real RabbitMQ: who is let in, what is there, and that nothing is made or taken.

use crate::amqp::broker::{Client, shared, unique};
use crate::harness::*;
use crate::visit::doctor;

const ONLY: [&str; 2] = ["--only", "links"];

fn source(url: &str, more: &str) -> String {
    format!("[[sources]]\nname = \"broker\"\nkind = \"amqp\"\nurl = \"{url}\"\n{more}\n")
}

async fn what_is_there_is_seen_and_left_alone(place: &Place) {
    let (queue, missing) = (unique("doctor"), unique("missing"));
    let client = Client::new(&shared()).await;
    client.queue(&queue, &[&queue]).await;
    for _ in 0..2 {
        client.publish(&queue, "text/plain", b"not for a doctor").await;
    }
    let visit = doctor(place, &source(&shared(), &format!("queue = \"{queue}\"")), &ONLY).await;
    let (severity, words) = visit.of("source \"broker\"");
    assert!(visit.code == 0 && severity == "ok", "{}", visit.text);
    for seen in ["lets us in as guest", "exchange amq.topic is there", "2 messages waiting and 0 consumers"] {
        assert!(words.contains(seen), "{seen}: {}", visit.text);
    }
    assert_eq!(client.counts(&queue).await, (2, 0));

    // What is missing stays missing, also the second time.
    let settings = source(&shared(), &format!("queue = \"{missing}\"\nexchange = \"{missing}\""));
    for _ in 0..2 {
        let visit = doctor(place, &settings, &ONLY).await;
        let (severity, words) = visit.of("source");
        assert!(visit.code == 3 && severity == "warning", "{}", visit.text);
        for name in ["exchange", "queue"] {
            assert!(words.contains(&format!("the {name} {missing} is not there")), "{}", visit.text);
        }
    }
    let outlet = format!("[[outlets]]\nname = \"o\"\nkind = \"amqp\"\nurl = \"{}\"\n", shared());
    let visit = doctor(place, &outlet, &ONLY).await;
    assert!(visit.code == 0 && visit.of("outlet \"o\"").1.contains("amq.topic is there"), "{}", visit.text);
}

async fn who_is_not_let_in(place: &Place) {
    let host = shared().strip_prefix("amqp://").unwrap().to_owned();
    let wrong = [
        ("amqp", format!("amqp://hub:hunter2hunter2@{host}/carbon")),
        // Its own password, but not its virtual host.
        ("amqp", format!("amqp://hub:secret@{host}/%2f")),
        ("amqp1", format!("amqp://hub:hunter2hunter2@{host}")),
        ("amqp", "amqp://hub:hunter2hunter2@127.0.0.1:1".to_owned()),
        ("stomp", "stomp://hub:hunter2hunter2@127.0.0.1:1".to_owned()),
    ];
    for (kind, url) in wrong {
        let visit = doctor(place, &source(&url, "").replace("\"amqp\"", &format!("\"{kind}\"")), &ONLY).await;
        assert!(visit.code == 1 && visit.of("source").0 == "failed", "{kind} {url}: {}", visit.text);
        assert!(!visit.text.contains("hunter2"), "{}", visit.text);
    }
    // Of several addresses each one counts: the second is for the day when the first is away.
    let urls = format!("[\"amqp://{host}\", \"amqp://127.0.0.1:1\"]");
    let settings = source("", "").replace("\"\"", &urls);
    let visit = doctor(place, &settings, &ONLY).await;
    let (severity, words) = visit.of("source");
    assert!(visit.code == 1 && severity == "failed" && words.contains("lets us in"), "{}", visit.text);
}

async fn amqp_1_lets_us_in(place: &Place) {
    let host = shared().strip_prefix("amqp://").unwrap().to_owned();
    let settings = source(&format!("amqp://guest:guest@{host}"), "").replace("\"amqp\"", "\"amqp1\"");
    let visit = doctor(place, &settings, &ONLY).await;
    assert!(visit.code == 0 && visit.of("source").1.contains("lets us in"), "{}", visit.text);
}

on_sqlite!(what_is_there_is_seen_and_left_alone, who_is_not_let_in, amqp_1_lets_us_in);
