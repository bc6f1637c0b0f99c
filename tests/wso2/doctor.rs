//! `revocation-hub doctor --url`: an event stream through a real nginx, which holds it back or does not.

use crate::harness::*;
use crate::setup::Nginx;
use crate::visit::doctor;

/// Passes everything on. The buffers are too large to be filled by bookmarks while somebody waits.
fn pass_on(address: &str, more: &str) -> String {
    format!(
        "location / {{ proxy_pass http://{address}; proxy_buffer_size 512k; \
         proxy_buffers 8 512k; proxy_busy_buffers_size 1m; {more} }}"
    )
}

async fn a_proxy_that_holds_streams_back_is_found(place: &Place) {
    let hub = Process::start(place).await;
    for (more, code, words) in [
        ("proxy_buffering off;", 0, "comes as it is sent"),
        // The hub asks nginx not to, and nginx does as it is asked,
        ("proxy_buffering on;", 0, "comes as it is sent"),
        // unless it is told not to listen. (Of HTTP/1.1 it passes every chunk on; it speaks 1.0 unless told otherwise.)
        ("proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;", 1, "held back on the way"),
        // Its time limit is shorter than the time between two bookmarks, and perhaps than that of the first event.
        ("proxy_buffering off; proxy_read_timeout 30ms;", 1, ""),
    ] {
        let conf = pass_on(hub.address(), more);
        let nginx = Nginx::start(&[("server.conf", conf.as_bytes())]).await;
        let url = format!("http://127.0.0.1:{}", nginx.port);
        let visit = doctor(place, "bookmark_interval = \"1s\"", &["--only", "url", "--url", &url]).await;
        assert!(visit.code == code && visit.of("url").1.contains(words), "{more}: {}", visit.text);
    }
    // Past it all is well, and where no hub is, it says so.
    let direct = format!("http://{}", hub.address());
    let visit = doctor(place, "", &["--only", "url", "--url", &direct]).await;
    assert!(visit.code == 0, "{}", visit.text);
    let nginx = Nginx::start(&[("www/v1/events", b"welcome"), ("www/livez", b"welcome")]).await;
    let other = format!("http://127.0.0.1:{}", nginx.port);
    for (url, words) in
        [(&*other, "no event stream"), ("http://127.0.0.1:1", "cannot be reached"), ("nonsense", "http://HOST")]
    {
        let visit = doctor(place, "", &["--only", "url", "--url", url]).await;
        assert!(visit.code == 1 && visit.of("url").1.contains(words), "{}", visit.text);
    }
}

on_sqlite!(a_proxy_that_holds_streams_back_is_found);
