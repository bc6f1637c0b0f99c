//! `LISTEN`: being told that another hub may have moved the head.
//!
//! A notification is a hint, never the truth: whatever may have been missed is answered with one hint more. A session
//! that has died without a word would leave the hub deaf, so silence is questioned by a beat on the same connection.
//!
//! What our own writers notify of is passed over: the hub knows of its own commits, and reading the table after each of
//! them would double the server's work.

use std::sync::Arc;
use std::sync::atomic::AtomicI32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sqlx::Executor;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::session;

/// The channel of `NOTIFY`. Its payload, the head, is for people who watch.
pub(super) const CHANNEL: &str = "revocation_hub";

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long the session may take to answer, and to be silent.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) beat: Duration,
}

/// One listening session after the other until `stop`.
pub(super) fn spawn(
    options: PgConnectOptions,
    patience: Patience,
    hints: Arc<Notify>,
    writing: Arc<[AtomicI32]>,
    stop: CancellationToken,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            // A pool of one that lives as long as the session, because sqlx's listener wants a pool.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .acquire_timeout(patience.limit)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(options.clone());
            tokio::select! {
                () = stop.cancelled() => {}
                error = listen(&pool, patience, &hints, &writing, &mut pause) => {
                    tracing::warn!(%error, "lost the connection that listens for other hubs; reading by the timer until it is back");
                }
            }
            // Waits for the server to have been told, but not for a server that is gone.
            let _ = timeout(Duration::from_secs(1), pool.close()).await;
            hints.notify_one();
            let jittered = pause.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            pause = (pause * 2).min(LONGEST_PAUSE);
            let _ = timeout(jittered, stop.cancelled()).await;
        }
    })
}

/// Turns notifications into hints until the session ends, and returns why it did.
async fn listen(
    pool: &PgPool,
    Patience { limit, beat }: Patience,
    hints: &Notify,
    writing: &[AtomicI32],
    pause: &mut Duration,
) -> sqlx::Error {
    let mut listener = match PgListener::connect_with(pool).await {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    // The pause between two sessions, and the hint after it, are ours.
    listener.eager_reconnect(false);
    match timeout(limit, listener.listen(CHANNEL)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return error,
        Err(_) => return sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
    }
    session::tune_sockets(pool.connect_options().get_port());
    *pause = FIRST_PAUSE;
    // What was committed before this moment has notified nobody here.
    hints.notify_one();
    loop {
        match timeout(beat, listener.try_recv()).await {
            Ok(Ok(Some(first))) => {
                let own = |process: u32| writing.iter().any(|own| own.load(Relaxed).cast_unsigned() == process);
                let mut others = !own(first.process_id());
                while let Some(more) = listener.next_buffered() {
                    others |= !own(more.process_id());
                }
                if others {
                    hints.notify_one();
                }
            }
            Ok(Ok(None)) => return sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()),
            Ok(Err(error)) => return error,
            Err(_) => match timeout(limit, listener.execute("select 1")).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(_) => return sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
            },
        }
    }
}
