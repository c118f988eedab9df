//! Connections to Redis: to one server, to the master that sentinels name, or to a cluster.
//!
//! A bounded pool lends [`Session`]s. A session reaches all keys, by one connection, or by one to each node of a
//! cluster. A session's error can make the pool drop older connections, so that the next session
//! queries again which server is the master, or which node has which slots.

mod cluster;
mod connection;
mod connector;
mod limit;
mod links;
mod protocol;
mod receiver;
mod sentinel;
mod settings;
mod slots;
mod stream;
mod subscription;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
};

use deadpool::{
    Runtime,
    managed::{Object, Pool, PoolError, TimeoutType},
};
use errors::{Operation, rounded};
use redis::{RedisResult, Value};

use crate::{batch::Batch, error::StoreError, kind::ErrorKind, operations};
pub(crate) use connection::Connection;
use connector::ConnectError;
pub(crate) use limit::AnswerTooLarge;
use links::{LinkManager, Links};
pub use protocol::{Protocol, Spoken};
pub use sentinel::SentinelView;
pub use settings::{RedisSettings, Servers};
pub use subscription::Subscriber;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.address)
    }
}

/// The client of one Redis deployment. Clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool<LinkManager>,
    // Shared with the pool's manager: an error of a session retires links that the pool holds.
    links: Arc<Links>,
    settings: RedisSettings,
    /// The limit of a subscription's queue, in bytes.
    event_queue: usize,
    dropped_events: Arc<AtomicU64>,
}

impl Store {
    /// The default limit of a subscription's queue, in bytes.
    pub const DEFAULT_EVENT_QUEUE: usize = 16 << 20;

    /// Sets up the pool without connecting.
    ///
    /// # Errors
    /// [`StoreError`] if the settings don't describe a connection.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let object = settings.address.clone();
        let operation = operations::SET_UP_POOL;
        let links = Links::new(&settings)
            .map_err(|error| StoreError::caused(operation, object.clone(), ErrorKind::Refused, error))?;
        let links = Arc::new(links);
        let pool = Pool::builder(LinkManager(links.clone()))
            .runtime(Runtime::Tokio1)
            .max_size(settings.pool_size)
            // Without these deadlines deadpool waits without a limit, for a free connection as for a server.
            .wait_timeout(Some(settings.connect_timeout))
            .create_timeout(Some(settings.around_connecting()))
            .recycle_timeout(Some(settings.command_timeout))
            .build()
            .map_err(|error| StoreError::caused(operation, object, ErrorKind::Refused, error))?;
        let (event_queue, dropped_events) = (Self::DEFAULT_EVENT_QUEUE, Arc::default());
        Ok(Self { pool, links, settings, event_queue, dropped_events })
    }

    /// Sets the limit of a subscription's queue, in bytes.
    #[must_use]
    pub fn with_event_queue(self, bytes: usize) -> Self {
        Self { event_queue: bytes, ..self }
    }

    /// Borrows a session for one pass. A reused connection is checked first, which costs a round trip.
    ///
    /// # Errors
    /// [`StoreError`] if no connection is free or can be made in time.
    pub async fn session(&self, operation: Operation) -> Result<Session, StoreError> {
        let object = || self.settings.address.clone();
        let within = rounded(self.settings.connect_timeout);
        let link = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(TimeoutType::Wait) => {
                let detail = format!("no connection became free within {within}");
                StoreError::new(operation, object(), ErrorKind::PoolExhausted, detail)
            }
            PoolError::Timeout(_) => {
                let detail = format!("no connection was made within {within}");
                StoreError::new(operation, object(), ErrorKind::Unavailable, detail)
            }
            PoolError::Backend(error) => error.into_error(operation, object()),
            other => StoreError::caused(operation, object(), ErrorKind::Unavailable, other),
        })?;
        Ok(Session { link, links: self.links.clone(), round_trips: 0 })
    }

    /// The number of the configured database; `None` for a cluster, which has one only.
    #[must_use]
    pub fn database(&self) -> Option<i64> {
        match &self.settings.servers {
            Servers::Single(server) => Some(server.redis_settings().db()),
            Servers::Sentinel { node, .. } => Some(node.redis_settings().db()),
            Servers::Cluster(_) => None,
        }
    }

    /// Pings the server, or every master of a cluster.
    ///
    /// # Errors
    /// [`StoreError`] if one does not answer.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let operation = operations::PING_REDIS;
        let mut session = self.session(operation).await?;
        let mut batch = Batch::new();
        batch.keyless("PING");
        for answer in session.run(operation, &self.settings.address, batch).await? {
            answer.map_err(|error| StoreError::redis(operation, self.settings.address.clone(), &error))?;
        }
        Ok(())
    }

    /// Connects to each server that holds keys, outside the pool. Returns addresses without credentials.
    ///
    /// # Errors
    /// [`StoreError`] if one can't be reached.
    pub(crate) async fn servers(
        &self,
        operation: Operation,
    ) -> Result<Vec<(String, Connection)>, StoreError> {
        let connected = self.links.servers().await;
        connected.map_err(|error| error.into_error(operation, self.settings.address.clone()))
    }

    /// Connects to a replica, which may take over from one of [`Store::servers`]; `None` for a single server, which has no failover.
    pub(crate) async fn connect_replica(
        &self,
        operation: Operation,
        host: &str,
        port: u16,
    ) -> Option<Result<Connection, StoreError>> {
        let connected = self.links.connect_replica(host, port).await?;
        Some(connected.map_err(|error| error.into_error(operation, format!("{host}:{port}"))))
    }

    /// Each sentinel's view of the master, by the sentinel's address; empty without sentinels.
    pub async fn sentinels(&self) -> Vec<(String, Result<SentinelView, StoreError>)> {
        let views = self.links.sentinels().await.into_iter();
        let named = |(server, view): (String, Result<SentinelView, ConnectError>)| {
            let view = view.map_err(|error| error.into_error(operations::QUERY_SENTINEL, server.clone()));
            (server, view)
        };
        views.map(named).collect()
    }

    /// The state of the pool.
    #[must_use]
    pub fn pool(&self) -> PoolStatus {
        let status = self.pool.status();
        PoolStatus {
            in_use: status.size.saturating_sub(status.available),
            idle: status.available,
            limit: status.max_size,
            created: self.links.created(),
        }
    }
}

/// The connections of a pool. With a cluster each counts once and has a connection to each node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Connections that sessions hold.
    pub in_use: usize,
    /// Connections that wait for a session.
    pub idle: usize,
    /// The limit of connections.
    pub limit: usize,
    /// Connections opened since the start.
    pub created: u64,
}

/// A borrowed connection to all keys, for one pass. Dropping it returns it to the pool.
pub struct Session {
    link: Object<LinkManager>,
    links: Arc<Links>,
    round_trips: u64,
}

impl Session {
    /// How often this session has waited for Redis, without the check when it was borrowed. Requests to several nodes of a cluster
    /// at the same time count once.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.round_trips
    }

    /// Whether the commands of one batch go to several servers, which run them in no common order.
    #[must_use]
    pub fn spans_servers(&self) -> bool {
        self.link.spans_servers()
    }

    /// Sends a batch as one round trip; returns one answer a command. Errors of single commands are in their places.
    pub async fn run(
        &mut self,
        operation: Operation,
        object: &str,
        batch: Batch,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let sent = self.links.run(&mut self.link, batch, &mut self.round_trips).await;
        sent.map_err(|error| error.into_error(operation, object))
    }
}
