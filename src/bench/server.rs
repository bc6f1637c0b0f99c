//! The hub that is measured: one we start, or one that runs.

use crate::bench::args::Args;
use crate::bench::http::{Client, Target, basic};
use crate::bench::scratch::Scratch;
use crate::bench::stop::Stop;
use anyhow::{Context, bail};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const START_LIMIT: Duration = Duration::from_secs(120);
const END_LIMIT: Duration = Duration::from_secs(20);

/// A hub that answers. One we started ends with this value.
#[derive(Debug)]
pub struct Server {
    pub target: Target,
    /// Its process, when it is ours.
    pub pid: Option<u32>,
    /// It started with an empty database of its own.
    pub fresh: bool,
    stop: Stop,
    scratch: Option<Scratch>,
}

impl Server {
    /// The hub of `--url`, or a new child.
    pub fn start(args: &Args, stop: &Stop) -> anyhow::Result<Self> {
        let server = match &args.url {
            Some(url) => Self {
                target: Target::new(url, authorization(args)?)?,
                pid: None,
                fresh: false,
                stop: stop.clone(),
                scratch: None,
            },
            None => Self::spawn(args, stop)?,
        };
        server.wait_until_ready()?;
        Ok(server)
    }

    fn spawn(args: &Args, stop: &Stop) -> anyhow::Result<Self> {
        let scratch = Scratch::new(args.dir.as_deref())?;
        let database = match &args.database_url {
            Some(url) => url.clone(),
            None => format!("sqlite://{}", scratch.path().join("hub.db").display()),
        };
        // Somebody could take the port between here and the hub's own bind; then it says so and we stop.
        let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let log = std::fs::File::create(scratch.path().join("hub.log"))?;
        let program = std::env::current_exe().context("which program am I?")?;
        let child = Command::new(program)
            .args(["serve", "--listen", &listen, "--database-url", &database])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C is for the bench, which then ends the hub.
            .process_group(0)
            .spawn()
            .context("cannot start the hub")?;
        let pid = child.id();
        stop.adopt(child)?;
        let target = Target::new(&format!("http://{listen}"), None)?;
        Ok(Self {
            target,
            pid: Some(pid),
            fresh: args.database_url.is_none(),
            stop: stop.clone(),
            scratch: Some(scratch),
        })
    }

    fn wait_until_ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            self.stop.check()?;
            let answer = Client::new(&self.target).get("/readyz", &[]);
            let last = match answer {
                Ok(a) if a.status == 200 => return Ok(()),
                Ok(a) => format!("/readyz answers {}", a.status),
                Err(e) => format!("{e:#}"),
            };
            if self.pid.is_some()
                && let Some(Some(code)) = self.stop.with_child(|c| c.try_wait().ok().flatten())
            {
                bail!("the hub ended while starting ({code}): {}", self.last_words());
            }
            if self.pid.is_none() || Instant::now() > deadline {
                bail!("the hub is not ready: {last} {}", self.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A hub of ours that is not there any more.
    pub fn has_ended(&self) -> bool {
        self.pid.is_some() && self.stop.with_child(|c| matches!(c.try_wait(), Ok(Some(_)))).unwrap_or(true)
    }

    /// The end of the hub's log.
    pub fn last_words(&self) -> String {
        self.scratch.as_ref().map_or_else(String::new, |s| tail(&s.path().join("hub.log")))
    }

    /// The database lies on a RAM disk.
    pub fn in_memory(&self) -> bool {
        self.fresh && self.scratch.as_ref().is_some_and(Scratch::in_memory)
    }

    /// Ends a hub of ours as an operator would (SIGTERM), and kills it when that takes too long.
    fn end(&self) {
        let Some(pid) = self.pid else { return };
        // The shell's own `kill`: a signal needs no crate and no unsafe code for this one place.
        let asked = Command::new("sh")
            .args(["-c", "kill -TERM \"$1\"", "sh", &pid.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success());
        let deadline = Instant::now() + END_LIMIT;
        while asked && !self.stop.asked() && Instant::now() < deadline {
            if self.has_ended() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop.kill_child();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

fn authorization(args: &Args) -> anyhow::Result<Option<String>> {
    let read = |path: &Path| {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    };
    Ok(match (&args.bearer_file, &args.user, &args.password_file) {
        (Some(file), _, _) => Some(format!("Bearer {}", read(file)?)),
        (None, Some(user), Some(file)) => Some(basic(user, &read(file)?)),
        _ => None,
    })
}

fn tail(path: &Path) -> String {
    let log = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&log[log.len().saturating_sub(1000)..]);
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}
