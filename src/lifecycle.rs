//! Who owns the tasks. Every long task belongs to a [`Lifecycle`]; one that ends on its own takes the process down,
//! because a daemon that has lost its feed and still answers is worse than none.

use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// How long sources and outlets may take to end from the moment at which they are told, which is that of the signal. They
/// finish what they have in hand (0.5 s) and give up their lease in the store (5 s at the most).
const LINKS_GRACE: Duration = Duration::from_secs(6);

/// What is left when nobody waits for an answer any more: the feed ends its reading, connections to the store are closed. If
/// the store does not answer, that is not waited for.
const FAREWELL: Duration = Duration::from_secs(3);

/// What tasks may still do when somebody insists on the end: a commit that is under way takes less.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Of the time in which streams leave, this much for each of them at the most: a hundred that come to another replica in a
/// second are nothing to it.
const FOR_EACH_STREAM: Duration = Duration::from_millis(10);

/// How event streams leave a hub that stops: each at a moment of its own.
#[derive(Clone, Default)]
pub struct Drain {
    streams: TaskTracker,
    limit: Duration,
    window: Arc<OnceLock<(Instant, Duration)>>,
}

impl Drain {
    /// A stream has opened; it is open as long as what this returns lives.
    pub fn enter(&self) -> TaskTrackerToken {
        self.streams.token()
    }

    /// When a stream is to leave, now that the hub stops: at random, the same chance for every moment.
    pub fn moment(&self) -> Instant {
        let (began, window) = self.window();
        began + window.mul_f64(rand::random())
    }

    /// Whoever asks first counts the streams, and none has left by then.
    fn window(&self) -> (Instant, Duration) {
        *self.window.get_or_init(|| {
            let streams = u32::try_from(self.streams.len()).unwrap_or(u32::MAX);
            (Instant::now(), self.limit.min(FOR_EACH_STREAM.saturating_mul(streams)))
        })
    }
}

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
    /// Soft: no longer ready, no new streams, open ones leave.
    pub soft: CancellationToken,
    /// The streams have left: no new connections, requests finish.
    pub closing: CancellationToken,
    /// Hard: connections that are still open are cut.
    pub hard: CancellationToken,
    /// Somebody insists: nothing is waited for any more.
    pub insist: CancellationToken,
    /// How the streams leave.
    pub drain: Drain,
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
    /// A life without tasks; at its end streams leave within `drain`.
    pub fn new(drain: Duration) -> Self {
        let drain = Drain { limit: drain, ..Drain::default() };
        Self { drain, ..Self::default() }
    }

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

    /// Waits until [`Lifecycle::soft`], then lets everything end in order: streams and connections within `grace`, sources and
    /// outlets within [`LINKS_GRACE`], both from now on, and then the tasks. All of it takes at the most
    /// `max(grace, LINKS_GRACE) + FAREWELL`. An error when a task ended before it should.
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
        let began = Instant::now();
        let end = began + grace;
        if died.is_some() {
            // Half a hub is none to take leave from.
            let _ = self.drain.window.set((Instant::now(), Duration::ZERO));
        }
        self.soft.cancel();
        self.drain.streams.close();
        let leaving = began + self.drain.limit;
        self.until(self.drain.streams.wait(), leaving).await;
        self.closing.cancel();
        self.connections.close();
        if !self.until(self.connections.wait(), end).await {
            let open = self.connections.len();
            tracing::warn!(open, ?grace, "connections did not end in time and are cut");
        }
        self.hard.cancel();
        self.connections.wait().await;
        self.links.close();
        if !self.until(self.links.wait(), began + LINKS_GRACE).await {
            tracing::warn!("sources or outlets did not end in time");
        }
        self.rest.cancel();
        // Whoever waited for a commit has been answered or cut; what the committer still has was promised to nobody.
        let insist = self.insist.clone();
        let last = end.max(Instant::now()) + FAREWELL;
        let tasks = async { while self.tasks.join_next().await.is_some() {} };
        let limit = async {
            tokio::select! {
                () = sleep_until(last) => {}
                () = insist.cancelled() => tokio::time::sleep(LAST_WORDS).await,
            }
        };
        tokio::select! {
            () = tasks => {}
            () = limit => tracing::warn!("ending although not everything has ended"),
        }
        self.tasks.shutdown().await;
        died.map_or(Ok(()), Err)
    }

    /// Waits for something until a moment or until somebody insists on the end. False when there was no time left for it.
    async fn until(&self, what: impl Future<Output = ()>, moment: Instant) -> bool {
        tokio::select! {
            // What is done already is done, also when the moment is over.
            biased;
            () = what => true,
            () = self.insist.cancelled() => true,
            () = sleep_until(moment) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(20);

    /// How long a life with such tasks takes to end, once told to.
    async fn ends_after(prepare: impl FnOnce(&mut Lifecycle), insist: bool) -> Duration {
        let mut life = Lifecycle::new(Duration::from_secs(10));
        prepare(&mut life);
        let (soft, insisted) = (life.soft.clone(), life.insist.clone());
        let began = Instant::now();
        soft.cancel();
        if insist {
            insisted.cancel();
        }
        life.run(GRACE).await.unwrap();
        began.elapsed()
    }

    /// Waits for nothing and never ends.
    fn stuck() -> impl Future<Output = ()> + Send + 'static {
        std::future::pending()
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_nothing_to_do_ends_at_once() {
        assert_eq!(ends_after(|_| {}, false).await, Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_stuck_is_waited_for_within_the_bounds_that_are_promised() {
        // A task: until the end of the grace, and the farewell.
        assert_eq!(ends_after(|life| life.spawn("stuck", stuck()), false).await, GRACE + FAREWELL);
        // A link as well: it has the time from the signal on, and not from the end of the rest on.
        assert_eq!(ends_after(|life| life.spawn_link("stuck", stuck()), false).await, GRACE + FAREWELL);
        // A connection that is only cut by force.
        let connection = |life: &mut Lifecycle| {
            let cut = life.hard.clone();
            life.connections.spawn(async move { cut.cancelled().await });
        };
        assert_eq!(ends_after(connection, false).await, GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_link_that_ends_in_time_is_waited_for() {
        let link = |life: &mut Lifecycle| {
            let soft = life.soft.clone();
            life.spawn_link("slow", async move {
                soft.cancelled().await;
                tokio::time::sleep(LINKS_GRACE - Duration::from_millis(1)).await;
            });
            // It serves the link, and would end at once.
            let rest = life.rest.clone();
            life.spawn("server", async move { rest.cancelled().await });
        };
        assert_eq!(ends_after(link, false).await, LINKS_GRACE - Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn who_insists_waits_for_nothing() {
        let both = |life: &mut Lifecycle| {
            life.spawn("stuck", stuck());
            life.spawn_link("stuck", stuck());
        };
        assert_eq!(ends_after(both, true).await, LAST_WORDS);
    }
}
