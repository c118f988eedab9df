//! Shared by the store's tests: a real server, a market with its keys spelled out, and passes over it.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used)] // Each test binary uses its part.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use domain::{
    Address, EpochId,
    tracker::{Datasets, Due, Totals},
};
use redis::{FromRedisValue, IntoConnectionInfo, ToRedisArgs, aio::MultiplexedConnection};
use serde_json::Value;
use store_redis::{ANSWERS, Answer, ErrorKind, RedisSettings, Session, Store, StoreError, UNKNOWN};
use store_tracker::{Intervals, MarketKeys, MarketStore, Outputs, Pass, Reach, Scope, Written};
use testkit::{MarketProducer, ProducerConfig, RedisServer, Truth};

pub const PROTOCOL: &str = "0xE88E5f64AEB483d7057645326AdDFA24A3B312DF";
pub const MARKET: &str = "0x0C2E22fe7526fAeF28E7A58c84f8723dEFcE200c";
pub const VALIDATOR: &str = "validator1";
/// The moment at which most tests happen, in Unix seconds: ten minutes past an hour.
pub const NOW: i64 = 1_795_341_600 + 600;
pub const SEAL_AFTER: f64 = 3600.0;
pub const DAY: f64 = 86_400.0;
/// The defaults of the configuration.
pub const INTERVALS: Intervals = Intervals {
    summary: Duration::from_secs(30),
    hourly: Duration::from_secs(300),
    daily: Duration::from_secs(3_600),
    current_epoch: Duration::from_secs(30),
};

/// A server, a market on it, and a connection of the test's own.
pub struct Scene {
    pub redis: RedisServer,
    pub connection: MultiplexedConnection,
}

impl Scene {
    pub async fn new() -> Self {
        let redis = RedisServer::start().await.expect("a Redis server");
        let connection = redis.connection().await.expect("a connection");
        Self { redis, connection }
    }

    /// Runs a command given as words.
    pub async fn run<T: FromRedisValue>(&mut self, command: &str, arguments: impl ToRedisArgs) -> T {
        let mut command = redis::cmd(command);
        command.arg(arguments);
        command.query_async(&mut self.connection).await.expect("the command is right")
    }

    pub async fn zadd(&mut self, key: &str, at: i64, member: impl ToRedisArgs) {
        let mut command = redis::cmd("ZADD");
        command.arg(key).arg(at).arg(member);
        command.query_async::<()>(&mut self.connection).await.expect("the command is right");
    }

    pub async fn del(&mut self, keys: &[String]) {
        self.run::<()>("DEL", keys).await;
    }

    /// Writes a ledger that was recorded, without any key of the producers.
    pub async fn restore(&mut self, recorded: &str) {
        for line in recorded.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            let [command, part, words @ ..] = &words[..] else { panic!("{line}") };
            self.run::<()>(command, &[&[ledger(part).as_str()], words].concat()).await;
        }
    }

    /// All of Redis without expiry times.
    pub async fn dump(&mut self) -> Dump {
        let mut dump = Dump::new();
        for key in self.run::<Vec<String>>("KEYS", "*").await {
            let kind: String = self.run("TYPE", &key).await;
            let content: Vec<String> = match kind.as_str() {
                "string" => vec![self.run("GET", &key).await],
                "set" => self.run("SMEMBERS", &key).await,
                "zset" => {
                    let members: Vec<(String, f64)> =
                        self.run("ZRANGE", &[&key, "0", "-1", "WITHSCORES"]).await;
                    members.into_iter().map(|(member, score)| format!("{member} {score}")).collect()
                }
                "hash" => {
                    let fields: Vec<(String, String)> = self.run("HGETALL", &key).await;
                    fields.into_iter().map(|(field, value)| format!("{field}={value}")).collect()
                }
                other => vec![other.to_owned()],
            };
            dump.insert(key, content.into_iter().collect());
        }
        dump
    }

    /// Writes a string to a key that should have another type.
    pub async fn spoil(&mut self, key: &str) {
        self.del(&[key.to_owned()]).await;
        self.run::<()>("SET", &[key, "spoilt"]).await;
    }

    pub fn producer(&self) -> MarketProducer {
        self.producer_with(ProducerConfig::new(PROTOCOL, MARKET))
    }

    pub fn producer_with(&self, config: ProducerConfig) -> MarketProducer {
        MarketProducer::new(config, &self.redis.url()).expect("producers")
    }

    pub fn tracker(&self) -> Tracker {
        Tracker::new(self.redis.addr(), MARKET)
    }
}

/// The keys of a server with their contents.
pub type Dump = BTreeMap<String, BTreeSet<String>>;

/// Every answer of the table, as a server words it.
pub fn answers() -> Vec<(&'static Answer, String)> {
    let rows = ANSWERS.iter().chain([&UNKNOWN]);
    rows.map(|row| {
        let word = if row.word.contains(' ') { "STRANGE" } else { row.word };
        (row, format!("{word} {} by the test", row.text))
    })
    .collect()
}

/// The first answer of the table for each pair of kind and consequence, by which code decides.
pub fn decisions() -> Vec<(&'static Answer, String)> {
    let mut pairs = BTreeSet::new();
    answers().into_iter().filter(|(row, _)| pairs.insert((row.kind, row.consequence))).collect()
}

/// The key `P:M:rest`.
pub fn key(rest: &str) -> String {
    format!("{PROTOCOL}:{MARKET}:{rest}")
}

/// The same in lower case.
pub fn lower(rest: &str) -> String {
    format!("{}:{}:{rest}", PROTOCOL.to_lowercase(), MARKET.to_lowercase())
}

/// A key of the ledger.
pub fn ledger(part: &str) -> String {
    format!("{{{PROTOCOL}:{MARKET}}}:tracker:{part}")
}

pub fn epoch(text: &str) -> EpochId {
    EpochId::parse(text).expect("an epoch id")
}

/// A tracker that makes one pass after the other.
pub struct Tracker {
    pub store: Store,
    pub market: MarketStore,
}

/// The result of one pass.
#[derive(Debug)]
pub struct Shown {
    pub pass: Pass,
    pub totals: Totals,
    pub summary: Value,
    pub written: Written,
}

impl Shown {
    /// Submissions, epochs, batches.
    pub fn totals(&self) -> [Option<u64>; 3] {
        ["submissions_total", "epochs_total", "batches_total"].map(|name| self.summary[name].as_u64())
    }

    pub fn has_fault(&self, key: &str, kind: ErrorKind) -> bool {
        self.pass.faults.iter().any(|fault| fault.key == key && fault.kind == kind)
    }
}

/// The same by the producers' truth.
pub fn written(truth: &Truth) -> [Option<u64>; 3] {
    [truth.submissions_total(), truth.epochs_total(), truth.batches_total()].map(Some)
}

impl Tracker {
    pub fn new(redis: SocketAddr, market: &str) -> Self {
        Self::with(settings(redis), PROTOCOL, market)
    }

    pub fn with(settings: RedisSettings, protocol: &str, market: &str) -> Self {
        let keys = MarketKeys::new(&Address::new(protocol), &Address::new(market));
        Self { store: Store::new(settings).expect("settings"), market: MarketStore::new(keys, VALIDATOR) }
    }

    pub async fn session(&self) -> Session {
        self.store.session(store_redis::Operation::new("test", "test")).await.expect("a session")
    }

    /// Reads without writing.
    pub async fn look(&self, session: &mut Session, now: f64, reach: Reach) -> Result<Pass, StoreError> {
        let mut pass =
            self.market.discover(session, now, Scope { due: Due::ALL, ..Scope::summary(reach) }).await?;
        self.market.examine(session, &mut pass).await?;
        Ok(pass)
    }

    /// Computes and writes, as the aggregator does.
    pub async fn commit(&self, session: &mut Session, pass: Pass) -> Result<Shown, StoreError> {
        let totals = Totals::of(&pass.seen, VALIDATOR, SEAL_AFTER);
        let datasets = Datasets::of(&pass.seen, &totals, DAY, Due::ALL);
        let outputs = Outputs { datasets: &datasets, intervals: &INTERVALS, original: None };
        let (written, summary) =
            (self.market.commit(session, &pass, &totals, outputs).await?, &datasets.summary);
        Ok(Shown { pass, totals, summary: summary.to_json(), written })
    }

    pub async fn try_pass(&self, now: f64, reach: Reach) -> Result<Shown, StoreError> {
        let mut session = self.session().await;
        let pass = self.look(&mut session, now, reach).await?;
        self.commit(&mut session, pass).await
    }

    pub async fn full(&self, now: i64) -> Shown {
        self.try_pass(now as f64, Reach::Everything).await.expect("a full pass")
    }

    pub async fn recent(&self, now: i64) -> Shown {
        self.try_pass(now as f64, Reach::New).await.expect("a pass")
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

/// Opens an epoch with submissions and closes it, batches and all.
pub async fn finished_epoch(market: &mut MarketProducer, epoch: u64, submissions: u64, at: i64) {
    market.open_epoch(epoch, at).await.expect("opened");
    market.submit(epoch, submissions, at).await.expect("submitted");
    market.close_epoch(epoch, at).await.expect("closed");
    market.validators(epoch, &["validator2", "validator3"], at).await.expect("heard");
    market.local_batch(epoch, at).await.expect("batched");
    market.aggregated_batch(epoch, &["validator1", "validator2"], at).await.expect("aggregated");
}
