//! How Redis is reached: which servers, with which limits.

use std::time::Duration;

use redis::{ConnectionInfo, TlsCertificates};

/// How Redis is reached.
#[derive(Clone)]
pub struct RedisSettings {
    /// Which servers there are, with user, password and database.
    pub servers: Servers,
    /// Whom to trust and who we are, where a server is reached by TLS; `None` for the system's authorities.
    pub certificates: Option<TlsCertificates>,
    /// The address as it may be shown.
    pub shown: String,
    /// Sessions at the same time: that many connections, to each node of a cluster.
    pub pool_size: usize,
    /// How long setting up a connection, or waiting for a free one, may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub command_timeout: Duration,
}

/// Which servers there are.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One.
    Single(ConnectionInfo),
    /// A master that may change.
    Sentinel {
        /// Those who know which server is the master.
        sentinels: Vec<ConnectionInfo>,
        /// The name by which they know it.
        master: String,
        /// User, password and database of the master, and whether it talks TLS. Its address does not count.
        node: ConnectionInfo,
    },
    /// Masters that share the keys. Some of them, from which the others are learnt; all are reached like the first.
    Cluster(Vec<ConnectionInfo>),
}

impl From<ConnectionInfo> for Servers {
    fn from(server: ConnectionInfo) -> Self {
        Self::Single(server)
    }
}
