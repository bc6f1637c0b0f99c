//! Certificates and clients that change while the hub runs, with streams open.

use std::os::unix::fs::symlink;
use std::time::Duration;

use reqwest::Method;
use revocation_hub::cli::promise::{Seen, Start};
use revocation_hub::clock::Clock;
use revocation_hub::config::{Basic, Scope, Secret};

use crate::authority::*;
use crate::clients::{named, subject, with_password};
use crate::harness::*;

on_sqlite!(
    a_secret_of_kubernetes_is_swapped_under_open_streams,
    what_is_wrong_keeps_what_was_and_is_said_until_it_is_right,
    sighup_reads_the_configuration_again,
    a_client_that_goes_takes_its_streams_along_and_no_others,
);

/// Writes certificate and key as Kubernetes does: a folder of the version, a link to it that is replaced by a rename, and
/// files that are links through that one.
fn publish(place: &Place, version: &str, pair: &Pair) {
    let root = place.folder.path().join("mounted");
    let folder = root.join(version);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("tls.crt"), &pair.certificate).unwrap();
    std::fs::write(folder.join("tls.key"), &pair.key).unwrap();
    let (new, data) = (root.join("..data_tmp"), root.join("..data"));
    symlink(version, &new).unwrap();
    std::fs::rename(&new, &data).unwrap();
    for name in ["tls.crt", "tls.key"] {
        if !root.join(name).exists() {
            symlink(format!("..data/{name}"), root.join(name)).unwrap();
        }
    }
}

async fn a_secret_of_kubernetes_is_swapped_under_open_streams(place: &Place) {
    let (old, new) = (Authority::new(), Authority::new());
    publish(place, "1", &old.server());
    let mut config = place.config();
    let mounted = |name: &str| Some(place.folder.path().join("mounted").join(name));
    (config.tls.certificate_file, config.tls.key_file) = (mounted("tls.crt"), mounted("tls.key"));
    config.reload_interval = Duration::from_millis(20);
    let hub = TestHub::start_with_tls(config, Clock::manual(NOW), client(&old, None)).await;
    let far = hub.metric("tls_certificate_not_after_timestamp_seconds", "server").await;
    assert!(far > 4e9, "{far}");
    let mut stream = hub.stream(Start::Now).await;
    stream.event().await;
    let mut params = server();
    params.not_after = rcgen::date_time_ymd(2040, 1, 1);
    publish(place, "2", &new.sign(params));
    let renewed = Api::with(hub.url().to_owned(), client(&new, None));
    renewed.until_ready().await;
    assert_eq!(renewed.metric("tls_certificate_not_after_timestamp_seconds", "server").await, 2_208_988_800.0);
    assert_eq!(renewed.metric("reloads_total", "applied").await, 1.0);
    // Whoever trusts the old one only is not let in any more, but for the connections that are open.
    let late = Api::with(hub.url().to_owned(), client(&old, None));
    assert!(!late.is_ready().await);
    let id = renewed.revoke(&token("after")).await;
    stream.until("it goes on", |seen, _| matches!(seen, Seen::Revoked(r) if r["id"] == id).then_some(())).await;
    hub.stop().await;
}

async fn what_is_wrong_keeps_what_was_and_is_said_until_it_is_right(place: &Place) {
    let authority = Authority::new();
    let (good, other) = (authority.server(), authority.server());
    let password = file(place, "password", "first\n");
    let mut config = secured(place, &good);
    let mut client_of = named("gw", &[Scope::Read], subject("CN=gw"));
    client_of.certificate = None;
    let password_of = Some(password.clone());
    client_of.basic = Some(Basic { username: "gw".into(), password: Secret::new("first"), password_file: password_of });
    config.clients = vec![client_of];
    config.reload_interval = Duration::ZERO;
    let hub = TestHub::start_with_tls(config, Clock::manual(NOW), client(&authority, None)).await;
    let ask = async |password: &str| {
        let request = hub.request(Method::GET, "/v1/revocations").basic_auth("gw", Some(password));
        hub.send(request).await.unwrap().status
    };
    let look = || hub.hub().reloader().look().map_err(|error| error.to_string());
    assert_eq!(look(), Ok(false));
    // Half of it is new: all of it stays as it was, the password too, which is good.
    file(place, "password", "second\n");
    file(place, "server.key", &other.key);
    for _ in 0..3 {
        let error = look().unwrap_err();
        assert!(error.contains("server.key is not the key of"), "{error}");
    }
    assert_eq!((ask("first").await, ask("second").await), (200, 401));
    assert_eq!((hub.metric("reload_failing", "").await, hub.metric("reloads_total", "failed").await), (1.0, 1.0));
    assert!(Api::with(hub.url().to_owned(), client(&authority, None)).is_ready().await, "the old certificate is shown");
    file(place, "server.crt", &other.certificate);
    assert_eq!(look(), Ok(true));
    assert_eq!((ask("first").await, ask("second").await), (401, 200));
    assert_eq!((hub.metric("reload_failing", "").await, hub.metric("reloads_total", "applied").await), (0.0, 1.0));
    std::fs::remove_file(&password).unwrap();
    assert!(look().unwrap_err().contains("basic.password_file"));
    assert_eq!(ask("second").await, 200);
    hub.stop().await;
}

async fn sighup_reads_the_configuration_again(place: &Place) {
    let client = |name: &str| {
        format!("[[clients]]\nname = \"{name}\"\nscopes = [\"read\"]\nbearer = {{ token = \"of-{name}\" }}\n")
    };
    let mut hub = Process::launch(place, &client("first"), &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    let ask = async |name: &str| {
        let request = hub.request(Method::GET, "/v1/revocations").bearer_auth(format!("of-{name}"));
        hub.send(request).await.unwrap().status
    };
    assert_eq!((ask("first").await, ask("second").await), (200, 401));
    let settings = hub.settings();
    let text = std::fs::read_to_string(&settings).unwrap();
    let until_said = async |what: &str| until(what, async || hub.printed().contains(what).then_some(())).await;
    // A slip of the pen changes nothing.
    std::fs::write(&settings, text.replace("scopes", "scoops")).unwrap();
    hub.signal("HUP");
    until_said("cannot be used, and the hub goes on with what it had").await;
    assert_eq!((ask("first").await, hub.metric("reload_failing", "").await), (200, 1.0));
    // Nor does a file that opens the hub to everybody.
    std::fs::write(&settings, text.replace(&client("first"), "")).unwrap();
    hub.signal("HUP");
    until_said("restart the hub if that is meant").await;
    assert_eq!(ask("first").await, 200);
    let changed = text.replace(&client("first"), &client("second")).replace("100ms", "200ms");
    std::fs::write(&settings, changed).unwrap();
    hub.signal("HUP");
    until_said("need a restart: bookmark_interval").await;
    assert_eq!((ask("first").await, ask("second").await), (401, 200));
    assert_eq!(hub.metric("reload_failing", "").await, 0.0);
    hub.signal("HUP");
    until_said("certificates and clients are as they were").await;
}

async fn a_client_that_goes_takes_its_streams_along_and_no_others(place: &Place) {
    let all = ["stays", "goes", "changes"].map(|name| {
        let mut client = with_password(named(name, &[Scope::Read], subject("CN=x")), name);
        client.certificate = None;
        client
    });
    let mut config = place.config();
    config.clients = all.to_vec();
    let hub = TestHub::start(config.clone(), Clock::manual(NOW)).await;
    let open = async |name: &str| {
        let request = hub.request(Method::GET, "/v1/events").basic_auth(name, Some(name));
        let response = within("the stream opens", request.send()).await.unwrap();
        assert_eq!(response.status(), 200);
        response
    };
    let (mut stays, mut goes, mut changes) = (open("stays").await, open("goes").await, open("changes").await);
    config.clients.remove(1);
    config.clients[1].basic.as_mut().unwrap().password = Secret::new("another");
    assert!(hub.hub().reloader().reload(Ok(config)).unwrap());
    for ended in [&mut goes, &mut changes] {
        within("the stream ends", async { while let Ok(Some(_)) = ended.chunk().await {} }).await;
    }
    assert_eq!(hub.metric("streams_ended_total", "credential").await, 2.0);
    for _ in 0..3 {
        assert!(within("it goes on", stays.chunk()).await.unwrap().is_some());
    }
    hub.stop().await;
}
