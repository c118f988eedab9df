//! Accepts, limits and closes connections. It does not know what the router serves.

use std::{collections::VecDeque, pin::pin, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use retry::{Attempts, table::HTTP_ACCEPT};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// The limits for clients.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// How many connections one server has at a time. A request takes milliseconds, so the oldest of that many is idle, or
    /// slow on purpose.
    pub(super) connections: usize,
    /// The request line and headers together, in bytes.
    pub(super) head_bytes: usize,
    /// How long a client may take to send them. It is also the limit for being idle between two requests.
    pub(super) head_within: Duration,
    /// The lifetime of a connection. It ends the connection of a client that doesn't read its answer.
    pub(super) life: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 128,
            head_bytes: 16 << 10,
            head_within: Duration::from_secs(10),
            life: Duration::from_secs(60),
        }
    }
}

/// How long a running answer may take after its connection was asked to close.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// Serves `router` until `stop`, and finishes running answers for a moment after it.
pub(super) async fn accept(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut attempts = Attempts::new(HTTP_ACCEPT);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        // A JoinSet keeps the results of ended tasks until they are joined: without this it would grow with each connection.
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                attempts.succeeded();
                // Ended connections leave their places first, or an idle one would be closed for nothing.
                open.retain(|connection| !connection.is_finished());
                if open.len() >= limits.connections
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tasks.spawn(serve(stream, router.clone(), limits, stop.clone())));
            }
            Err(error) => {
                // Such as EMFILE, no free file descriptor: an immediate retry would spin, since the connection stays in the backlog.
                tracing::warn!("an HTTP connection could not be accepted; retrying: {error}");
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

async fn serve(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    // Fails only if the connection is already closed, which `serve_connection` then finds.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // Hyper applies it also to the wait for the next request on an idle connection.
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // A client that resets its connection is no event for an operator.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FINISH_WITHIN, connection).await;
}
