//! The HTTP endpoints: one server for monitoring, one for operators. [`ENDPOINTS`] lists the paths of both.
//!
//! The data comes from [`Vitals`], which the service connects to its tree and metrics. Only `/outbox/orders` changes something. `/livez`
//! checks nothing: it answers while the runtime runs, so that an outage of Redis restarts no container.
//!
//! Limits, tokens, TLS, the checks of `Host` and `Origin`, and the audit log are those of the crate `http-server`.

mod outbox;
mod routes;
mod server;
mod state;
mod vitals;

#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use http_server::{Audit, Guard, Limits, Tokens, guarded, serve_http};
use ports::Tls;
use tokio::{net::TcpListener, task::JoinHandle, time::timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

pub use routes::{ENDPOINTS, Endpoint};
pub use server::{BindError, Server};
use state::EndpointState;
pub use vitals::{Condition, Vitals};

/// Time limit of [`HttpServers::stop`]. It fits into the second that a stop of the service has for everything but actors.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// What the servers ask of their clients.
#[derive(Clone, Debug, Default)]
pub struct Security {
    /// The tokens of the operator's server; nobody is asked for one while there are none.
    pub tokens: Tokens,
    /// The certificate of the operator's server; without one it speaks plain HTTP.
    pub operator_tls: Option<Tls>,
    /// The same of the metrics server.
    pub metrics_tls: Option<Tls>,
    /// The audit log, which other ports share.
    pub audit: Audit,
}

/// The two running servers. Dropping them stops them in the background; [`HttpServers::stop`] waits for that.
pub struct HttpServers {
    metrics_address: SocketAddr,
    operator_address: SocketAddr,
    accepting: [JoinHandle<()>; 2],
    stop: DropGuard,
}

impl HttpServers {
    /// Listens on both addresses and serves from now on. Port 0 means any free port.
    ///
    /// # Errors
    /// [`BindError`] for the first address that fails; then nothing is served.
    pub async fn bind(
        metrics: SocketAddr,
        operator: SocketAddr,
        security: Security,
        vitals: Arc<dyn Vitals>,
    ) -> Result<Self, BindError> {
        Self::bind_with(Limits::of_process(3), metrics, operator, security, vitals).await
    }

    async fn bind_with(
        limits: Limits,
        metrics: SocketAddr,
        operator: SocketAddr,
        security: Security,
        vitals: Arc<dyn Vitals>,
    ) -> Result<Self, BindError> {
        let (metrics, metrics_address) = listen(Server::Metrics, metrics)?;
        // Both ports before any task: if the second one is taken, the first one has served nothing.
        let (operator, operator_address) = listen(Server::Operator, operator)?;
        let stop = CancellationToken::new();
        let audit = security.audit;
        let shown = EndpointState { vitals, began: Instant::now(), audit: audit.clone() };
        let guard = |server| Guard::new(limits, routes::access(server)).audit(audit.clone());
        let of_metrics =
            guarded(routes::router(Server::Metrics, shown.clone()), guard(Server::Metrics).into());
        let of_operator = guard(Server::Operator).refuse_pages().tokens(security.tokens);
        let of_operator = guarded(routes::router(Server::Operator, shown), of_operator.into());
        let accepting = [
            tokio::spawn(serve_http(metrics, of_metrics, limits, security.metrics_tls, stop.clone())),
            tokio::spawn(serve_http(operator, of_operator, limits, security.operator_tls, stop.clone())),
        ];
        Ok(Self { metrics_address, operator_address, accepting, stop: stop.drop_guard() })
    }

    /// The address of the metrics server.
    #[must_use]
    pub fn metrics_address(&self) -> SocketAddr {
        self.metrics_address
    }

    /// The address of the operator's server.
    #[must_use]
    pub fn operator_address(&self) -> SocketAddr {
        self.operator_address
    }

    /// Stops accepting, closes idle connections, gives active ones a moment, and ends within a second whatever the clients do.
    pub async fn stop(self) {
        drop(self.stop);
        // Dropping a JoinHandle detaches its task, so the handles to abort them are taken before the join.
        let aborts = self.accepting.each_ref().map(JoinHandle::abort_handle);
        let [metrics, operator] = self.accepting;
        let both = async { tokio::join!(metrics, operator) };
        if timeout(STOP_WITHIN, both).await.is_err() {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }
}

/// Listens for a server, for a task of this runtime.
fn listen(server: Server, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let (listener, actual) = server.listen(address)?;
    let listener = TcpListener::from_std(listener);
    Ok((listener.map_err(|source| BindError { server, address, source })?, actual))
}
