//! Looking at Redis without being part of the service: servers, their settings and clocks, the names, types, lives
//! and sizes of keys, who listens, what may be done, what readers see.
//!
//! Nothing here writes. It concludes nothing either: it hands on what was answered. Reads go in slices, and who asks
//! pauses between them.

mod server;

use std::time::Duration;

use errors::{Operation, sanitise};
use redis::{RedisResult, Value, aio::MultiplexedConnection, from_redis_value};

pub use server::{ServerClock, ServerFacts};

use crate::{
    batch::Batch,
    connect::Store,
    error::{StoreError, kind_of},
    key_family::KeyType,
    operations,
    reply::Replies,
};

/// A look at one server, over a connection of its own.
pub struct Inspector {
    connection: MultiplexedConnection,
    server: String,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its type.
    pub kind: KeyType,
    /// How long it lives on; `None`: it has no TTL.
    pub expires_in: Option<Duration>,
    /// What it takes in memory, in bytes, where that was asked for.
    pub bytes: Option<u64>,
}

/// A key to look at.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Whether its size is asked for too.
    pub size: bool,
}

impl Store {
    /// A look at each server that holds keys.
    ///
    /// # Errors
    /// [`StoreError`] when one can't be reached.
    pub async fn inspectors(&self) -> Result<Vec<Inspector>, StoreError> {
        let servers = self.servers(operations::CONNECT_SERVERS).await?;
        Ok(servers.into_iter().map(|(server, connection)| Inspector { connection, server }).collect())
    }

    /// A look at each of these replicas, which may take over, with its name; an error in place of one that does not
    /// answer. Empty where no server ever takes over.
    pub async fn standbys(
        &self,
        replicas: impl Iterator<Item = (String, u16)>,
    ) -> Vec<(String, Result<Inspector, StoreError>)> {
        let mut all = Vec::new();
        for (host, port) in replicas {
            let server = format!("{host}:{port}");
            let Some(connected) = self.standby(operations::CONNECT_SERVERS, &host, port).await else { break };
            let inspector = connected.map(|connection| Inspector { connection, server: server.clone() });
            all.push((server, inspector));
        }
        all
    }
}

impl Inspector {
    /// How the server is called.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The names of some more keys, and the cursor to go on with; 0 at the beginning and at the end.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or refuses.
    pub async fn scan(&mut self, cursor: u64, count: usize) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let operation = operations::SCAN_KEYS;
        let mut batch = Batch::new();
        batch.keyless("SCAN").arg(cursor).arg("COUNT").arg(count);
        let answers = self.run(operation, batch).await?;
        Replies::new(operation, answers).own(&self.server)
    }

    /// What these keys are, in their order; `None` for a key that the user may not look at. One that is gone
    /// meanwhile has no type.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer.
    pub async fn look(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<Option<KeyFacts>>, StoreError> {
        let operation = operations::EXAMINE_KEYS;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for Wanted { key, size } in wanted {
            batch.keyless("TYPE").arg(*key);
            batch.keyless("PTTL").arg(*key);
            if *size {
                batch.keyless("MEMORY").arg("USAGE").arg(*key);
            }
        }
        let mut answers = self.run(operation, batch).await?.into_iter();
        // A user without the right to one key may have the right to the next.
        let mut next = || match answers.next() {
            Some(Err(error)) if kind_of(&error).is_outage() => {
                Err(StoreError::redis(operation, &self.server, &error))
            }
            answer => Ok(answer.and_then(Result::ok)),
        };
        let mut all = Vec::with_capacity(wanted.len());
        for Wanted { size, .. } in wanted {
            let kind = next()?.and_then(|kind| from_redis_value::<String>(kind).ok());
            let lives = next()?.and_then(|lives| from_redis_value::<i64>(lives).ok());
            let bytes = if *size { next()? } else { None };
            let bytes = bytes.and_then(|bytes| from_redis_value::<Option<u64>>(bytes).ok().flatten());
            let facts = kind.zip(lives).map(|(kind, lives)| KeyFacts {
                kind: KeyType::parse(&kind),
                expires_in: u64::try_from(lives).ok().map(Duration::from_millis),
                bytes,
            });
            all.push(facts);
        }
        Ok(all)
    }

    /// How many are subscribed to each of these channels, in their order.
    ///
    /// # Errors
    /// [`StoreError`] when the server does not answer, or refuses.
    pub async fn subscribers(&mut self, channels: &[String]) -> Result<Vec<u64>, StoreError> {
        let operation = operations::COUNT_SUBSCRIBERS;
        let mut batch = Batch::new();
        batch.keyless("PUBSUB").arg("NUMSUB").arg(channels);
        let answers = self.run(operation, batch).await?;
        let counts: Vec<(String, u64)> = Replies::new(operation, answers).own(&self.server)?;
        Ok(counts.into_iter().map(|(_, count)| count).collect())
    }

    async fn run(
        &mut self,
        operation: Operation,
        batch: Batch,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let sent = batch.send(&mut self.connection).await;
        sent.map_err(|error| StoreError::redis(operation, &self.server, &error))
    }

    /// Sends one command; its answer, or what the server said against it.
    async fn ask(&mut self, words: &[&str]) -> Result<Result<Value, String>, StoreError> {
        let operation = operations::QUERY_SERVER;
        let mut batch = Batch::new();
        let (name, arguments) = words.split_first().unwrap_or((&"PING", &[]));
        batch.keyless(name).arg(arguments);
        let mut answers = self.run(operation, batch).await?.into_iter();
        Ok(match answers.next() {
            Some(answer) => answer.map_err(sanitise),
            None => Err("an answer is missing".to_owned()),
        })
    }

    /// The same, as a `T`.
    async fn ask_for<T: redis::FromRedisValue>(
        &mut self,
        words: &[&str],
    ) -> Result<Result<T, String>, StoreError> {
        let answer = self.ask(words).await?;
        Ok(answer.and_then(|answer| from_redis_value(answer).map_err(sanitise)))
    }
}
