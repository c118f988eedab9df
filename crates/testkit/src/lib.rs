//! Real surroundings for tests, load runs and the demo: own Redis servers, a TCP proxy that counts and
//! breaks connections, and producers that write what the real ones write.
//!
//! This crate may start processes, open local sockets and write into the Redis it is pointed at. It knows
//! the product's inputs only as literal key strings: it shares no code with the crates under test, since
//! agreeing with oneself proves nothing.
//!
//! | module | what for |
//! |---|---|
//! | [`redis_server`] | a `redis-server` of one's own: start, kill, pause, restart on the same data |
//! | [`proxy`] | a TCP proxy in front of a server: counts round trips, cuts, refuses, delays, goes silent |
//! | [`producers`] | epochs, submissions and batches as the producers write them, with the truth of what was written |
//! | [`wait`] | waiting for a condition in a test |
//!
//! Only [`wait`] panics; everything else reports errors, since the product's demo uses it too.

mod local_port;
mod process;
pub mod producers;
pub mod proxy;
pub mod redis_server;
pub mod wait;

pub use producers::{
    EpochTruth, LiveHandle, LiveRate, MarketProducer, ProducerConfig, ProducerError, SharedTruth,
    StormReport, SubmissionStore, Truth, event_storm, run_live,
};
pub use proxy::{ConnectionCounts, FaultProxy, ProxyCounts, ProxyError};
pub use redis_server::{RedisServer, RedisServerBuilder, RedisServerError};
pub use wait::wait_until;
