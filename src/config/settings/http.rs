//! `[http]`: where the endpoints listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::super::checks::{IP, SOCKET_ADDRESS};
use super::super::files::{UnreadableFile, read_of};
use super::super::setting::{Content, file, flag, integer, section, text};

section! {
    /// The endpoints: one address for Prometheus and probes, one for operators.
    pub struct Http in "http" {
        /// IP address of `/metrics`, `/livez` and `/readyz`; 0.0.0.0 for all interfaces.
        host: IpAddr = text("0.0.0.0", IP),
        /// TCP port of `/metrics`, `/livez` and `/readyz`; 0 for any free one.
        metrics_port: u16 = integer(9094, "a TCP port or 0", 0..=65_535)
            .variable("STATE_TRACKER_METRICS_PORT"),
        /// Up to so many markets, and actors below one supervisor, have series of their own in `/metrics`. Of more, counters are summed
        /// (`market="*"`, `actor="markets/*/aggregator"`), and of a gauge the worst market or actor is shown with its name.
        market_series: usize = integer(1_000, "a number of markets", 1..=16_384),
        /// IP address and port of the operators' endpoints. Without tokens it must be one of the machine itself.
        // Local by default: the endpoints show addresses, messages and backtraces, and without tokens to each that asks.
        operator_address: SocketAddr = text("127.0.0.1:9095", SOCKET_ADDRESS),
        /// File with the tokens of readers, one a line: each opens the operators' endpoints that only read. It is read again every 2 s
        /// and at SIGHUP.
        read_token_file: String = file(Content::Tokens),
        /// File with the tokens of operators, one a line: each opens all of the operators' endpoints. It is read again every 2 s and
        /// at SIGHUP.
        operator_token_file: String = file(Content::Tokens),
        /// PEM file of the certificate of the operators' endpoints, with those of its authorities; empty for HTTP without TLS. It is
        /// read again every 2 s and at SIGHUP.
        cert_file: String = file(Content::Certificates),
        /// PEM file of the key of that certificate.
        key_file: String = file(Content::Key),
        /// Whether `/metrics`, `/livez` and `/readyz` are served by TLS only, with the same certificate.
        // Off by default: Prometheus and probes have to be told of it.
        metrics_tls: bool = flag(false),
    }
}

/// The content of the files of the operators' endpoints; `None` for a file that is not set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorFiles {
    /// Tokens, one a line.
    pub read_tokens: Option<Vec<u8>>,
    /// Tokens, one a line.
    pub operator_tokens: Option<Vec<u8>>,
    /// Certificates and key in PEM form.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
}

impl Http {
    /// Reads the files of the operators' endpoints.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn operator_files(&self) -> Result<OperatorFiles, UnreadableFile> {
        let certificate = self.certificate()?;
        let key = read_of("http.key_file", &self.key_file)?;
        Ok(OperatorFiles {
            read_tokens: read_of("http.read_token_file", &self.read_token_file)?,
            operator_tokens: read_of("http.operator_token_file", &self.operator_token_file)?,
            // Both or none: the configuration refuses one without the other.
            certificate: certificate.zip(key),
        })
    }

    /// The certificate of the endpoints, which their clients on this machine expect; `None` without TLS.
    ///
    /// # Errors
    /// A file that can't be read.
    pub fn certificate(&self) -> Result<Option<Vec<u8>>, UnreadableFile> {
        read_of("http.cert_file", &self.cert_file)
    }

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
        let scheme = if self.metrics_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", SocketAddr::new(host, self.metrics_port))
    }
}
