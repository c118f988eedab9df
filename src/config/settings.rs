//! The typed and checked settings, as the rest of the program uses them. Each file below holds the tables of some sections; a new
//! setting is a row there.

mod alerts;
mod api;
mod campaigns;
mod collector;
mod http;
mod log;
mod migration;
mod output;
mod peers;
mod redis;
mod relayer;
mod rewards;
mod supervision;
mod tracker;

use std::collections::BTreeMap;

use serde::Deserialize;
use store_tracker::Output;

use super::setting::{Section, Table};

pub use alerts::{Alerts, BadWebhook};
pub use api::Api;
pub use campaigns::{Campaigns, TokenKeys};
pub use collector::Collector;
pub use http::{Http, OperatorFiles};
pub use log::{Log, LogFormat};
pub use migration::MarketMigration;
pub use peers::{PeerFiles, Peers};
pub use redis::Redis;
pub use relayer::{BadRelayer, Relayer};
pub use rewards::Rewards;
pub use supervision::{Mailbox, Supervision};
pub(crate) use tracker::MARKET;
pub use tracker::{Compat, Index, Intervals, Ledger, MarketSettings, Priority, Retention, Tracker};

/// Joins the tables of all sections: the fields of [`Config`], and [`SECTIONS`] in the same order.
macro_rules! sections {
    ($($name:ident: $Type:ty,)+) => {
        /// The whole configuration.
        #[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Config {
            $(#[doc = concat!("`[", stringify!($name), "]`")] pub $name: $Type,)+
            /// The settings in effect for each market, by its name in `tracker.markets`.
            // Not deserialised: it is computed from [tracker] and the tables of markets.
            #[serde(skip)]
            pub markets: BTreeMap<String, MarketSettings>,
        }

        /// Every section, in the order of help and reference.
        pub(crate) static SECTIONS: &[Section] = &[$(<$Type as Table>::SECTION),+];
    };
}

sections! {
    redis: Redis,
    tracker: Tracker,
    output: Output,
    intervals: Intervals,
    ledger: Ledger,
    retention: Retention,
    index: Index,
    collector: Collector,
    relayer: Relayer,
    rewards: Rewards,
    migration: MarketMigration,
    alerts: Alerts,
    api: Api,
    peers: Peers,
    campaigns: Campaigns,
    supervision: Supervision,
    mailbox: Mailbox,
    http: Http,
    log: Log,
}

impl Config {
    /// Whether the relayer is told something: a shadow leaves that to the program beside it.
    pub fn relays(&self) -> bool {
        self.collector.is_enabled() && self.relayer.is_enabled() && self.output.prefix.is_empty()
    }

    /// Whether markets are migrated at the start. A shadow migrates none: the counters of finalizers have no prefix.
    pub fn migrates(&self) -> bool {
        self.migration.at_start && self.output.prefix.is_empty()
    }

    /// The settings in effect for a market, by its name in `tracker.markets`. An unknown market has the defaults.
    pub fn market(&self, name: &str) -> MarketSettings {
        self.markets.get(name).cloned().unwrap_or_default()
    }
}
