//! Real surroundings for tests, load runs and the demo: own Redis servers, an own EVM node, a TCP proxy that counts and
//! breaks connections, and producers that write what the real ones write.
//!
//! This crate may start processes, open local sockets and write into the Redis it is pointed at. It knows
//! the product's inputs only as literal key strings: it shares no code with the crates under test, since
//! agreeing with oneself proves nothing.
//!
//! | module | what for |
//! |---|---|
//! | [`redis_server`] | a `redis-server` of one's own: start, kill, pause, restart on the same data |
//! | [`tls`] | the certificates of such a server; with the feature `certificates` also an authority that signs them |
//! | `tls_front` | TLS in front of a server that talks none (feature `certificates`) |
//! | [`sentinels`] | a master with its replica under three sentinels, and its death |
//! | [`cluster`] | a Redis Cluster whose slots move while clients work |
//! | [`proxy`] | a TCP proxy in front of a server: counts round trips, cuts, refuses, delays, holds back, goes silent |
//! | [`anvil`] | an EVM node that mines and reorganises when told to, with our contract on it |
//! | [`rpc_proxy`] | a JSON-RPC proxy in front of it, whose answers fail, lag, lie and are held back |
//! | [`producers`] | epochs, submissions and batches as the producers write them, with the truth of what was written |
//! | [`contents`] | what stands in a Redis, to compare what two runs have left |
//! | [`dice`] | chance that follows from a seed |
//! | [`wait`] | waiting for a condition in a test |
//! | [`collector`] | what collectors write for a block |
//! | [`world`] | a chain with random events, and what collectors write for its blocks |
//!
//! Only [`contents`], [`wait`] and [`world`] panic; everything else reports errors, since the product's demo uses it too.

pub mod anvil;
#[cfg(feature = "certificates")]
pub mod authority;
pub mod cluster;
pub mod collector;
pub mod contents;
pub mod dice;
mod hold;
mod local_port;
mod process;
pub mod producers;
pub mod proxy;
pub mod redis_server;
mod replication;
pub mod rpc_proxy;
pub mod sentinels;
pub mod tls;
#[cfg(feature = "certificates")]
pub mod tls_front;
pub mod wait;
pub mod world;

pub use anvil::{Anvil, AnvilError, Contracts, Emission};
#[cfg(feature = "certificates")]
pub use authority::Authority;
pub use cluster::{ClusterClient, RedisCluster};
pub use dice::Dice;
pub use producers::{
    EpochTruth, LiveHandle, LiveRate, MarketProducer, ProducerConfig, ProducerError, SharedTruth,
    StormReport, SubmissionStore, Truth, event_storm, run_live,
};
pub use proxy::{ConnectionCounts, FaultProxy, ProxyCounts, ProxyError};
pub use redis_server::{RedisServer, RedisServerBuilder, RedisServerError};
pub use rpc_proxy::{RpcFault, RpcProxy};
pub use sentinels::Sentinels;
pub use tls::Tls;
#[cfg(feature = "certificates")]
pub use tls_front::TlsFront;
pub use wait::wait_until;
