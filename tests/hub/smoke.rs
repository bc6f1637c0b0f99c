//! The harness itself: a revocation goes in and comes out everywhere.

use revocation_hub::cli::promise::{Seen, Start};

use crate::harness::*;

async fn a_revocation_goes_in_and_comes_out_everywhere(place: &Place) {
    let hub = place.hub().await;
    let mut stream = hub.stream(Start::Now).await;
    let id = hub.revoke(&token("a")).await;
    let revoked = stream.until("the event", |seen, _| match seen {
        Seen::Revoked(value) => Some(value.clone()),
        _ => None,
    });
    assert_eq!(revoked.await["id"], *id);
    let snapshot = hub.snapshot().await;
    assert_eq!(snapshot.map.keys().collect::<Vec<_>>(), [&id]);
    assert_eq!(hub.metric("live_revocations", "").await, 1.0);
    assert_eq!(place.rows().await, 1);
    hub.stop().await;
    let hub = Process::start(place).await;
    hub.lift(&id).await;
    let mut map = snapshot.map;
    hub.stream(Start::After(snapshot.cursor)).await.follow(&mut map, 2).await;
    assert!(map.is_empty());
}

both_stores!(a_revocation_goes_in_and_comes_out_everywhere);
