//! Security Event Tokens by poll (RFC 8936): the hub asks, and acknowledges only after the commit.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::start::Running;

/// Polls until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    let link = &running.inbox.link;
    crate::link::keep_up(link, &stop, || async { anyhow::bail!("not built yet") }).await;
}
