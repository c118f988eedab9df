//! Real surroundings for tests, load runs and the demo: private Redis servers, a private EVM node, a TCP proxy that
//! counts and breaks connections, and producers that write what the real ones write.
//!
//! This crate may start processes, open local sockets and write into the Redis that it is given. It knows the product's
//! inputs only as literal key strings: it shares no code with the crates under test, since a test that used their code
//! would agree with their mistakes.
//!
//! **Invariant:** it uses no crate of the workspace, and no shipped binary links it.
//!
//! | module | purpose |
//! |---|---|
//! | [`redis_server`] | a private `redis-server`: start, kill, pause, restart on the same data |
//! | [`postgres`] | a private PostgreSQL server with the users' tables: start, kill, pause, restart |
//! | [`pgbouncer`] | a private PgBouncer in front of it |
//! | [`tls`] | the certificates of a server |
//! | `authority` | an authority that signs certificates (feature `certificates`) |
//! | `tls_front` | TLS in front of a server without it (feature `certificates`) |
//! | [`sentinels`] | a master with its replica under three sentinels, and its death |
//! | [`cluster`] | a Redis Cluster whose slots move while clients work |
//! | [`proxy`] | a TCP proxy in front of a server: counts round trips, cuts, refuses, delays, holds back, goes silent |
//! | [`anvil`] | an EVM node that mines and reorganises on demand, with our contract on it |
//! | [`browser`] | Chromium without a window, for the tests of pages |
//! | [`generated_node`] | a node of generated blocks, for chains that `anvil` would mine too slowly |
//! | [`rpc_proxy`] | a JSON-RPC proxy in front of the node, whose answers fail, lag, are wrong or are held back |
//! | [`relayer_server`] | a relayer that writes down each call, and answers as it is told |
//! | [`sri_app`] | a Stratum V2 application that is polled over HTTP: its state, and how it answers |
//! | [`producers`] | epochs, submissions and batches as the producers write them, with the truth of what was written |
//! | [`contents`] | the contents of a Redis, to compare what two runs have left |
//! | [`dice`] | random numbers from a seed |
//! | [`fuzz`] | a kept corpus, and the inputs that a seed makes of it |
//! | [`wait`] | waiting for a condition in a test |
//! | [`collector`] | the submissions that collectors write for a block |
//! | [`peers`] | senders of pictures of connected peers, with the truth of what they sent, and how they misbehave |
//! | [`campaigns`] | a small world of campaigns in PostgreSQL, with the truth of its rows |
//! | [`world`] | a chain with random events, and the submissions at its blocks |
//!
//! Only [`contents`], [`fuzz`], [`wait`] and [`world`] panic; everything else returns errors, since the demo uses it too.

#![warn(clippy::print_stdout, clippy::print_stderr)] // They panic when the pipe is closed.

pub mod anvil;
#[cfg(feature = "certificates")]
pub mod authority;
pub mod browser;
pub mod campaigns;
pub mod cluster;
pub mod collector;
pub mod contents;
pub mod dice;
pub mod fuzz;
pub mod generated_node;
mod hold;
mod local_port;
pub mod peers;
pub mod pgbouncer;
pub mod postgres;
mod process;
pub mod producers;
pub mod proxy;
pub mod redis_server;
pub mod relayer_server;
mod replication;
pub mod rpc_proxy;
pub mod sentinels;
pub mod sri_app;
pub mod tls;
#[cfg(feature = "certificates")]
pub mod tls_front;
pub mod wait;
pub mod world;

pub use anvil::{Anvil, AnvilError, Contracts, Emission};
#[cfg(feature = "certificates")]
pub use authority::Authority;
pub use browser::{Browser, BrowserError};
pub use cluster::{ClusterClient, RedisCluster};
pub use dice::Dice;
pub use generated_node::{GeneratedChain, GeneratedNode, NodeCounts, NodeLimits};
pub use pgbouncer::{PgBouncer, PoolMode};
pub use postgres::{Indexes, Postgres, PostgresBuilder, PostgresError, RoleRights, UserTables};
pub use producers::{
    EpochTruth, LiveHandle, LiveRate, MarketProducer, ProducerConfig, ProducerError, SharedTruth,
    StormReport, SubmissionStore, Truth, event_storm, run_live,
};
pub use proxy::{ConnectionCounts, FaultProxy, ProxyCounts, ProxyError};
pub use redis_server::{RedisServer, RedisServerBuilder, RedisServerError};
pub use relayer_server::{RelayerAnswer, RelayerCall, RelayerServer};
pub use rpc_proxy::{RpcFault, RpcProxy};
pub use sentinels::Sentinels;
pub use sri_app::{SriAnswer, SriApp, SriChannel, SriClient, SriMiner, SriState};
pub use tls::Tls;
#[cfg(feature = "certificates")]
pub use tls_front::TlsFront;
pub use wait::wait_until;
