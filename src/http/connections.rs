//! Connections: accepted, limited and closed in order. It does not know what is served over them.

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

/// The limits of clients.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Connections of one server at a time. A request takes milliseconds, so the oldest of so many is idle, or slow on
    /// purpose.
    pub(super) connections: usize,
    /// The request line and headers together, in bytes.
    pub(super) head_bytes: usize,
    /// How long a client may take to send them, and be idle between two requests.
    pub(super) head_within: Duration,
    /// How long a connection may live: a client that doesn't read its answer is disconnected then.
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

/// How long an answer may take once its connection is to be closed.
const FINISH_WITHIN: Duration = Duration::from_millis(500);

/// Serves `router` until `stop`, and running answers a moment longer.
pub(super) async fn accept(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let mut tasks = JoinSet::new();
    let mut attempts = Attempts::new(HTTP_ACCEPT);
    let mut open: VecDeque<AbortHandle> = VecDeque::new();
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        while tasks.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                attempts.succeeded();
                open.retain(|connection| !connection.is_finished());
                if open.len() >= limits.connections
                    && let Some(oldest) = open.pop_front()
                {
                    oldest.abort();
                }
                open.push_back(tasks.spawn(serve(stream, router.clone(), limits, stop.clone())));
            }
            Err(error) => {
                // The process may have no file descriptors left.
                tracing::warn!("an HTTP connection could not be accepted; retrying: {error}");
                stop.run_until_cancelled(sleep(attempts.failed())).await;
            }
        }
    }
    drop(listener);
    // Each task ends within FINISH_WITHIN; dropping the set aborts the others.
    let all = async { while tasks.join_next().await.is_some() {} };
    let _ = timeout(FINISH_WITHIN + FINISH_WITHIN / 2, all).await;
}

async fn serve(stream: TcpStream, router: Router, limits: Limits, stop: CancellationToken) {
    // Fails only for a connection that is closed already.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_within)
        .max_buf_size(limits.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    tokio::select! {
        // An error of the client's connection needs no action.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(FINISH_WITHIN, connection).await;
}
