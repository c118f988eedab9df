//! The settings as the rest of the program sees them: typed, checked, without a trace of where they came from. Each file below
//! holds the table of some sections; a new setting is a row there.

mod collector;
mod http;
mod log;
mod output;
mod redis;
mod supervision;
mod tracker;

use std::collections::BTreeMap;

use serde::Deserialize;
use store_tracker::Output;

use super::setting::{Section, Table};

pub use collector::Collector;
pub use http::Http;
pub use log::{Log, LogFormat};
pub use redis::Redis;
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
            /// What is in effect for each market, by its name in `tracker.markets`.
            #[serde(skip)]
            pub markets: BTreeMap<String, MarketSettings>,
        }

        /// Every section, in the order in which people read them.
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
    supervision: Supervision,
    mailbox: Mailbox,
    http: Http,
    log: Log,
}

impl Config {
    /// What is in effect for a market, by its name in `tracker.markets`; another one has the defaults.
    pub fn market(&self, name: &str) -> MarketSettings {
        self.markets.get(name).cloned().unwrap_or_default()
    }
}
