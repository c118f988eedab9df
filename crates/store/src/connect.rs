//! Connections to Redis: a bounded pool for commands, and the client for subscriptions.

use std::{fmt, time::Duration};

use deadpool_redis::{Manager, Pool, PoolError, Runtime};
use redis::{
    AsyncConnectionConfig, Client, ConnectionInfo, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    io::tcp::TcpSettings,
};

use crate::{
    batch::Batch,
    error::{ErrorKind, StoreError},
};

/// How Redis is reached.
#[derive(Clone)]
pub struct RedisSettings {
    /// Address, user, password, database.
    pub connection: ConnectionInfo,
    /// The address as it may be shown.
    pub shown: String,
    /// Connections of the pool.
    pub pool_size: usize,
    /// How long setting up a connection, or waiting for a free one, may take.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub command_timeout: Duration,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.settings.shown)
    }
}

/// The way to Redis. Clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    pub(crate) client: Client,
    pub(crate) settings: RedisSettings,
}

impl Store {
    /// Sets up the pool; nothing is connected yet.
    ///
    /// # Errors
    /// [`StoreError`] when the settings can't be a connection.
    pub fn new(settings: RedisSettings) -> Result<Self, StoreError> {
        let object = settings.shown.clone();
        let refused =
            |detail: String| StoreError::new("set up the pool", object.clone(), ErrorKind::Refused, detail);
        let info = named(&settings.connection);
        let client = Client::open(info.clone()).map_err(|error| refused(error.to_string()))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout))
            .set_response_timeout(Some(settings.command_timeout));
        let manager = Manager::new_with_config(info, config).map_err(|error| refused(error.to_string()))?;
        let pool = Pool::builder(manager)
            .runtime(Runtime::Tokio1)
            .max_size(settings.pool_size)
            .wait_timeout(Some(settings.connect_timeout))
            .create_timeout(Some(settings.connect_timeout))
            .recycle_timeout(Some(settings.command_timeout))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        Ok(Self { pool, client, settings })
    }

    /// Takes a connection for one pass. A reused one is checked first, which is a round trip of its own.
    ///
    /// # Errors
    /// [`StoreError`] when none can be had.
    pub async fn session(&self, operation: &'static str) -> Result<Session, StoreError> {
        let object = || self.settings.shown.clone();
        let connection = self.pool.get().await.map_err(|error| match error {
            PoolError::Timeout(deadpool_redis::TimeoutType::Wait) => {
                StoreError::new(operation, object(), ErrorKind::PoolExhausted, "no connection became free")
            }
            PoolError::Timeout(_) => {
                StoreError::new(operation, object(), ErrorKind::Unavailable, "connecting took too long")
            }
            PoolError::Backend(error) => StoreError::redis(operation, object(), &error),
            other => StoreError::new(operation, object(), ErrorKind::Unavailable, other),
        })?;
        Ok(Session { connection, round_trips: 0 })
    }

    /// Asks Redis for a sign of life.
    ///
    /// # Errors
    /// [`StoreError`] when there is none.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut session = self.session("ping").await?;
        let mut batch = Batch::new();
        batch.keyless("PING");
        session.run("ping", &self.settings.shown, batch).await.map(drop)
    }

    /// A connection to each server that holds keys, beside the pool, with its name as it may be shown.
    ///
    /// # Errors
    /// [`StoreError`] when one can't be reached.
    pub(crate) async fn servers(
        &self,
        operation: &'static str,
    ) -> Result<Vec<(String, MultiplexedConnection)>, StoreError> {
        let name = self.settings.shown.clone();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_timeout))
            .set_response_timeout(Some(self.settings.command_timeout));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => Ok(vec![(name, connection)]),
            Err(error) => Err(StoreError::redis(operation, name, &error)),
        }
    }

    /// Connections in use, and the most there may be.
    #[must_use]
    pub fn pool_usage(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.size - status.available, status.max_size)
    }
}

fn named(connection: &ConnectionInfo) -> ConnectionInfo {
    let redis = connection.redis_settings().clone().set_lib_name("state-tracker", env!("CARGO_PKG_VERSION"));
    let tcp = TcpSettings::default().set_nodelay(true);
    connection.clone().set_tcp_settings(tcp).set_redis_settings(redis)
}

/// One connection, for the length of a pass.
pub struct Session {
    connection: deadpool_redis::Connection,
    round_trips: u64,
}

impl Session {
    /// How often this session has waited for Redis, beside the check of its connection.
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.round_trips
    }

    /// Sends a batch as one round trip; one answer a command. Errors of single commands are in their places.
    pub(crate) async fn run(
        &mut self,
        operation: &'static str,
        object: &str,
        batch: Batch,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        self.round_trips += 1;
        let (pipeline, shape) = batch.into_pipeline();
        let sent = self.connection.req_packed_commands(&pipeline, 0, pipeline.len()).await;
        sent.map(|sent| shape.answers(sent)).map_err(|error| StoreError::redis(operation, object, &error))
    }
}
