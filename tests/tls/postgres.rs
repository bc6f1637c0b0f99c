//! TLS to Postgres, with an authority of one's own and with certificates for database users.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use revocation_hub::clock::Clock;
use revocation_hub::config::DatabaseUrl;
use sqlx::{Connection, Executor, PgConnection, Row};

use crate::authority::*;
use crate::harness::*;

on_sqlite!(only_the_named_authority_and_the_right_host_are_believed);

/// A Postgres of the test's own that speaks TLS.
struct Postgres {
    child: Child,
    port: u16,
}

impl Postgres {
    async fn start(place: &Place, pair: &Pair, authority: &Authority) -> Self {
        let folder = place.folder.path().join("postgres");
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key), ("ca.crt", &authority.pem())] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        // The server has a user of its own.
        for path in [place.folder.path(), &folder] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers/postgres");
        let log = std::fs::File::create(place.folder.path().join("postgres.log")).unwrap();
        let mut command = Command::new(script);
        command.arg(&folder).arg(port.to_string()).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let server = Self { child: command.process_group(0).spawn().unwrap(), port };
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        let connects = async || PgConnection::connect(&url).await.ok();
        let mut admin = until("Postgres answers", connects).await;
        admin.execute("create database hub").await.unwrap();
        server
    }

    fn url(&self, host: &str, more: &str) -> String {
        format!("postgres://postgres@{host}:{}/hub?{more}", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // All of its processes; INT is the fast shutdown.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-INT", "--", &group]).status();
        let _ = self.child.wait();
    }
}

async fn only_the_named_authority_and_the_right_host_are_believed(place: &Place) {
    let (authority, other) = (Authority::new(), Authority::new());
    let postgres = Postgres::start(place, &authority.server(), &authority).await;
    let ca = file(place, "database-ca.pem", &authority.pem()).display().to_string();
    let wrong = file(place, "other-ca.pem", &other.pem()).display().to_string();
    let url = |host: &str, more: &str| postgres.url(host, &format!("sslmode=verify-full&{more}"));

    let mut config = place.config();
    config.database_url = DatabaseUrl::new(url("localhost", &format!("sslrootcert={ca}")));
    let hub = TestHub::start(config.clone(), Clock::system()).await;
    hub.revoke(&token("a")).await;
    let mut look = PgConnection::connect(&postgres.url("127.0.0.1", "sslmode=disable")).await.unwrap();
    let sql = "select count(*) filter (where ssl), count(*) filter (where not ssl) from pg_stat_ssl s \
               join pg_stat_activity a using (pid) where a.datname = 'hub' and a.pid <> pg_backend_pid()";
    let row = look.fetch_one(sql).await.unwrap();
    let (with, without): (i64, i64) = (row.get(0), row.get(1));
    assert!(with > 0 && without == 0, "{with} with TLS, {without} without");
    hub.stop().await;

    // Another authority, none but the public ones, and a host that the certificate does not name.
    for (url, why) in [
        (url("localhost", &format!("sslrootcert={wrong}")), "UnknownIssuer"),
        (url("localhost", ""), "UnknownIssuer"),
        (url("localhost.localdomain", &format!("sslrootcert={ca}")), "NotValidForName"),
    ] {
        if url.contains("localdomain") && tokio::net::lookup_host(("localhost.localdomain", 1)).await.is_err() {
            continue;
        }
        let program = Command::new(env!("CARGO_BIN_EXE_revocation-hub"));
        let mut hub = Process::launch_by(program, &url, place, "", &[]);
        hub.until_listening().await;
        until(why, async || hub.printed().contains(why).then_some(())).await;
        assert!(!hub.is_ready().await);
    }
}
