//! The servers, and the error with its remedy if one can't listen.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

/// One of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// For monitoring: Prometheus, probes. On all interfaces by default.
    Metrics,
    /// For operators on the machine itself. On 127.0.0.1 by default.
    Operator,
    /// For readers of what the collector and others have written, with their token. On all interfaces by default.
    Api,
    /// For readers of connected peers. On 127.0.0.1 by default.
    Peers,
    /// For senders of pictures. On 127.0.0.1 by default.
    Senders,
    /// For clients of campaigns. On 127.0.0.1 by default.
    Campaigns,
}

impl Server {
    /// Its purpose in a few words, for messages.
    #[must_use]
    pub fn purpose(self) -> &'static str {
        match self {
            Self::Metrics => "metrics and probes",
            Self::Operator => "the operator's endpoints",
            Self::Api => "the read API",
            Self::Peers => "readers of connected peers",
            Self::Senders => "senders of pictures of connected peers",
            Self::Campaigns => "clients of campaigns",
        }
    }

    fn port_setting(self) -> &'static str {
        match self {
            Self::Metrics => "http.metrics_port (STATE_TRACKER_METRICS_PORT)",
            Self::Operator => "the port of http.operator_address",
            Self::Api => "the port of api.address",
            Self::Peers => "the port of peers.proxy_http_address or peers.pool_http_address",
            Self::Senders => "the port of peers.proxy_address or peers.pool_address",
            Self::Campaigns => "the port of campaigns.gateway_address",
        }
    }

    fn host_setting(self) -> &'static str {
        match self {
            Self::Metrics => "http.host to 0.0.0.0",
            Self::Operator => "the host of http.operator_address to 127.0.0.1",
            Self::Api => "the host of api.address to 0.0.0.0",
            Self::Peers => "the host of that setting to 127.0.0.1",
            Self::Senders => "the host of that setting to 127.0.0.1",
            Self::Campaigns => "the host of campaigns.gateway_address to 127.0.0.1",
        }
    }

    /// Listens on an address of this server, for a runtime that serves it; also returns the address, since port 0 means any free one.
    ///
    /// # Errors
    /// [`BindError`]: a port that is taken, or that needs a right that the process does not have.
    pub(crate) fn listen(self, address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
        let failed = |source| BindError { server: self, address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let actual = listener.local_addr().map_err(failed)?;
        Ok((listener, actual))
    }
}

/// A server can't listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for {}; {}", server.purpose(), self.remedy())]
pub struct BindError {
    /// Which server.
    pub server: Server,
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn remedy(&self) -> String {
        let (port, host) = (self.server.port_setting(), self.server.host_setting());
        match self.source.kind() {
            // The most common one by far: a second instance on the same machine.
            io::ErrorKind::AddrInUse => format!(
                "another process listens there, maybe a second state-tracker: stop it, or set {port} to a free \
                 port (0 takes any)"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("this machine has no such address: set {host}, or to an address of this machine")
            }
            // Linux lets only root, or a process with CAP_NET_BIND_SERVICE, listen below 1024.
            io::ErrorKind::PermissionDenied => {
                format!("this user may not listen on that port: set {port} to 1024 or above")
            }
            _ => format!("set {port} to another port, or {host}"),
        }
    }
}
