//! What the real producers (gateway, event monitor, dequeuer, finalizer, aggregator) write and publish, as literal
//! keys, and the truth of what was written. May write into the given Redis, and nothing else.
//!
//! The keys are spelled out here a second time on purpose: a test that took them from the code under test would agree
//! with its mistakes.

mod live;
mod market;
mod step;
mod storm;
mod truth;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline};

use crate::cluster::ClusterClient;

pub use live::{LiveHandle, LiveRate, run_live};
pub use market::MarketProducer;
pub use storm::{StormReport, event_storm};
pub use truth::{EpochTruth, SharedTruth, Truth};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The channel on which producers publish events.
pub const CHANNEL: &str = "state:change";

/// One market and how its producers behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducerConfig {
    /// The protocol-state contract, spelled as in the keys.
    pub protocol: String,
    /// The data market, spelled as in the keys.
    pub market: String,
    /// This sequencer's own validator id, which makes the local batches.
    pub own_validator: String,
    /// The other validators, seen over the network.
    pub validators: Vec<String>,
    /// Length of the submission window.
    pub window: Duration,
    /// Where processed submissions are written.
    pub submission_store: SubmissionStore,
    /// Whether `epoch:E:state` is written (newer producers).
    pub epoch_state: bool,
    /// Whether each submission is also pushed to `submissionQueue`, from which nothing takes it.
    pub queue: bool,
    /// Whether events are published on `P:M:state:change` too.
    pub market_channel: bool,
}

/// Where the dequeuer writes processed submissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubmissionStore {
    /// The zset `epoch:E:submissions:ids` (newer producers).
    Ids,
    /// The set `epoch:E:processed` (older producers).
    Processed,
    /// Both.
    Both,
}

impl ProducerConfig {
    /// A market with newer producers, three other validators and windows of 20 s.
    #[must_use]
    pub fn new(protocol: impl Into<String>, market: impl Into<String>) -> Self {
        Self {
            protocol: protocol.into(),
            market: market.into(),
            own_validator: "validator1".to_owned(),
            validators: ["validator2", "validator3", "validator4"].map(str::to_owned).to_vec(),
            window: Duration::from_secs(20),
            submission_store: SubmissionStore::Ids,
            epoch_state: true,
            queue: false,
            market_channel: false,
        }
    }

    /// The key `P:M:rest`.
    #[must_use]
    pub fn key(&self, rest: impl AsRef<str>) -> String {
        format!("{}:{}:{}", self.protocol, self.market, rest.as_ref())
    }
}

/// Why producers could not write.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// The URL can't be read.
    #[error("the producers' Redis URL can't be read; write it as redis://host:port/0")]
    Url {
        /// What the client said.
        source: redis::RedisError,
    },
    /// A step failed. It may have been applied in part; it may be repeated with the same arguments.
    #[error("the producers' step `{step}` failed; see whether Redis answers, and repeat the step")]
    Step {
        /// The step, with its epoch.
        step: String,
        /// What the client said.
        source: redis::RedisError,
    },
    /// The background task ended by itself.
    #[error("the producers' background task panicked or was aborted; see its message above")]
    Task {
        /// How it ended.
        source: tokio::task::JoinError,
    },
}

/// Unix seconds now.
#[must_use]
pub fn unix_now() -> i64 {
    // A clock set before 1970 reads as 1970.
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// A connection that is made when it is needed, and anew after an error.
#[derive(Debug)]
enum Link {
    Server { client: Box<Client>, connection: Option<MultiplexedConnection> },
    Cluster(ClusterClient),
}

impl Link {
    fn new(url: &str) -> Result<Self, ProducerError> {
        Ok(Self::to(Client::open(url).map_err(|source| ProducerError::Url { source })?))
    }

    fn to(client: Client) -> Self {
        Self::Server { client: Box::new(client), connection: None }
    }

    async fn run(&mut self, pipe: &Pipeline, step: impl FnOnce() -> String) -> Result<(), ProducerError> {
        let result = self.try_run(pipe).await;
        result.map_err(|source| {
            if let Self::Server { connection, .. } = self {
                *connection = None;
            }
            ProducerError::Step { step: step(), source }
        })
    }

    async fn try_run(&mut self, pipe: &Pipeline) -> redis::RedisResult<()> {
        let (client, connection) = match self {
            Self::Cluster(client) => return client.run_each(pipe).await,
            Self::Server { client, connection } => (client, connection),
        };
        let connection = match connection {
            Some(connection) => connection,
            empty => {
                let config = AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(CONNECT_TIMEOUT))
                    .set_response_timeout(Some(RESPONSE_TIMEOUT));
                empty.insert(client.get_multiplexed_async_connection_with_config(&config).await?)
            }
        };
        pipe.query_async(connection).await
    }
}
