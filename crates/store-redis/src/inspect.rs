//! Inspection of Redis for the doctor: servers, their settings and clocks; names, types, TTLs and sizes of keys; numbers of
//! subscribers.
//!
//! Nothing here writes or draws conclusions. Reads are made in slices, so that the caller can pause between them.

mod databases;
mod server;

use std::time::Duration;

use errors::{Operation, sanitise};
use redis::{RedisResult, Value, from_redis_value};

pub use server::{ServerClock, ServerFacts};

use crate::{
    answers::kind_of,
    batch::Batch,
    connect::{Connection, Store},
    error::StoreError,
    key_family::KeyType,
    operations,
    reply::Replies,
};

/// Inspects one server over a connection of its own.
pub struct Inspector {
    connection: Connection,
    server: String,
}

/// Type, TTL and size of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyFacts {
    /// Its type.
    pub kind: KeyType,
    /// The rest of its TTL; `None` without a TTL.
    pub expires_in: Option<Duration>,
    /// Its memory in bytes, if it was requested.
    pub bytes: Option<u64>,
}

/// A key to examine.
#[derive(Clone, Copy, Debug)]
pub struct KeyRequest<'a> {
    /// The key.
    pub key: &'a [u8],
    /// Whether to read its size too: `MEMORY USAGE` is slow on large collections.
    pub size: bool,
}

impl Store {
    /// An inspector for each server that holds keys.
    ///
    /// # Errors
    /// [`StoreError`] if one can't be reached.
    pub async fn inspectors(&self) -> Result<Vec<Inspector>, StoreError> {
        let servers = self.servers(operations::CONNECT_SERVERS).await?;
        Ok(servers.into_iter().map(|(server, connection)| Inspector { connection, server }).collect())
    }

    /// An inspector or an error for each of these replicas, with its address. Empty for a single server, which has no failover.
    pub async fn replica_inspectors(
        &self,
        replicas: impl Iterator<Item = (String, u16)>,
    ) -> Vec<(String, Result<Inspector, StoreError>)> {
        let mut all = Vec::new();
        for (host, port) in replicas {
            let server = format!("{host}:{port}");
            // `None` depends on the deployment alone, so it would be the same for the next one.
            let Some(connected) = self.connect_replica(operations::CONNECT_SERVERS, &host, port).await else {
                break;
            };
            let inspector = connected.map(|connection| Inspector { connection, server: server.clone() });
            all.push((server, inspector));
        }
        all
    }
}

impl Inspector {
    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The next names of keys that match a pattern, and the cursor of the next call. The first cursor is 0; a returned 0 ends the scan.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer, or refuses.
    pub async fn scan(
        &mut self,
        cursor: u64,
        pattern: &str,
        count: usize,
    ) -> Result<(u64, Vec<Vec<u8>>), StoreError> {
        let operation = operations::SCAN_KEYS;
        let mut batch = Batch::new();
        // Sent to this one server, also in a cluster: a cursor is valid on the server that gave it.
        batch.keyless("SCAN").arg(cursor).arg("MATCH").arg(pattern).arg("COUNT").arg(count);
        let answers = self.run(operation, batch).await?;
        Replies::new(operation, answers).required(&self.server)
    }

    /// Facts about these keys, in their order; `None` for a key that the user may not read. A key that no longer exists has
    /// [`KeyType::None`].
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer.
    pub async fn examine(&mut self, wanted: &[KeyRequest<'_>]) -> Result<Vec<Option<KeyFacts>>, StoreError> {
        let operation = operations::EXAMINE_KEYS;
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let mut batch = Batch::new();
        for KeyRequest { key, size } in wanted {
            // Names are bytes, and need not be UTF-8; the server is fixed, so no slot is computed from them.
            batch.keyless("TYPE").arg(*key);
            batch.keyless("PTTL").arg(*key);
            if *size {
                batch.keyless("MEMORY").arg("USAGE").arg(*key);
            }
        }
        let mut answers = self.run(operation, batch).await?.into_iter();
        // A missing right concerns one key only; the user may have the right to the next.
        let mut next = || match answers.next() {
            Some(Err(error)) if kind_of(&error).is_outage() => {
                Err(StoreError::redis(operation, &self.server, &error))
            }
            answer => Ok(answer.and_then(Result::ok)),
        };
        let mut all = Vec::with_capacity(wanted.len());
        for KeyRequest { size, .. } in wanted {
            let kind = next()?.and_then(|kind| from_redis_value::<String>(kind).ok());
            let lives = next()?.and_then(|lives| from_redis_value::<i64>(lives).ok());
            let bytes = if *size { next()? } else { None };
            let bytes = bytes.and_then(|bytes| from_redis_value::<Option<u64>>(bytes).ok().flatten());
            let facts = kind.zip(lives).map(|(kind, lives)| KeyFacts {
                kind: KeyType::parse(&kind),
                // PTTL is -1 without a TTL and -2 without a key.
                expires_in: u64::try_from(lives).ok().map(Duration::from_millis),
                bytes,
            });
            all.push(facts);
        }
        Ok(all)
    }

    /// The number of subscribers of each of these channels on this server, in their order.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer, or refuses.
    pub async fn subscribers(&mut self, channels: &[String]) -> Result<Vec<u64>, StoreError> {
        let operation = operations::COUNT_SUBSCRIBERS;
        let mut batch = Batch::new();
        batch.keyless("PUBSUB").arg("NUMSUB").arg(channels);
        let answers = self.run(operation, batch).await?;
        let counts: Vec<(String, u64)> = Replies::new(operation, answers).required(&self.server)?;
        Ok(counts.into_iter().map(|(_, count)| count).collect())
    }

    /// Sends a batch to this server; returns one answer a command.
    ///
    /// # Errors
    /// [`StoreError`] if the server does not answer.
    pub async fn run(
        &mut self,
        operation: Operation,
        batch: Batch,
    ) -> Result<Vec<RedisResult<Value>>, StoreError> {
        let sent = batch.send(&mut self.connection).await;
        sent.map_err(|error| StoreError::redis(operation, &self.server, &error))
    }

    /// Sends one command; returns its answer, or the server's error as text.
    async fn query(&mut self, words: &[&str]) -> Result<Result<Value, String>, StoreError> {
        let operation = operations::QUERY_SERVER;
        let mut batch = Batch::new();
        // Every caller passes at least a name; PING would be harmless.
        let (name, arguments) = words.split_first().unwrap_or((&"PING", &[]));
        batch.keyless(name).arg(arguments);
        let mut answers = self.run(operation, batch).await?.into_iter();
        Ok(match answers.next() {
            Some(answer) => answer.map_err(sanitise),
            None => Err("an answer is missing".to_owned()),
        })
    }

    /// Sends one command; returns its answer as a `T`, or the error as text.
    async fn query_as<T: redis::FromRedisValue>(
        &mut self,
        words: &[&str],
    ) -> Result<Result<T, String>, StoreError> {
        let answer = self.query(words).await?;
        Ok(answer.and_then(|answer| from_redis_value(answer).map_err(sanitise)))
    }
}
