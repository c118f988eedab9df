//! The untagged forms of deployed senders: statuses of proxy and pool, heartbeat, metrics.

use serde::Serialize;

use crate::{
    shape::{choice, shape},
    wire::write_rate,
};

/// The status of a proxy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProxyStatus {
    /// The balance of its wallet, in the smallest unit.
    pub ehash_balance: u64,
    /// The pool that it is connected to.
    pub upstream_pool: Option<UpstreamPool>,
    /// All miners that are connected.
    pub downstream_miners: Vec<ProxyMiner>,
    /// The name of the chain.
    pub blockchain_network: String,
    /// When the picture was taken, in Unix seconds of the sender.
    pub timestamp: u64,
}

shape! {
    /// The pool of a proxy.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    pub struct UpstreamPool {
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
    }
}

shape! {
    /// A miner of a proxy.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct ProxyMiner {
        /// The name that it chose.
        pub name: String,
        /// Its number in the proxy.
        pub id: u32,
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
        /// Its declared rate, in H/s.
        #[serde(serialize_with = "write_rate")]
        pub hashrate: f64,
        /// Its shares since it connected.
        pub shares_submitted: u64,
        /// When it connected, in Unix seconds.
        pub connected_at: i64,
    }
}

/// The status of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PoolStatus {
    /// The services of the pool.
    pub services: Vec<Service>,
    /// All proxies that are connected.
    pub downstream_proxies: Vec<PoolProxy>,
    /// Where it listens.
    pub listen_address: String,
    /// When the picture was taken, in Unix seconds of the sender.
    pub timestamp: u64,
}

shape! {
    /// A service of a pool.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    pub struct Service {
        /// What it is.
        pub service_type: ServiceType,
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
    }
}

choice! {
    /// A service of a pool.
    pub enum ServiceType, "Pool, Mint or JobDeclarator" {
        /// The pool itself.
        Pool = "Pool",
        /// A mint.
        Mint = "Mint",
        /// A job declarator.
        JobDeclarator = "JobDeclarator" | "Job Declarator",
    }
}

shape! {
    /// A proxy that is connected to a pool.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize)]
    pub struct PoolProxy {
        /// Its number in the pool.
        pub id: u32,
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
        /// The numbers of its channels.
        pub channels: Vec<u32>,
        /// Its shares since it connected.
        pub shares_submitted: u64,
        /// Quotes created for it.
        pub quotes_created: u64,
        /// What was issued to it.
        pub ehash_mined: u64,
        /// When its last share came, in Unix seconds.
        pub last_share_at: Option<u64>,
        /// Whether it selects the work itself.
        pub work_selection: bool,
    }
}

/// The sign of life of a job declarator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// Where it listens.
    pub listen_address: String,
    /// When it was sent, in Unix seconds of the sender.
    pub timestamp: u64,
}

/// What a proxy or a pool measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// The kind of the sender.
    pub service_type: MeteredService,
    /// One entry a peer. An id may occur more than once.
    pub downstreams: Vec<DownstreamMetrics>,
    /// When the picture was taken, in Unix seconds of the sender.
    pub timestamp: u64,
}

choice! {
    /// A sender of metrics.
    pub enum MeteredService, "Translator or Pool" {
        /// A translator proxy; its peers are miners.
        Translator = "Translator",
        /// A pool; its peers are proxies.
        Pool = "Pool",
    }
}

shape! {
    /// What was measured of one peer, over a window that ends at its timestamp.
    ///
    /// Its rate in H/s is `sum_difficulty_in_window` × 2^32 / `window_seconds`. Windows of successive messages overlap.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct DownstreamMetrics {
        /// Its number in the sender.
        pub downstream_id: u32,
        /// Its name.
        pub name: String,
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
        /// Its shares since it connected.
        pub shares_lifetime: u64,
        /// Its shares in the window.
        pub shares_in_window: u64,
        /// The sum of their difficulties.
        #[serde(serialize_with = "write_rate")]
        pub sum_difficulty_in_window: f64,
        /// The length of the window, in seconds.
        pub window_seconds: u64,
        /// The end of the window, in Unix seconds of the sender.
        pub timestamp: u64,
    }
}

impl DownstreamMetrics {
    /// Its rate over the window, in H/s; `None` for a window without length.
    #[must_use]
    pub fn hashrate(&self) -> Option<f64> {
        /// The expected number of hashes for a difficulty of 1.
        const HASHES: f64 = 4_294_967_296.0;
        (self.window_seconds > 0).then(|| self.sum_difficulty_in_window * HASHES / self.window_seconds as f64)
    }
}
