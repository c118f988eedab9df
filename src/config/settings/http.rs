//! `[http]`: where the endpoints listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::checks::{IP, SOCKET_ADDRESS};
use super::super::setting::{integer, section, text};

section! {
    /// The endpoints: one address for Prometheus and probes, one for operators.
    pub struct Http in "http" {
        /// IP address of `/metrics`, `/livez` and `/readyz`; 0.0.0.0 for all interfaces.
        host: IpAddr = text("0.0.0.0", IP),
        /// TCP port of `/metrics`, `/livez` and `/readyz`; 0 for any free one.
        metrics_port: u16 = integer(9094, "a TCP port or 0", 0..=65_535)
            .variable("STATE_TRACKER_METRICS_PORT"),
        /// IP address and port of the operator's endpoints. They ask for no password: keep them local.
        // Local by default: the endpoints show addresses, messages and backtraces without a password.
        operator_address: SocketAddr = text("127.0.0.1:9095", SOCKET_ADDRESS),
    }
}

impl Http {
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.metrics_port)
    }

    /// The URL of `path` for a client on the same machine.
    pub fn local_url(&self, path: &str) -> String {
        let host = match self.host {
            // 0.0.0.0 is an address to listen on; not every system lets a client connect to it.
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}{path}", SocketAddr::new(host, self.metrics_port))
    }
}
