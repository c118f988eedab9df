//! What is tracked, and how: `[tracker]`, `[intervals]`, `[ledger]`, `[retention]`, `[index]`, and the tables of markets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `[tracker]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tracker {
    /// The protocol-state contract, as configured.
    pub protocol: String,
    /// The data markets, as configured: at least one, none twice.
    pub markets: Vec<String>,
    /// This validator's id.
    pub sequencer_id: String,
    /// What datasets are computed from, in markets whose table does not say.
    pub compat: Compat,
    /// The protocol-state contract of the second namespace, in markets whose table names none; empty for none.
    pub priority_protocol: String,
    /// The data market of the second namespace, where the market's table names none; empty for none.
    pub priority_market: String,
}

/// `[intervals]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// Between two summaries, and two participations.
    #[serde(with = "humantime_serde")]
    pub summary: Duration,
    /// Between two writings of the statistics of the hours.
    #[serde(with = "humantime_serde")]
    pub hourly: Duration,
    /// Between two writings of the statistics of the day.
    #[serde(with = "humantime_serde")]
    pub daily: Duration,
    /// Between two rounds of the pruner.
    #[serde(with = "humantime_serde")]
    pub prune: Duration,
    /// Between two computations of the current epoch that no event caused.
    #[serde(with = "humantime_serde")]
    pub current_epoch: Duration,
    /// The least time between two computations of the current epoch that events ask for.
    #[serde(with = "humantime_serde")]
    pub wake_debounce: Duration,
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// After its window closed, an epoch without both batches is sealed this much later.
    #[serde(with = "humantime_serde")]
    pub seal_after: Duration,
    /// The window over which the rates are measured.
    #[serde(with = "humantime_serde")]
    pub measurement_window: Duration,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Of the producers' timelines.
    #[serde(with = "humantime_serde")]
    pub timelines: Duration,
    /// Of the timelines of priorities.
    #[serde(with = "humantime_serde")]
    pub priorities: Duration,
    /// Of the ledger's sealed entries.
    #[serde(with = "humantime_serde")]
    pub ledger: Duration,
    /// Of the state index.
    #[serde(with = "humantime_serde")]
    pub index: Duration,
}

/// `[index]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Whether it is kept at all.
    pub enabled: bool,
    /// Whether there is one for each market, under its name.
    pub namespaced: bool,
}

/// What the datasets of a market are computed from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// The epoch ledger: totals of what producers wrote, through restarts.
    #[default]
    Ledger,
    /// What the original in Go looked at, faults included.
    Go,
}

/// What is in effect for one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarketSettings {
    /// What its datasets are computed from.
    pub compat: Compat,
    /// The second namespace, under which newer producers write priorities and what became of them.
    pub priority: Option<Priority>,
}

/// A second namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priority {
    /// The protocol-state contract, as configured.
    pub protocol: String,
    /// The data market, as configured.
    pub market: String,
}
