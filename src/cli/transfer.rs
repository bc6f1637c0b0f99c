//! `revocation-hub export` and `import`: the log as a file, from one store to another.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;

use super::output::{Status, line};
use super::serve::{Source, store_to_write};
use crate::actor::Actor;
use crate::clock::Clock;
use crate::intake::{Bounds, taken_before};
use crate::revocation::Epoch;
use crate::store::audit::{Cause, HUB, Note};
use crate::store::{Change, Outcome, Store, StoreError, dump};

/// What `export --help` says below the options.
pub const EXPORT_HELP: &str = "\
It reads the database and not a hub, and can do so while hubs run on it. The file holds everything, also the text of opaque \
tokens where a source has keep_opaque: keep it like a password.

From SQLite to Postgres without a gap:
  revocation-hub export --database-url sqlite://revocation-hub.db --output revocations.ndjson
  revocation-hub import --database-url postgres://hub@db/hub revocations.ndjson
  (stop the hub; sources get no answer and try again, brokers keep their messages)
  revocation-hub export --database-url sqlite://revocation-hub.db --output revocations.ndjson --force
  revocation-hub import --database-url postgres://hub@db/hub revocations.ndjson
  revocation-hub serve --database-url postgres://hub@db/hub
The second round brings what came in during the first. Gateways load the list again, because the log is another one.";

/// What `import --help` says below the options.
pub const IMPORT_HELP: &str = "\
The whole file is read before anything is written. Importing it again changes nothing. What the file says counts: what it has \
as lifted is lifted. A Postgres may have hubs running on it, which hear of it at once; of a SQLite file the hub has to be \
stopped.

Example:
  revocation-hub import --database-url postgres://hub@db/hub revocations.ndjson";

/// Rows read or written at once.
const PAGE: usize = 4096;

/// Options of `export`.
#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    source: Source,
    /// Where to write it, readable for you alone; without it: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long, requires = "output")]
    force: bool,
}

/// Options of `import`.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    source: Source,
    /// What `export` has written; `-` is standard input
    file: PathBuf,
}

/// Writes the log of a store to a file.
pub async fn export(args: ExportArgs) -> anyhow::Result<()> {
    let store = args.source.store_to_read().await?;
    let result = match args.output {
        None => write(&*store, &mut io::stdout().lock()).await,
        Some(path) => {
            // Beside it first: nobody may take half an export for a whole one.
            let mut part = path.clone().into_os_string();
            part.push(".part");
            anyhow::ensure!(
                args.force || !path.exists(),
                "{} is there already; --force writes over it",
                path.display()
            );
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&part).with_context(|| format!("cannot write {}", part.display()))?;
            let mut file = io::BufWriter::new(file);
            match write(&*store, &mut file).await {
                Ok(count) => {
                    file.into_inner()?.sync_all()?;
                    std::fs::rename(&part, &path)?;
                    Ok(count)
                }
                Err(error) => {
                    let _ = std::fs::remove_file(&part);
                    Err(error)
                }
            }
        }
    };
    store.close().await;
    eprintln!("exported {} rows", result?);
    Ok(())
}

async fn write(store: &dyn Store, out: &mut impl Write) -> anyhow::Result<u64> {
    let mut epoch: Option<Epoch> = None;
    let (mut after, mut count) = (0, 0_u64);
    loop {
        // A row that moves meanwhile comes once more, later: then it says what counts.
        let page = store.read_after(after, PAGE).await?;
        match &epoch {
            None => {
                writeln!(out, "{}", dump::first(page.epoch.as_str()))?;
                epoch = Some(page.epoch);
            }
            Some(first) => anyhow::ensure!(*first == page.epoch, "the log got a new epoch meanwhile; try again"),
        }
        for row in &page.rows {
            writeln!(out, "{}", dump::row(row))?;
        }
        count += page.rows.len() as u64;
        if page.rows.len() < PAGE {
            writeln!(out, "{}", dump::last(count, page.head))?;
            out.flush()?;
            return Ok(count);
        }
        after = page.rows.last().map_or(after, |row| row.seq);
    }
}

/// Writes a file into a store.
pub async fn import(args: ImportArgs) -> anyhow::Result<()> {
    let mut text = String::new();
    if args.file.as_os_str() == "-" {
        io::stdin().lock().read_to_string(&mut text).context("cannot read standard input")?;
    } else {
        text = std::fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    }
    let changes = dump::parse(&text).with_context(|| args.file.display().to_string())?;
    drop(text);
    let config = args.source.load()?;
    let skew = i64::try_from(config.clock_skew.as_secs()).unwrap_or(i64::MAX);
    let bounds = Bounds { max_text: config.limits.max_text, max_reason: config.limits.max_reason, clock_skew: skew };
    for change in &changes {
        if let Change::Revoke(id, revocation) = change {
            taken_before(revocation, &bounds).with_context(|| format!("{}: revocation {id}", args.file.display()))?;
        }
    }
    let store = store_to_write(&config).await?;
    let result = append(&*store, &changes, skew).await;
    store.close().await;
    let [revoked, unchanged, lifted, over] = result?;
    line(&format!("revoked {revoked}, unchanged {unchanged}, lifted {lifted}, expired {over}"))?;
    Ok(())
}

async fn append(store: &dyn Store, changes: &[Change], skew: i64) -> Result<[usize; 4], StoreError> {
    let clock = Clock::system();
    let page = store.read_after(u64::MAX, 1).await?;
    if let Some(millis) = page.millis {
        let own = clock.own_millis();
        clock.follow(millis, own, own);
    }
    let actor = Arc::new(Actor::local());
    if page.moved || page.shrunk {
        // A hub would do the same before it writes. Where none runs, nobody else does.
        let cause = if page.moved { Cause::Moved } else { Cause::Shrunk };
        let note = Note { actor: actor.clone(), source: HUB.into(), cause, at: clock.millis(), changes: 0 };
        let epoch = store.renew_as(&page.epoch, &note).await?.epoch;
        eprintln!(
            "the log is not where its epoch was made (a restored backup, a failover); it has the epoch {epoch} now"
        );
    }
    let now = clock.now();
    let mut progress = Status::new();
    let (mut counts, mut done) = ([0; 4], 0);
    for batch in changes.chunks(PAGE) {
        let alive = |change: &&Change| !matches!(change, Change::Revoke(_, r) if r.exp.is_over(now, skew));
        let live: Vec<_> = batch.iter().filter(alive).cloned().collect();
        counts[3] += batch.len() - live.len();
        let (actor, source, at) = (actor.clone(), HUB.into(), clock.millis());
        let note = Note { actor, source, cause: Cause::Import, at, changes: live.len() };
        for outcome in store.append_as(&live, &[note], now, skew).await?.outcomes {
            match outcome {
                Outcome::Revoked(_) => counts[0] += 1,
                Outcome::Unchanged(_) => counts[1] += 1,
                Outcome::Lifted(_) => counts[2] += 1,
                // A tombstone of what was never here.
                Outcome::NotFound => {}
            }
        }
        done += batch.len();
        progress.show(&format!("{done} of {}", changes.len()));
    }
    progress.clear();
    Ok(counts)
}
