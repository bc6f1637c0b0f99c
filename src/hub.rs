//! STUB, to be replaced: the hub itself.

use crate::config::Config;

/// Runs the hub until it is told to end.
pub async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("the hub is not part of this build")
}
