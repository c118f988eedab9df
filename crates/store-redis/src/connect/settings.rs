//! The settings of the connections to Redis.

use std::time::Duration;

use redis::{ConnectionInfo, TlsCertificates};

/// The settings of the connections to Redis.
#[derive(Clone)]
pub struct RedisSettings {
    /// The servers, with user, password and database.
    pub servers: Servers,
    /// Trusted authorities and the client's certificate for TLS; `None` for the system's authorities.
    pub certificates: Option<TlsCertificates>,
    /// The address for logs and errors, without credentials.
    pub address: String,
    /// The limit of sessions at the same time, and so of connections to each server.
    pub pool_size: usize,
    /// The time limit for making a connection and for waiting for a free one.
    pub connect_timeout: Duration,
    /// The time limit for an answer.
    pub command_timeout: Duration,
    /// How long after a connection was lent it is lent again without a check, which is one round trip. A session that gets a broken
    /// one fails.
    pub check_after: Duration,
}

impl RedisSettings {
    /// The deadline around the making of connections. Each of them has its own, and knows for what it has waited: so this one is a little
    /// later, or chance would decide which of them speaks.
    pub(super) fn around_connecting(&self) -> Duration {
        self.connect_timeout + Duration::from_millis(250)
    }
}

/// The servers of a deployment.
#[derive(Clone, Debug)]
pub enum Servers {
    /// One server.
    Single(ConnectionInfo),
    /// A master that changes by failover.
    Sentinel {
        /// The sentinels, which know the master.
        sentinels: Vec<ConnectionInfo>,
        /// The master's name among the sentinels.
        master: String,
        /// User, password, database and TLS of the master. Its address is ignored.
        node: ConnectionInfo,
    },
    /// A cluster: some of its nodes, from which the others are found. User, password and TLS of the first hold for all.
    Cluster(Vec<ConnectionInfo>),
}

impl From<ConnectionInfo> for Servers {
    fn from(server: ConnectionInfo) -> Self {
        Self::Single(server)
    }
}
