//! The process: how it starts, how it refuses to, and how it ends.

use std::process::Command;

use revocation_hub::cli::promise::{Seen, Start};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::*;

async fn sigterm_ends_streams_and_the_exit_code_is_zero(place: &Place) {
    let mut hub = Process::start(place).await;
    let mut streams = vec![hub.stream(Start::Now).await, hub.stream(Start::Earliest).await];
    hub.revoke(&token("a")).await;
    for stream in &mut streams {
        stream.follow(&mut Map::new(), 1).await;
    }
    hub.terminate();
    for stream in &mut streams {
        within("the stream ends", async { while stream.next().await != Got::End {} }).await;
        assert!(stream.is_complete(), "ended in good order, not cut when the grace was over");
    }
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
    // Whoever comes back finds everything.
    let hub = Process::start(place).await;
    for stream in streams {
        let mut stream = hub.resume(stream.into_promise(), Ask::Header).await;
        stream.until("it is current", |seen, _| matches!(seen, Seen::Synced { head: 1 }).then_some(())).await;
    }
}

async fn sigint_ends_it_too(place: &Place) {
    let mut hub = Process::start(place).await;
    hub.signal("INT");
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
}

/// A request that never ends holds the process until the grace is over, or until somebody insists.
async fn a_second_signal_cuts_what_is_still_open(place: &Place) {
    let mut hub = Process::start(place).await;
    let mut slow = tokio::net::TcpStream::connect(hub.address()).await.unwrap();
    let request =
        "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{";
    slow.write_all(request.as_bytes()).await.unwrap();
    until("the hub has the request", async || (hub.metric("connections", "").await >= 2.0).then_some(())).await;
    hub.terminate();
    until("it is stopping", async || hub.printed().contains("a second signal").then_some(())).await;
    hub.terminate();
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
    let mut rest = Vec::new();
    let _ = within("the connection ends", slow.read_to_end(&mut rest)).await;
}

async fn a_second_hub_on_the_same_file_refuses_to_start(place: &Place) {
    let first = Process::start(place).await;
    first.revoke(&token("a")).await;
    let mut second = Process::launch(place, "", &[]);
    assert_eq!(second.ended().await.code(), Some(1));
    assert!(second.printed().contains("is in use by another revocation-hub"), "{}", second.printed());
    // The first one is none the worse for it.
    first.revoke(&token("b")).await;
    assert_eq!(first.snapshot().await.map.len(), 2);
}

async fn without_clients_it_refuses_to_listen_to_other_machines(place: &Place) {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let mut hub = Process::launch(place, "", &["--listen", address]);
        assert_eq!(hub.ended().await.code(), Some(64), "{address}");
        let printed = hub.printed();
        assert!(printed.contains("listen") && printed.contains("[[clients]]"), "{printed}");
        assert!(!place.file().exists(), "nothing was touched");
    }
}

async fn a_setting_that_does_not_exist_is_named(place: &Place) {
    let mut hub = Process::launch(place, "clock_skwe = \"1s\"", &[]);
    assert_eq!(hub.ended().await.code(), Some(64));
    assert!(hub.printed().contains("clock_skwe"), "{}", hub.printed());
}

async fn pending_migrations_refuse_to_start_when_it_may_not_apply_them(place: &Place) {
    let mut hub = Process::launch(place, "migrate_on_start = false", &[]);
    assert_eq!(hub.ended().await.code(), Some(1));
    let printed = hub.printed();
    assert!(printed.contains("0001_log") && printed.contains("revocation-hub migrate"), "{printed}");

    let migrate = || {
        let program = env!("CARGO_BIN_EXE_revocation-hub");
        Command::new(program).args(["migrate", "--database-url", &place.url]).output().unwrap()
    };
    let first = migrate();
    assert!(first.status.success(), "{first:?}");
    assert!(String::from_utf8_lossy(&first.stdout).contains("applied 0001_log"), "{first:?}");
    let second = migrate();
    assert!(second.status.success() && !String::from_utf8_lossy(&second.stdout).contains("applied"), "{second:?}");

    let mut hub = Process::launch(place, "migrate_on_start = false", &[]);
    hub.until_listening().await;
    hub.until_ready().await;
    hub.revoke(&token("a")).await;
}

/// A Postgres that says no to every password. The real one of these tests trusts everybody on this machine.
async fn a_server_that_refuses_the_password(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            loop {
                let Ok(length) = stream.read_u32().await else { return };
                let mut rest = vec![0; length as usize - 4];
                stream.read_exact(&mut rest).await.unwrap();
                // SSLRequest: not here.
                if rest == 80_877_103_u32.to_be_bytes() {
                    stream.write_all(b"N").await.unwrap();
                    continue;
                }
                break;
            }
            // AuthenticationCleartextPassword, then the password, then ErrorResponse.
            stream.write_all(b"R\0\0\0\x08\0\0\0\x03").await.unwrap();
            let (_, length) = (stream.read_u8().await.unwrap(), stream.read_u32().await.unwrap());
            let mut password = vec![0; length as usize - 4];
            stream.read_exact(&mut password).await.unwrap();
            assert_eq!(password, b"s3cret-word\0");
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"hub\"\0\0";
            stream.write_all(b"E").await.unwrap();
            stream.write_u32(fields.len() as u32 + 4).await.unwrap();
            stream.write_all(fields).await.unwrap();
        });
    }
}

async fn a_wrong_password_ends_the_start_and_is_not_shown(place: &Place) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://hub:s3cret-word@{}/hub", listener.local_addr().unwrap());
    tokio::spawn(a_server_that_refuses_the_password(listener));
    let file = place.folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    // By the flag, where it is seen in the list of processes but must not be in a log, and by a file.
    let elsewhere = Place { url, folder: tempfile::tempdir().unwrap() };
    let mut by_flag = Process::launch(&elsewhere, "log = { level = \"trace\" }", &[]);
    let output = || {
        let program = env!("CARGO_BIN_EXE_revocation-hub");
        Command::new(program).arg("migrate").env("REVOCATION_HUB_DATABASE_URL_FILE", &file).output().unwrap()
    };
    let by_file = tokio::task::block_in_place(output);
    assert_eq!((by_flag.ended().await.code(), by_file.status.code()), (Some(1), Some(1)));
    let by_file = format!("{}{}", String::from_utf8_lossy(&by_file.stdout), String::from_utf8_lossy(&by_file.stderr));
    for printed in [by_flag.printed(), by_file] {
        assert!(printed.contains("password authentication failed"), "{printed}");
        assert!(!printed.contains("s3cret-word"), "{printed}");
    }
}

/// No Postgres there is no reason to end: it may come.
async fn it_starts_without_the_database_and_waits_for_it(place: &Place) {
    let wire = Proxy::new(place).await;
    wire.set(Wire::Cut);
    let elsewhere = Place { url: wire.url(place), folder: tempfile::tempdir().unwrap() };
    let mut hub = Process::launch(&elsewhere, "", &[]);
    hub.until_listening().await;
    assert!(!hub.is_ready().await);
    wire.set(Wire::Good);
    hub.until_ready().await;
    hub.revoke(&token("a")).await;
    hub.terminate();
    assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
}

/// It ends in time also when the database has gone away meanwhile.
async fn it_ends_without_the_database(place: &Place) {
    for how in [Wire::Cut, Wire::Mute] {
        let wire = Proxy::new(place).await;
        let elsewhere = Place { url: wire.url(place), folder: tempfile::tempdir().unwrap() };
        let mut hub = Process::launch(&elsewhere, "", &[]);
        hub.until_listening().await;
        hub.until_ready().await;
        wire.set(how);
        hub.terminate();
        assert_eq!(hub.ended().await.code(), Some(0), "{}", hub.printed());
    }
}

both_stores!(
    sigterm_ends_streams_and_the_exit_code_is_zero,
    sigint_ends_it_too,
    a_second_signal_cuts_what_is_still_open,
    pending_migrations_refuse_to_start_when_it_may_not_apply_them,
);
on_sqlite!(
    a_second_hub_on_the_same_file_refuses_to_start,
    without_clients_it_refuses_to_listen_to_other_machines,
    a_setting_that_does_not_exist_is_named,
    a_wrong_password_ends_the_start_and_is_not_shown,
);
on_postgres!(it_starts_without_the_database_and_waits_for_it, it_ends_without_the_database);
