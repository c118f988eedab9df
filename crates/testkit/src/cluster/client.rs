//! A client of a cluster for producers and readers in tests: it asks any node, and follows redirections.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind,
    Value, from_redis_value, pipe,
};
use tokio::time::sleep;

use crate::tls::Tls;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// The most redirections of a command: a slot that is being moved sends it back and forth.
const HOPS: usize = 1_000;

/// Connections to the nodes of a cluster, each made when it is needed.
#[derive(Debug)]
pub struct ClusterClient {
    seeds: Vec<String>,
    password: Option<String>,
    tls: Option<Tls>,
    connections: BTreeMap<String, MultiplexedConnection>,
}

impl ClusterClient {
    pub(super) fn new(seeds: Vec<String>, password: Option<String>, tls: Option<Tls>) -> Self {
        Self { seeds, password, tls, connections: BTreeMap::new() }
    }

    /// Runs a command of one key, or of none.
    ///
    /// # Errors
    /// A server's error, except redirections, or the client's.
    pub async fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> RedisResult<T> {
        let (mut at, mut asking) = (None, false);
        for _ in 0..HOPS {
            let error = match self.send(at.as_deref(), asking, command).await {
                Ok(value) => return Ok(from_redis_value(value)?),
                Err(error) => error,
            };
            (at, asking) = match error.kind() {
                redis::ErrorKind::Server(kind @ (ServerErrorKind::Moved | ServerErrorKind::Ask)) => {
                    let Some((node, _)) = error.redirect_node() else { return Err(error) };
                    (Some(self.url(node)), kind == ServerErrorKind::Ask)
                }
                redis::ErrorKind::Server(ServerErrorKind::TryAgain | ServerErrorKind::ClusterDown) => {
                    sleep(PAUSE).await;
                    (None, false)
                }
                _ => {
                    // The connection may be broken.
                    self.connections.clear();
                    return Err(error);
                }
            };
        }
        Err(RedisError::from((redis::ErrorKind::Client, "the cluster redirects for ever")))
    }

    /// Runs the commands of a pipeline one after the other.
    ///
    /// # Errors
    /// The first error; those before it were run.
    pub async fn run_each(&mut self, commands: &Pipeline) -> RedisResult<()> {
        for command in commands.cmd_iter() {
            self.run::<Value>(command).await?;
        }
        Ok(())
    }

    async fn send(&mut self, at: Option<&str>, asking: bool, command: &Cmd) -> RedisResult<Value> {
        let connection = self.connection(at).await?;
        if !asking {
            return command.query_async(connection).await;
        }
        let mut asked = pipe();
        // `ASKING` holds for the next command of its connection only, so both go in one pipeline.
        asked.cmd("ASKING").ignore().add_command(command.clone());
        let (answer,) = asked.query_async::<(Value,)>(connection).await?;
        Ok(answer)
    }

    async fn connection(&mut self, at: Option<&str>) -> RedisResult<&mut MultiplexedConnection> {
        let url = match at {
            Some(url) => url.to_owned(),
            None => self.seeds[0].clone(),
        };
        if !self.connections.contains_key(&url) {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(RESPONSE_TIMEOUT));
            let client = match &self.tls {
                Some(tls) => Client::build_with_tls(url.as_str(), tls.for_clients())?,
                None => Client::open(url.as_str())?,
            };
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            self.connections.insert(url.clone(), connection);
        }
        self.connections.get_mut(&url).ok_or_else(|| (redis::ErrorKind::Client, "no connection").into())
    }

    fn url(&self, node: &str) -> String {
        let scheme = if self.tls.is_some() { "rediss" } else { "redis" };
        match &self.password {
            Some(password) => format!("{scheme}://:{password}@{node}/0"),
            None => format!("{scheme}://{node}/0"),
        }
    }
}
