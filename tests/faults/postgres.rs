//! A Postgres of our own, to be killed, stopped, started again, and given a standby.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use crate::harness::{Place, Proxy, until};

/// The server. It goes when this is dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Postgres {
    /// A new and empty one. Processes are killed here, and never the kernel that keeps what they have written; so it need
    /// not wait for the disk, and need not look at every file when it starts again.
    pub async fn start() -> Self {
        let mut server = Self::in_folder();
        server.again().await;
        server.sql("alter system set fsync = off").await;
        server.sql("select pg_reload_conf()").await;
        server
    }

    /// One that has yet to be started.
    pub fn in_folder() -> Self {
        Self::at(folder())
    }

    /// A server whose data, if there are any, are in `folder`.
    fn at(folder: tempfile::TempDir) -> Self {
        let port = std::iter::repeat_with(|| rand::random_range(20_000..32_000))
            .find(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok())
            .unwrap();
        Self { folder, port, child: None }
    }

    /// Starts it, again and on the same data, and waits until it answers.
    pub async fn again(&mut self) {
        self.launch(Command::new(script()));
        self.until_there().await;
    }

    /// Starts it by a command that ends with the script's name.
    pub fn launch(&mut self, mut command: Command) {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        command.arg(self.data()).arg(self.port.to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    /// Waits until it answers.
    pub async fn until_there(&self) {
        until("Postgres answers", async || self.connect("postgres").await.ok()).await;
    }

    /// Where its data are.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("server")
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// `host:port`, for a wire.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    async fn connect(&self, database: &str) -> sqlx::Result<PgConnection> {
        PgConnection::connect(&self.url(database)).await
    }

    /// A connection of the superuser.
    pub async fn admin(&self) -> PgConnection {
        self.connect("postgres").await.unwrap()
    }

    /// Runs SQL as the superuser.
    pub async fn sql(&self, sql: &str) {
        self.admin().await.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }

    /// A database of its own.
    pub async fn place(&self) -> Place {
        let name = format!("hub_test_{:016x}", rand::random::<u64>());
        self.sql(&format!("create database {name}")).await;
        Place { url: self.url(&name), folder: tempfile::tempdir().unwrap() }
    }

    /// The process id of the postmaster, which is that of the script.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The postmaster and its children, who are in process groups of their own.
    fn processes(&self) -> Vec<u32> {
        let parent = self.pid();
        let mut processes = vec![parent];
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            // The name in parentheses may contain anything; the state and the parent follow it.
            let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            if rest.split(' ').nth(1).and_then(|text| text.parse().ok()) == Some(parent) {
                processes.push(pid);
            }
        }
        processes
    }

    /// Stops all of it (SIGSTOP): the kernel goes on to take connections and bytes, and nobody answers.
    pub fn freeze(&self) {
        // The postmaster first, so that nobody is born meanwhile.
        signal("-STOP", &[self.pid()]);
        signal("-STOP", &self.processes());
    }

    /// Lets it go on.
    pub fn thaw(&self) {
        signal("-CONT", &self.processes());
    }

    /// `kill -9` of the postmaster and of everybody else.
    pub fn kill(&mut self) {
        if self.child.is_none() {
            return;
        }
        self.freeze();
        let processes = self.processes();
        signal("-KILL", &processes);
        self.child.take().unwrap().wait().unwrap();
        // They are not our children, so that they can only be looked for.
        while processes.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    /// A standby that follows by this wire and has everything there is now. It answers reading.
    pub async fn standby(&self, wire: &Proxy) -> Self {
        let mut standby = Self::at(folder());
        let data = standby.data();
        std::fs::create_dir(&data).unwrap();
        let mut copy = Command::new("find");
        copy.args(["/usr/lib/postgresql", "-path", "*/bin/pg_basebackup"]);
        let found = String::from_utf8(copy.output().unwrap().stdout).unwrap();
        let program = found.lines().max().expect("Postgres is installed");
        let mut copy = Command::new(program);
        if is_root() {
            let chown = Command::new("chown").arg("postgres").arg(&data).status().unwrap();
            assert!(chown.success());
            copy = Command::new("setpriv");
            copy.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", program]);
        }
        let target = format!("postgres://postgres@{}/postgres", wire.address());
        copy.args(["-R", "-X", "stream", "-c", "fast", "-d", &target, "-D"]).arg(data.join("data"));
        let copied = tokio::task::spawn_blocking(move || copy.current_dir("/").output().unwrap()).await.unwrap();
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
        standby.again().await;
        standby
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) {
        self.sql("select pg_promote()").await;
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the last that Postgres said:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"));
        }
        self.kill();
    }
}

/// Where the server's own user may go.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// The script that starts it in the foreground.
pub fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers/postgres")
}

pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

fn signal(signal: &str, pids: &[u32]) {
    // One of them may end by itself meanwhile.
    let pids = pids.iter().map(u32::to_string);
    Command::new("kill").arg(signal).arg("--").args(pids).stderr(Stdio::null()).status().unwrap();
}
