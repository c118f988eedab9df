//! The HTTP endpoints: two servers, one for machines that watch the process, one for its operator.
//!
//! | server | for | paths |
//! |---|---|---|
//! | metrics | Prometheus, probes; all interfaces by default | `/metrics`, `/livez`, `/readyz[?verbose]` |
//! | operator | whoever is on the machine; 127.0.0.1 by default | `/health`, `/dead-letters`, `/crashes?actor=PATH` |
//!
//! What they tell comes from [`Vitals`], which the program wires to its tree and metrics; nothing in here
//! changes anything. `/livez` does not even look: it answers as long as the runtime runs.
//!
//! A client can't do harm by being slow, silent, many or large: request heads are limited in size and time,
//! bodies are never read, connections are limited in number and life; when there are too many, the oldest
//! makes room.

mod connections;
mod routes;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use supervision::{ActorHealth, Crash, DeadLetter, Failure};
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use connections::Limits;

/// The longest that [`HttpServers::stop`] takes.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// What the endpoints show. Every method is called on a request's task: it answers from memory, at once.
pub trait Vitals: Send + Sync + 'static {
    /// What must hold for the process to count as ready, each with how it stands.
    fn conditions(&self) -> Vec<Condition>;
    /// The records of all actors.
    fn actors(&self) -> Vec<ActorHealth>;
    /// The dead letters that are kept.
    fn dead_letters(&self) -> Vec<DeadLetter>;
    /// The last crashes of the actor with this path, with their backtraces.
    fn crashes(&self, actor: &str) -> Vec<Crash>;
    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// When they can't be collected; the scrape then fails, with this error as its text.
    fn metrics(&self) -> Result<String, Failure>;
}

/// Something that must hold for the process to be ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What it is about: `redis`, `subscription`, `first pass`.
    pub name: String,
    /// Whether it holds.
    pub ok: bool,
    /// How it stands, or what is missing, in one line.
    pub detail: String,
}

impl Condition {
    /// A condition and whether it holds.
    pub fn new(name: impl Into<String>, ok: bool, detail: impl Into<String>) -> Self {
        Self { name: name.into(), ok, detail: detail.into() }
    }
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// `/metrics`, `/livez` and `/readyz`.
    Metrics,
    /// `/health`, `/dead-letters` and `/crashes`.
    Operator,
}

impl Server {
    fn purpose(self) -> &'static str {
        match self {
            Self::Metrics => "metrics and probes",
            Self::Operator => "the operator's endpoints",
        }
    }

    fn port_setting(self) -> &'static str {
        match self {
            Self::Metrics => "http.metrics_port (STATE_TRACKER_METRICS_PORT)",
            Self::Operator => "the port of http.operator_address",
        }
    }

    fn host_setting(self) -> &'static str {
        match self {
            Self::Metrics => "http.host to 0.0.0.0",
            Self::Operator => "the host of http.operator_address to 127.0.0.1",
        }
    }
}

/// A server can't listen where it should.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for {}: {}", server.purpose(), self.remedy())]
pub struct BindError {
    /// Which server.
    pub server: Server,
    /// Where it should have listened.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn remedy(&self) -> String {
        let (port, host) = (self.server.port_setting(), self.server.host_setting());
        match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another process listens there, maybe a second state-tracker: stop it, or set {port} to a free \
                 port (0 takes any)"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address: set {host}, or to an address that it has")
            }
            io::ErrorKind::PermissionDenied => {
                format!("this user may not take that port: set {port} to 1024 or above")
            }
            _ => format!("set {port} to another port, or {host}"),
        }
    }
}

/// The two servers, running. Dropping them stops them in the background; [`HttpServers::stop`] waits for it.
pub struct HttpServers {
    metrics_address: SocketAddr,
    operator_address: SocketAddr,
    accepting: [JoinHandle<()>; 2],
    stop: DropGuard,
}

impl HttpServers {
    /// Listens on both addresses, and serves from now on. Port 0 takes any free one.
    ///
    /// # Errors
    /// [`BindError`] for the first address that can't be listened on; then nothing is served.
    pub async fn bind(
        metrics: SocketAddr,
        operator: SocketAddr,
        vitals: Arc<dyn Vitals>,
    ) -> Result<Self, BindError> {
        Self::bind_with(Limits::default(), metrics, operator, vitals).await
    }

    async fn bind_with(
        limits: Limits,
        metrics: SocketAddr,
        operator: SocketAddr,
        vitals: Arc<dyn Vitals>,
    ) -> Result<Self, BindError> {
        let (metrics, metrics_address) = listen(Server::Metrics, metrics).await?;
        let (operator, operator_address) = listen(Server::Operator, operator).await?;
        let stop = CancellationToken::new();
        let accepting = [
            (metrics, routes::metrics(vitals.clone())),
            (operator, routes::operator(vitals, Instant::now())),
        ]
        .map(|(listener, router)| tokio::spawn(connections::accept(listener, router, limits, stop.clone())));
        Ok(Self { metrics_address, operator_address, accepting, stop: stop.drop_guard() })
    }

    /// Where the metrics server listens.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// Where the operator's server listens.
    #[must_use]
    pub fn operator_address(&self) -> SocketAddr {
        self.operator_address
    }

    /// Takes no more connections, closes the idle ones, gives those in use a moment, and ends within a second
    /// whatever the clients do.
    pub async fn stop(self) {
        drop(self.stop);
        let aborts = self.accepting.each_ref().map(JoinHandle::abort_handle);
        let [metrics, operator] = self.accepting;
        let both = async { tokio::join!(metrics, operator) };
        if timeout(STOP_WITHIN, both).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

async fn listen(server: Server, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { server, address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let actual = listener.local_addr().map_err(failed)?;
    Ok((listener, actual))
}
