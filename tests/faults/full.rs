//! Disks that are full: a small file system in memory below the store, in a mount namespace of its own, so that nothing is
//! left behind however the test ends. Root needs nothing for that, others a kernel that lets them have namespaces.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::*;
use crate::postgres::{Postgres, is_root, script};
use crate::scene::{Scene, program, ready, with_settings};
use crate::tally::{Trial, trials};

/// A command that runs another one, to be added, with a file system of so many megabytes at `folder`.
fn on_a_small_disk(folder: &Path, megabytes: u32) -> Command {
    let mut command = Command::new("unshare");
    if !is_root() {
        // Who we are stays who we are, with the right to mount.
        command.args(["--map-current-user", "--keep-caps"]);
    }
    let mount = "mount -t tmpfs -o size=\"$1\",mode=0777 none \"$2\" && shift 2 && exec \"$@\"";
    command.args(["--mount", "sh", "-c", mount, "sh", &format!("{megabytes}m")]).arg(folder);
    command
}

/// Fills the disk that the process `pid` sees at `folder` to the last byte. It is whole again when this is dropped.
struct Filler(PathBuf);

impl Filler {
    fn new(pid: u32, folder: &Path) -> Self {
        let inside = folder.strip_prefix("/").unwrap().join("filler");
        let filler = Self(Path::new(&format!("/proc/{pid}/root")).join(inside));
        let mut file = std::fs::File::create(&filler.0).unwrap();
        let error = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        filler
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_postgres_is_full() {
    let mut server = Postgres::in_folder();
    let folder = server.data();
    std::fs::create_dir(&folder).unwrap();
    let mut command = on_a_small_disk(&folder, 96);
    command.arg(script());
    server.launch(command);
    server.until_there().await;
    let place = server.place().await;
    let mut scene = Scene::new(ready(Process::launch_by(program(), &place.url, &place, "", &[])).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("disk full (Postgres)");
        let filler = Filler::new(server.pid(), &folder);
        scene.refuses_soon().await;
        scene.reads().await;
        drop(filler);
        scene.healed().await;
        trial.passed(scene.acks());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_of_sqlite_is_full() {
    let disk = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", disk.path().join("log.db").display());
    let place = Place { url, folder: tempfile::tempdir().unwrap() };
    let mut command = with_settings(on_a_small_disk(disk.path(), 4));
    command.arg(env!("CARGO_BIN_EXE_revocation-hub"));
    let mut scene = Scene::new(ready(Process::launch_by(command, &place.url, &place, "", &[])).await).await;
    for _ in 0..trials() {
        let trial = Trial::of("disk full (SQLite)");
        let filler = Filler::new(scene.hub.pid(), disk.path());
        scene.refuses_soon().await;
        scene.reads().await;
        // What is on disk can be read, and the hub says so.
        scene.caught_up().await;
        assert!(scene.hub.is_ready().await);
        drop(filler);
        scene.healed().await;
        trial.passed(scene.acks());
    }
}
