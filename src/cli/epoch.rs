//! `revocation-hub epoch`: the name of the log's incarnation.

use std::sync::Arc;

use super::output;
use super::serve::{Source, store_to_write};
use crate::actor::Actor;
use crate::clock::Clock;
use crate::store::audit::{Cause, HUB, Note};

/// What `epoch --help` says below the commands.
pub const AFTER_HELP: &str = "\
The epoch is part of every cursor. When the log may have lost rows, it needs another one, or a client that resumes passes over \
positions that were handed out again. Hubs see to that themselves where they can tell (a promoted standby, a restored dump, a \
head that went back). They cannot tell of a file or a volume that was copied back while they were down: then renew it by hand \
before the hub starts. Every client loads the list once.

Examples:
  revocation-hub epoch show --database-url sqlite://revocation-hub.db
  revocation-hub epoch renew --database-url sqlite://revocation-hub.db";

/// Commands of `epoch`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print epoch and head of the log
    Show(Source),
    /// Give the log another epoch, after a backup was restored
    Renew(Source),
}

/// Runs the command.
pub async fn run(command: Command) -> anyhow::Result<()> {
    let (store, renew) = match command {
        Command::Show(source) => (source.store_to_read().await?, false),
        Command::Renew(source) => (store_to_write(&source.load()?).await?, true),
    };
    let result = async {
        let page = store.read_after(u64::MAX, 1).await?;
        let (actor, at) = (Arc::new(Actor::local()), Clock::system().millis());
        let note = Note { actor, source: HUB.into(), cause: Cause::ByHand, at, changes: 0 };
        let epoch = if renew { store.renew_as(&page.epoch, &note).await?.epoch } else { page.epoch };
        Ok::<_, crate::store::StoreError>((epoch, page.head))
    };
    let result = result.await;
    store.close().await;
    let (epoch, head) = result?;
    output::line(&format!("epoch {epoch}, head {head}"))?;
    Ok(())
}
