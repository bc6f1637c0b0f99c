//! STOMP 1.2 (ActiveMQ).

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::start::Running;

/// Runs until `stop`.
pub async fn run(running: Arc<Running>, stop: CancellationToken) {
    let link = &running.inbox.link;
    crate::link::keep_up(link, &stop, || async { anyhow::bail!("not built yet") }).await;
}
