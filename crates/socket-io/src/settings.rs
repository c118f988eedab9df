//! The limits and times of a server, and the pages that may use it.

use std::time::Duration;

use hyper::{HeaderMap, header::ORIGIN};

use crate::outbox::Bounds;

/// The limits and times of a server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The path of Engine.IO.
    pub path: String,
    /// The pages that may use it.
    pub origins: Origins,
    /// The time between two pings.
    pub ping_interval: Duration,
    /// How long a client may take to answer a ping. It ends half-open connections.
    pub ping_timeout: Duration,
    /// How long a new session may take to ask for the namespace, and an upgrade to be finished.
    pub connect_timeout: Duration,
    /// The largest message of a client, in bytes.
    pub max_payload: usize,
    /// The sessions, and likewise the TCP connections, at a time.
    pub most_connections: usize,
    /// The same of one address.
    pub most_per_address: usize,
    /// New TCP connections and sessions a second of one address; twice as many at once.
    pub per_second_per_address: u32,
    /// What may wait for one client.
    pub client_buffer: Bounds,
    /// The headers of a request, in bytes; at least 8,192.
    pub head_bytes: usize,
    /// How long a client may take to send them, or its body, and for the handshake of TLS.
    pub head_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            origins: Origins::Any,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            connect_timeout: Duration::from_secs(10),
            max_payload: 64 << 10,
            most_connections: 10_000,
            most_per_address: 10_000,
            per_second_per_address: 500,
            client_buffer: Bounds { messages: 1_024, bytes: 256 << 10 },
            head_bytes: 16 << 10,
            head_within: Duration::from_secs(10),
        }
    }
}

/// The pages that may use a server. Programs that are no browser name no page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Those of every site.
    Any,
    /// Those of these sites, such as `https://app.example.org`.
    List(Vec<String>),
}

impl Origins {
    /// Whether the page that a request names may use the server.
    #[must_use]
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        match self {
            Self::Any => true,
            Self::List(list) => {
                let is_listed = |origin: &hyper::header::HeaderValue| {
                    list.iter().any(|listed| origin.as_bytes().eq_ignore_ascii_case(listed.as_bytes()))
                };
                headers.get_all(ORIGIN).iter().all(is_listed)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_refused_where_sites_are_listed() {
        let list = Origins::List(vec!["https://app.example".to_owned()]);
        let with = |origin: &'static str| HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
        assert!(list.allow(&HeaderMap::new()) && list.allow(&with("https://APP.example")));
        for other in
            ["https://app.example.evil", "http://app.example", "null", "https://app.example:8443", ""]
        {
            assert!(!list.allow(&with(other)), "{other}");
        }
        assert!(Origins::Any.allow(&with("https://other.example")));
    }
}
