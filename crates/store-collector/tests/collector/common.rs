//! A private Redis server, and a connection to it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use redis::{FromRedisValue, IntoConnectionInfo, ToRedisArgs, aio::MultiplexedConnection};
use store_redis::RedisSettings;
use testkit::RedisServer;

pub struct Scene {
    pub redis: Arc<RedisServer>,
    pub connection: MultiplexedConnection,
}

impl Scene {
    pub async fn new() -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let connection = redis.connection().await.expect("a connection");
        Self { redis: Arc::new(redis), connection }
    }

    /// The same server once more.
    pub async fn again(&self) -> Self {
        let connection = self.redis.connection().await.expect("a connection");
        Self { redis: self.redis.clone(), connection }
    }

    /// Runs a command given as words.
    pub async fn run<T: FromRedisValue>(&mut self, command: &str, arguments: impl ToRedisArgs) -> T {
        let mut command = redis::cmd(command);
        command.arg(arguments);
        command.query_async(&mut self.connection).await.expect("the command is right")
    }
}

pub fn settings(redis: SocketAddr) -> RedisSettings {
    RedisSettings {
        servers: format!("redis://{redis}/0").into_connection_info().expect("a URL").into(),
        certificates: None,
        address: redis.to_string(),
        pool_size: 4,
        connect_timeout: Duration::from_secs(5),
        command_timeout: Duration::from_secs(20),
        check_after: Duration::ZERO,
    }
}
