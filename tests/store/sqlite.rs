//! What only SQLite has to show.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use revocation_hub::store::{StoreError, connect};

use crate::place::{NOW, Place, id, on_sqlite, options, revoke};

fn path(place: &Place) -> PathBuf {
    place.url.strip_prefix("sqlite://").unwrap().into()
}

#[tokio::test]
async fn a_second_hub_finds_the_file_locked() {
    on_sqlite(async |place: &Place| {
        let first = place.open().await;
        let link = path(place).with_file_name("link.db");
        symlink(path(place), &link).unwrap();
        for url in [place.url.clone(), format!("sqlite:{}", link.display())] {
            match connect(&url, &options()).await.map(|_| ()) {
                Err(StoreError::Locked { path }) => assert!(url.ends_with(&path)),
                other => panic!("{other:?}"),
            }
        }
        // The failed attempts have not harmed the first one's own locks.
        first.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        first.close().await;
        let second = place.open().await;
        assert_eq!(second.read_after(0, 9).await.unwrap().rows.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn only_its_owner_can_read_the_files() {
    on_sqlite(async |place: &Place| {
        let store = place.open().await;
        store.append(&[revoke("a", 5000)], NOW, 60).await.unwrap();
        let mut files = 0;
        for file in path(place).parent().unwrap().read_dir().unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
            files += 1;
        }
        assert_eq!(files, 4);
    })
    .await;
}

#[tokio::test]
async fn pruned_rows_are_gone_from_the_disk() {
    on_sqlite(async |place: &Place| {
        let store = place.open().await;
        for batch in 0..10 {
            let changes: Vec<_> = (0..2000).map(|i| revoke(&format!("{batch}-{i}"), 2000)).collect();
            store.append(&changes, NOW, 60).await.unwrap();
        }
        store.close().await;
        let full = path(place).metadata().unwrap().len();
        let store = place.open().await;
        let ids: Vec<_> = (0..10).flat_map(|batch| (0..2000).map(move |i| id(&format!("{batch}-{i}")))).collect();
        for ids in ids.chunks(1000) {
            assert_eq!(store.prune(ids, 3000).await.unwrap().deleted, 1000);
        }
        store.close().await;
        let empty = path(place).metadata().unwrap().len();
        assert!(full > 1_000_000 && empty < full / 20, "{full} -> {empty}");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_durable_or_understood_is_refused_without_showing_secrets() {
    for url in [
        "sqlite::memory:",
        "sqlite://:memory:",
        "sqlite://",
        "sqlite:x.db?mode=memory",
        "sqlite:x.db?cache=shared",
        "sqlite:/no/such/folder/x.db",
        "mysql://u:s3cret@h/d",
        "s3cret",
        "",
        "postgres://u:s3cret@h:99999999/d",
        "postgres://u:s3cret@h/d?sslmode=s3cre",
        "postgres://u:p?s3cret@h/d",
        "postgres://u@h/d?pasword=s3cret",
    ] {
        let error = connect(url, &options()).await.err().expect(url);
        assert!(matches!(error, StoreError::Refused(_)), "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    let postgres = connect("postgres://u:s3cret@h:5/d", &options()).await.unwrap();
    assert_eq!(postgres.describe(), "Postgres h:5/d");
}
