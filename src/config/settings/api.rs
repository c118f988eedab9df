//! `[api]`: the read API.

use std::net::SocketAddr;

use super::super::checks::{ANY, PUBLIC_HOST, SOCKET_ADDRESS};
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{Content, file, integer, section, text};

section! {
    /// The read API shows what the collector and other programs have written about submissions. It runs if a token is set. Then
    /// tracker.markets must be real addresses.
    pub struct Api in "api" {
        /// IP address and port of the read API; 0.0.0.0 for all interfaces, port 0 for any free one.
        address: SocketAddr = text("0.0.0.0:8080", SOCKET_ADDRESS),
        /// Token that each request has to bring; empty switches the read API off. Of several, one a line, each is valid. A reload
        /// replaces it; the first one needs a restart.
        read_token: Secret = text("", ANY).variable("AUTH_READ_TOKEN").secret().reloads(),
        /// Host that the description names, such as `api.example.org`; empty for the one that serves it.
        public_host: String = text("", PUBLIC_HOST).variable("API_HOST"),
        /// Requests a second of one client address; twice as many at once.
        rate_limit: u32 = integer(2_000, "a number of requests a second", 1..=1_000_000),
        /// Connections to Redis of its own, so that its clients hold up no actor.
        connections: usize = integer(4, "a number of connections", 1..=1_024),
        /// PEM file of its certificate, with those of its authorities; empty for HTTP without TLS. It is read again at SIGHUP.
        cert_file: String = file(Content::Certificates),
        /// PEM file of the key of that certificate.
        key_file: String = file(Content::Key),
    }
}

/// A certificate with those of its authorities, and its key, both in PEM form.
type Certificate = (Vec<u8>, Vec<u8>);

impl Api {
    /// Whether the read API runs: it does if a token is set.
    pub fn is_enabled(&self) -> bool {
        !self.read_token.reveal().trim().is_empty()
    }

    /// Certificates and key in PEM form; `None` if none is set.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn certificate(&self) -> Result<Option<Certificate>, UnreadableFile> {
        // Both or none: the configuration refuses one without the other.
        Ok(read_of("api.cert_file", &self.cert_file)?.zip(read_of("api.key_file", &self.key_file)?))
    }
}
