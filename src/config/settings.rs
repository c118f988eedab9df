//! The settings as the rest of the program sees them: typed, checked, without a trace of where they
//! came from. Defaults, units and limits of each stand in `config/default.toml`.

mod collector;
mod redis;
mod supervision;
mod tracker;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use store_tracker::Output;

pub use collector::Chain;
pub use redis::Redis;
pub use supervision::{Mailbox, Supervision};
pub use tracker::{Compat, Index, Intervals, Ledger, MarketSettings, Priority, Retention, Tracker};

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Redis server that is read from and written to.
    pub redis: Redis,
    /// What is tracked.
    pub tracker: Tracker,
    /// Where outputs are written, and how addresses are spelled there.
    pub output: Output,
    /// What is in effect for each market, by its name in `tracker.markets`.
    #[serde(skip)]
    pub markets: BTreeMap<String, MarketSettings>,
    /// How often what is computed.
    pub intervals: Intervals,
    /// The epoch ledger.
    pub ledger: Ledger,
    /// `[retention]`
    pub retention: Retention,
    /// The state index.
    pub index: Index,
    /// Which chain is followed, and how.
    pub chain: Chain,
    /// When actors are restarted, and when the process gives up.
    pub supervision: Supervision,
    /// The bounds of each mailbox.
    pub mailbox: Mailbox,
    /// Where the endpoints listen.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// What is in effect for a market, by its name in `tracker.markets`; another one has the defaults.
    pub fn market(&self, name: &str) -> MarketSettings {
        self.markets.get(name).cloned().unwrap_or_default()
    }
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub host: IpAddr,
    /// Their port; 0 for any free one.
    pub metrics_port: u16,
    /// Where the operator's endpoints listen.
    pub operator_address: SocketAddr,
}

impl Http {
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.metrics_port)
    }

    /// The address of `path` for a client on the same machine: all interfaces means the local one.
    pub fn local_url(&self, path: &str) -> String {
        let host = match self.host {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}{path}", SocketAddr::new(host, self.metrics_port))
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A directive that `tracing_subscriber::EnvFilter` accepts.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
