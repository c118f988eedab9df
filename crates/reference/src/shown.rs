//! What readers see: every dataset as it is read from Redis.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Everything that readers see at one moment.
#[derive(Clone, Debug, Default)]
pub struct Shown {
    /// `dashboard:summary`; null when missing, as the others.
    pub summary: Value,
    /// `stats:current`
    pub stats: BTreeMap<String, String>,
    /// `metrics:participation`
    pub participation: Value,
    /// `metrics:current_epoch`
    pub current: Value,
    /// `stats:hourly:T`, by T.
    pub hours: BTreeMap<i64, Value>,
    /// `stats:daily`
    pub day: Value,
    /// `epochs:gaps`
    pub gaps: BTreeSet<String>,
    /// The field `submissions_count` of the states that exist, by epoch.
    pub counts: BTreeMap<u64, Option<String>>,
    /// The TTLs of all datasets that exist, by their names behind `P:M:`, in seconds; of `vpa:stats` too.
    pub ttls: BTreeMap<String, i64>,
}
