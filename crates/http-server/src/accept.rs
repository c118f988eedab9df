//! Accepts and closes connections. It does not know what is spoken on them.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use errors::sanitise;
use retry::{Attempts, table::HTTP_ACCEPT};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How long a connection may take to end after `stop`, which is given to each.
pub(crate) const FINISH_WITHIN: Duration = Duration::from_millis(500);
/// The interval between two lines about connections that can't be accepted.
const LINE_EVERY: Duration = Duration::from_secs(60);

/// Accepts connections and serves each in a task of its own, until `stop`. Then they have half a second to end.
///
/// With more than `most` connections the oldest one is closed, and likewise when the process has no file descriptor left.
pub async fn accept<Served>(
    listener: TcpListener,
    most: usize,
    stop: CancellationToken,
    serve: impl Fn(TcpStream, SocketAddr) -> Served,
) where
    Served: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let mut attempts = Attempts::new(HTTP_ACCEPT);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    let mut refused = Refused::default();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        // A JoinSet keeps the results of ended tasks until they are joined: without this it would grow with each connection.
        while tasks.try_join_next().is_some() {}
        // Ended connections leave their places first, or an idle one would be closed for nothing.
        open.retain(|connection| !connection.is_finished());
        match accepted {
            Ok((stream, peer)) => {
                attempts.succeeded();
                if open.len() >= most
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tasks.spawn(serve(stream, peer)));
            }
            Err(error) => {
                // Such as EMFILE, no free file descriptor. The connection stays in the backlog: it may be a probe.
                refused.note(&error);
                if let Some(oldest) = open.pop_front() {
                    oldest.abort();
                    // Its descriptor is free once its task has run.
                    tokio::task::yield_now().await;
                }
                // An immediate retry would spin where other parts of the process hold the descriptors.
                stop.run_until_cancelled(sleep(attempts.failed())).await;
            }
        }
    }
    // Before the wait, so that clients are refused at once instead of waiting in the backlog.
    drop(listener);
    // Each task ends within FINISH_WITHIN. Dropping the set aborts the ones that don't.
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(FINISH_WITHIN + FINISH_WITHIN / 2, all).await;
}

/// The connections that could not be accepted, with one line a minute about them.
#[derive(Default)]
struct Refused {
    logged: Option<Instant>,
    left_out: u64,
}

impl Refused {
    /// Whether a line may be written now, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.logged.is_some_and(|logged| now.saturating_duration_since(logged) < LINE_EVERY) {
            self.left_out += 1;
            return None;
        }
        self.logged = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }

    fn note(&mut self, error: &std::io::Error) {
        let Some(left_out) = self.admit(Instant::now()) else { return };
        tracing::warn!(
            suppressed = Some(left_out).filter(|left_out| *left_out > 0),
            "a connection could not be accepted, and the oldest one is closed for it: {}; raise the limit of file descriptors",
            sanitise(error)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_connections_have_one_line_a_minute_which_counts_the_rest() {
        let (mut refused, start) = (Refused::default(), Instant::now());
        assert_eq!(refused.admit(start), Some(0));
        (1..10).for_each(|second| assert_eq!(refused.admit(start + LINE_EVERY / 10 * second), None));
        assert_eq!(refused.admit(start + LINE_EVERY), Some(9));
    }
}
