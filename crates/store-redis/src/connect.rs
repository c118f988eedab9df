//! Connections to Redis, however it is run: one server, the master that sentinels name, or a cluster.
//!
//! A bounded pool lends [`Session`]s. A session is a way to all keys: one connection, or one to each node of a
//! cluster. A session's error can make the pool drop the connections that are older than it, so that the next session
//! asks again which server is the master, or which node has which slots.

mod cluster;
mod door;
mod links;
mod sentinel;
mod settings;
mod slots;
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
use redis::{RedisResult, Value, aio::MultiplexedConnection};

use crate::{
    batch::Batch,
    error::{ErrorKind, StoreError},
    operations,
};
use door::Trouble;
use links::{LinkManager, Links};
pub use sentinel::SentinelView;
pub use settings::{RedisSettings, Servers};
pub use subscription::Subscriber;

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.shown)
    }
}

/// The way to Redis. Clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool<LinkManager>,
    links: Arc<Links>,
    settings: RedisSettings,
    /// How many bytes of events may wait for the reader of a subscription.
    event_queue: usize,
    dropped_events: Arc<AtomicU64>,
}

impl Store {
    /// How many bytes of events may wait for the reader of a subscription, where nothing else is said.
    pub const EVENT_QUEUE: usize = 16 << 20;

    /// Sets up the pool; nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError`] when the settings can't be a connection.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let object = settings.shown.clone();
        let operation = operations::SET_UP_POOL;
        let links = Links::new(&settings)
            .map_err(|error| StoreError::caused(operation, object.clone(), ErrorKind::Refused, error))?;
        let links = Arc::new(links);
        let pool = Pool::builder(LinkManager(links.clone()))
            .runtime(Runtime::Tokio1)
            .max_size(settings.pool_size)
            .wait_timeout(Some(settings.connect_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.command_timeout))
            .build()
            .map_err(|error| StoreError::caused(operation, object, ErrorKind::Refused, error))?;
        let (event_queue, dropped_events) = (Self::EVENT_QUEUE, Arc::default());
        Ok(Self { pool, links, settings, event_queue, dropped_events })
    }

    /// The same, with so many bytes of events that may wait for the reader of a subscription.
    #[must_use]
    pub fn with_event_queue(self, bytes: usize) -> Self {
        Self { event_queue: bytes, ..self }
    }

    /// Takes a session for one pass. Reused connections are checked first, which is a round trip of its own.
    ///
    /// # Errors
    /// [`StoreError`] when none can be had.
    pub async fn session(&self, operation: Operation) -> Result<Session, StoreError> {
        let object = || self.settings.shown.clone();
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
            PoolError::Backend(trouble) => trouble.into_error(operation, object()),
            other => StoreError::caused(operation, object(), ErrorKind::Unavailable, other),
        })?;
        Ok(Session { link, links: self.links.clone(), round_trips: 0 })
    }

    /// Asks Redis for a sign of life: every node of a cluster.
    ///
    /// # Errors
    /// [`StoreError`] when there is none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let operation = operations::PING_REDIS;
        let mut session = self.session(operation).await?;
        let mut batch = Batch::new();
        batch.keyless("PING");
        for answer in session.run(operation, &self.settings.shown, batch).await? {
            answer.map_err(|error| StoreError::redis(operation, self.settings.shown.clone(), &error))?;
        }
        Ok(())
    }

    /// A connection to each server that holds keys, beside the pool, with its name as it may be shown.
    ///
    /// # Errors
    /// [`StoreError`] when one can't be reached.
    pub(crate) async fn servers(
        &self,
        operation: Operation,
    ) -> Result<Vec<(String, MultiplexedConnection)>, StoreError> {
        let connected = self.links.servers().await;
        connected.map_err(|trouble| trouble.into_error(operation, self.settings.shown.clone()))
    }

    /// A connection to a server that may take over from one of [`Store::servers`]; `None` where none ever does.
    pub(crate) async fn standby(
        &self,
        operation: Operation,
        host: &str,
        port: u16,
    ) -> Option<Result<MultiplexedConnection, StoreError>> {
        let connected = self.links.standby(host, port).await?;
        Some(connected.map_err(|trouble| trouble.into_error(operation, format!("{host}:{port}"))))
    }

    /// What each sentinel says of the master, with the sentinel's name as it may be shown; empty without sentinels.
    pub async fn sentinels(&self) -> Vec<(String, Result<SentinelView, StoreError>)> {
        let views = self.links.sentinels().await.into_iter();
        let named = |(server, view): (String, Result<SentinelView, Trouble>)| {
            let view = view.map_err(|trouble| trouble.into_error(operations::QUERY_SENTINEL, server.clone()));
            (server, view)
        };
        views.map(named).collect()
    }

    /// The connections of the pool.
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

/// The connections of a pool; one to a cluster is one to each of its nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Those that sessions hold.
    pub in_use: usize,
    /// Those that wait for a session.
    pub idle: usize,
    /// How many there may be.
    pub limit: usize,
    /// How many were opened since the start.
    pub created: u64,
}

/// A way to all keys, for the length of a pass.
pub struct Session {
    link: Object<LinkManager>,
    links: Arc<Links>,
    round_trips: u64,
}

impl Session {
    /// How often this session has waited for Redis, beside the check of its connections. What goes to several
    /// nodes of a cluster at the same time counts once.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.round_trips
    }

    /// Whether the commands of one batch go to several servers, and so are not run in their order.
    #[must_use]
    pub fn is_scattered(&self) -> bool {
        self.link.is_scattered()
    }

    /// Sends a batch as one round trip; one answer a command. Errors of single commands are in their places.
    pub async fn run(
        &mut self,
        operation: Operation,
        object: &str,
        batch: Batch,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let sent = self.links.run(&mut self.link, batch, &mut self.round_trips).await;
        sent.map_err(|trouble| trouble.into_error(operation, object))
    }
}
