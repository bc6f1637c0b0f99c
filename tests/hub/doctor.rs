//! `revocation-hub doctor`: what it finds on real servers, and that it changes nothing.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::harness::*;
use crate::visit::doctor;

/// Every file below a folder, with its length and the time of its last change.
fn files(place: &Place) -> Vec<(PathBuf, u64, SystemTime)> {
    let all = std::fs::read_dir(place.folder.path()).unwrap().map(|entry| entry.unwrap());
    let mut all: Vec<_> = all
        .filter(|entry| entry.file_name() != "doctor.toml")
        .map(|entry| (entry.path(), entry.metadata().unwrap().len(), entry.metadata().unwrap().modified().unwrap()))
        .collect();
    all.sort();
    all
}

async fn what_is_not_there_yet_is_no_failure_and_is_not_made(place: &Place) {
    let visit = doctor(place, "listen = \"127.0.0.1:0\"", &[]).await;
    let (severity, words) = visit.of("store");
    assert!(severity != "failed" && words.contains("when it starts"), "{}", visit.text);
    assert_eq!(visit.of("port").0, "ok");
    assert_ne!(visit.code, 1, "{}", visit.text);
    assert!(files(place).is_empty(), "{:?}", files(place));
    if place.is_postgres() {
        assert_eq!(place.number("select count(*) from pg_class where relname = 'log'").await, 0);
    }
    // Unless nobody will make it.
    let visit = doctor(place, "migrate_on_start = false", &["--only", "store"]).await;
    if place.is_postgres() {
        assert!(visit.code == 1 && visit.of("store").1.contains("revocation-hub migrate"), "{}", visit.text);
    }
}

async fn it_may_look_beside_a_hub(place: &Place) {
    let mut hub = Process::start(place).await;
    hub.revoke(&token("a")).await;
    let before = files(place);
    let settings = format!("listen = \"{}\"", hub.address());
    let visit = doctor(place, &settings, &[]).await;
    assert_ne!(visit.code, 1, "{}", visit.text);
    let (severity, words) = visit.of("port");
    assert!(severity == "ok" && words.contains("a hub is listening there, ready, head 1"), "{}", visit.text);
    let (severity, words) = visit.of("store");
    let expected = if place.is_postgres() { "NOTIFY reaches LISTEN" } else { "a hub has the file (process" };
    assert!(severity != "failed" && words.contains(expected), "{}", visit.text);
    assert!(visit.text.contains("the schema is the one of this program"), "{}", visit.text);

    // The hub is none the worse for it, and neither are its files.
    hub.revoke(&token("b")).await;
    hub.terminate();
    assert_eq!(hub.ended().await.code(), Some(0));
    let paths = |files: &[(PathBuf, u64, SystemTime)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    let (left, closed) = (paths(&files(place)), files(place));
    assert!(left.iter().all(|path| paths(&before).contains(path)), "{left:?}");
    let visit = doctor(place, "", &["--only", "store"]).await;
    assert_ne!(visit.code, 1, "{}", visit.text);
    assert_eq!(files(place), closed, "{}", visit.text);
}

async fn an_address_that_somebody_else_has(place: &Place) {
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = other.local_addr().unwrap();
    // It takes connections and says nothing that a hub would say.
    let talk = tokio::spawn(async move { while other.accept().await.is_ok() {} });
    let settings = format!("listen = [\"{taken}\", \"192.0.2.1:80\"]\n{CLIENT}");
    let visit = doctor(place, &settings, &["--only", "ports"]).await;
    assert_eq!(visit.code, 1, "{}", visit.text);
    let (severity, words) = visit.of(&format!("port {taken}"));
    assert!(severity == "failed" && words.contains("somebody else"), "{}", visit.text);
    let (severity, words) = visit.of("port 192.0.2.1:80");
    assert!(severity == "failed" && words.contains("no such address"), "{}", visit.text);
    talk.abort();
}

const CLIENT: &str =
    "[[clients]]\nname = \"a\"\nscopes = [\"read\"]\nbasic = { username = \"a\", password = \"hunter2hunter2\" }\n";

async fn files_of_secrets_that_others_may_read(place: &Place) {
    use std::os::unix::fs::PermissionsExt as _;
    let secret = place.folder.path().join("secret");
    std::fs::write(&secret, "hunter2hunter2").unwrap();
    let settings =
        CLIENT.replace("password = \"hunter2hunter2\"", &format!("password_file = \"{}\"", secret.display()));
    for (mode, severity, code) in [(0o644, "warning", 3), (0o600, "ok", 0)] {
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(mode)).unwrap();
        let visit = doctor(place, &settings, &["--only", "configuration"]).await;
        assert_eq!((visit.of("configuration").0.as_str(), visit.code), (severity, code), "{}", visit.text);
        assert!(!visit.text.contains("hunter2"), "{}", visit.text);
    }
    // The file itself, when the secret stands in it.
    let visit = doctor(place, CLIENT, &["--only", "configuration"]).await;
    assert!(visit.code == 3 && visit.text.contains("secrets in it"), "{}", visit.text);
    assert!(!visit.text.contains("hunter2"), "{}", visit.text);
}

async fn a_configuration_that_is_not_accepted(place: &Place) {
    let visit = doctor(place, "clock_skwe = \"1s\"", &[]).await;
    let (severity, words) = visit.of("configuration");
    assert!(visit.code == 64 && severity == "failed" && words.contains("clock_skwe"), "{}", visit.text);
}

async fn a_file_that_is_damaged(place: &Place) {
    use std::os::unix::fs::FileExt as _;
    let mut hub = Process::start(place).await;
    hub.revoke(&token("a")).await;
    hub.terminate();
    assert_eq!(hub.ended().await.code(), Some(0));
    let file = std::fs::File::options().write(true).open(place.file()).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    // Every page but the first, which says that it is a database and where its tables are.
    for page in 1..pages {
        file.write_all_at(&[0x5a; 2048], page * 4096).unwrap();
    }
    let visit = doctor(place, "", &["--only", "store"]).await;
    let (severity, words) = visit.of("store");
    assert!(visit.code == 1 && severity == "failed" && words.contains("docs/backup.md"), "{}", visit.text);
}

async fn a_server_that_takes_no_writes(place: &Place) {
    let name = place.database();
    place.sql(&format!("alter database {name} set default_transaction_read_only = on")).await;
    let visit = doctor(place, "", &["--only", "store"]).await;
    let (severity, words) = visit.of("store");
    assert!(visit.code == 1 && severity == "failed" && words.contains("read-only"), "{}", visit.text);
}

async fn a_database_that_is_not_reachable(place: &Place) {
    let url = "database_url = \"postgres://hub:hunter2hunter2@127.0.0.1:1/hub\"";
    let visit = doctor(place, url, &["--only", "store"]).await;
    assert!(visit.code == 1 && visit.of("store").0 == "failed", "{}", visit.text);
    assert!(!visit.text.contains("hunter2"), "{}", visit.text);
}

/// A pooler that takes the connection away from its client between two transactions: who listens hears nothing.
async fn a_pooler_that_makes_hubs_deaf(place: &Place) {
    let postgres: reqwest::Url = place.url.parse().unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let log = std::fs::File::create(folder.path().join("log")).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/servers/pgbouncer");
    let mut pooler = Command::new(script)
        .arg(folder.path())
        .args([port.to_string(), postgres.port().unwrap().to_string()])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap();
    until("the pooler listens", async || {
        assert!(
            pooler.try_wait().unwrap().is_none(),
            "{}",
            std::fs::read_to_string(folder.path().join("log")).unwrap()
        );
        tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    let mut url = postgres.clone();
    url.set_port(Some(port)).unwrap();
    let visit = doctor(place, &format!("database_url = \"{url}\""), &["--only", "store"]).await;
    pooler.kill().unwrap();
    pooler.wait().unwrap();
    let (severity, words) = visit.of("store");
    assert!(visit.code == 1 && severity == "failed" && words.contains("PgBouncer"), "{}", visit.text);
    // It is the pooler: past it, all is well.
    let visit = doctor(place, "", &["--only", "store"]).await;
    assert!(visit.text.contains("NOTIFY reaches LISTEN"), "{}", visit.text);
}

/// A self-signed certificate that is good from one year to another, and its key, in files of this folder.
fn certificate(place: &Place, name: &str, from: i32, until: i32) -> (PathBuf, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (rcgen::date_time_ymd(from, 1, 1), rcgen::date_time_ymd(until, 1, 1));
    let paths = (place.folder.path().join(format!("{name}.pem")), place.folder.path().join(format!("{name}.key")));
    std::fs::write(&paths.0, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&paths.1, key.serialize_pem()).unwrap();
    paths
}

async fn certificates_and_their_dates(place: &Place) {
    let tls = |certificate: &PathBuf, key: &PathBuf| {
        format!("[tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n", certificate.display(), key.display())
    };
    let good = certificate(place, "good", 2020, 4000);
    let old = certificate(place, "old", 2020, 2021);
    let only = ["--only", "certificates"];
    let visit = doctor(place, &tls(&good.0, &good.1), &only).await;
    let words = visit.of("certificates").1;
    assert!(
        visit.code == 0 && words.contains("tls.certificate_file") && words.contains("4000-01-01"),
        "{}",
        visit.text
    );
    let visit = doctor(place, &tls(&old.0, &old.1), &only).await;
    assert!(visit.code == 1 && visit.of("certificates").1.contains("expired at 2021-01-01"), "{}", visit.text);
    let visit = doctor(place, &tls(&good.0, &old.1), &only).await;
    assert!(visit.code == 1 && visit.of("certificates").1.contains("is not the key of"), "{}", visit.text);

    // Of authorities one that is good is enough.
    let both = place.folder.path().join("both.pem");
    let text = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    std::fs::write(&both, text(&old.0) + &text(&good.0)).unwrap();
    for (file, code) in [(&old.0, 1), (&both, 3), (&good.0, 0), (&good.1, 1), (&PathBuf::from("/nowhere"), 1)] {
        let settings = format!("[proxy]\nurl = \"https://localhost\"\nca_file = \"{}\"\n", file.display());
        let visit = doctor(place, &settings, &only).await;
        assert_eq!(visit.code, code, "{}", visit.text);
    }
}

both_stores!(what_is_not_there_yet_is_no_failure_and_is_not_made, it_may_look_beside_a_hub);
on_sqlite!(
    an_address_that_somebody_else_has,
    files_of_secrets_that_others_may_read,
    a_configuration_that_is_not_accepted,
    a_file_that_is_damaged,
    certificates_and_their_dates,
    a_database_that_is_not_reachable,
);
on_postgres!(a_server_that_takes_no_writes, a_pooler_that_makes_hubs_deaf);
