//! Who owns the tasks. Every long task belongs to a [`Lifecycle`]; one that ends on its own takes the process down,
//! because a daemon that has lost its feed and still answers is worse than none.

use std::future::Future;
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long sources and outlets may take to end when everything else that is asked from outside has.
const LINKS_GRACE: Duration = Duration::from_secs(6);

/// A task that should have lived has ended.
#[derive(Debug, thiserror::Error)]
#[error("the task {name} ended: {how}")]
pub struct TaskDied {
    name: &'static str,
    how: String,
}

/// The phases of stopping, and the tasks that each ends.
#[derive(Default)]
pub struct Lifecycle {
    /// Soft: no longer ready, no new connections, streams end, requests finish.
    pub soft: CancellationToken,
    /// Hard: connections that are still open are cut.
    pub hard: CancellationToken,
    /// Last: the tasks behind the connections end.
    pub rest: CancellationToken,
    /// Connections. They come and go.
    pub connections: TaskTracker,
    /// Sources and outlets with a connection of their own, which have something to say to the store at their end.
    links: TaskTracker,
    /// Tasks that must not end before [`Lifecycle::soft`].
    tasks: JoinSet<()>,
    names: Vec<(AbortHandle, &'static str)>,
}

impl Lifecycle {
    /// Starts a task that has to live as long as the hub.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.tasks.spawn(task);
        self.names.push((handle, name));
    }

    /// Starts such a task that ends on [`Lifecycle::soft`], and before those that serve it.
    pub fn spawn_link(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let task = self.links.track_future(task);
        self.spawn(name, task);
    }

    /// Waits until [`Lifecycle::soft`], then lets everything end in order: connections within `grace`, then the tasks.
    /// An error when a task ended before it should.
    pub async fn run(mut self, grace: Duration) -> Result<(), TaskDied> {
        let died = tokio::select! {
            () = self.soft.cancelled() => None,
            Some(ended) = self.tasks.join_next_with_id() => {
                let (id, how) = match ended {
                    Ok((id, ())) => (id, "it returned".to_owned()),
                    Err(error) => (error.id(), error.to_string()),
                };
                let name = self.names.iter().find(|(h, _)| h.id() == id).map_or("unknown", |(_, name)| name);
                // Listeners return as soon as stopping begins, perhaps before this was asked.
                (!self.soft.is_cancelled()).then_some(TaskDied { name, how })
            }
        };
        self.soft.cancel();
        self.connections.close();
        if tokio::time::timeout(grace, self.connections.wait()).await.is_err() {
            let open = self.connections.len();
            tracing::warn!(open, ?grace, "connections did not end in time and are cut");
        }
        self.hard.cancel();
        self.connections.wait().await;
        self.links.close();
        if tokio::time::timeout(LINKS_GRACE, self.links.wait()).await.is_err() {
            tracing::warn!("sources or outlets did not end in time");
        }
        self.rest.cancel();
        // The committer finishes what it has, which the store's own time limit bounds.
        while self.tasks.join_next().await.is_some() {}
        died.map_or(Ok(()), Err)
    }
}
