//! What readers of the service see of its peers. The shapes are spelled out here, so that a changed answer is found.

use std::{collections::BTreeMap, ops::Range};

use serde::Deserialize;

/// A miner of `/api/miners`. Another field, such as an address, makes the answer unreadable.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::demo) struct SeenMiner {
    pub(in crate::demo) source: String,
    pub(in crate::demo) id: u32,
    pub(in crate::demo) name: String,
    /// What it declares, in H/s.
    pub(in crate::demo) hashrate: f64,
    /// What was measured, in H/s.
    pub(in crate::demo) measured_hashrate: Option<f64>,
    pub(in crate::demo) shares_submitted: u64,
    pub(in crate::demo) connected_at: u64,
}

/// A connection of `/api/connections`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::demo) struct SeenConnection {
    pub(in crate::demo) source: String,
    pub(in crate::demo) id: u32,
    pub(in crate::demo) channels: Vec<u32>,
    pub(in crate::demo) shares_submitted: u64,
    pub(in crate::demo) quotes_created: u64,
    pub(in crate::demo) ehash_mined: u64,
    pub(in crate::demo) last_share_at: Option<u64>,
    pub(in crate::demo) work_selection: bool,
}

/// What is shown now.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::demo) struct Seen {
    pub(in crate::demo) miners: Vec<SeenMiner>,
    pub(in crate::demo) connections: Vec<SeenConnection>,
    /// The types of all services, with their sources.
    pub(in crate::demo) services: Vec<(String, String)>,
    /// The sources that are stale.
    pub(in crate::demo) stale: Vec<String>,
    /// The paths whose answers tell of a ghost.
    pub(in crate::demo) haunted: Vec<String>,
}

/// The rates that the history has, in H/s, each with its range of Unix seconds. Gaps are left out.
pub(in crate::demo) type Rates = Vec<(Range<u64>, f64)>;

/// What is kept and counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::demo) struct Kept {
    /// The measured rates of each source.
    pub(in crate::demo) rates: BTreeMap<String, Rates>,
    /// The measured rates of all sources together.
    pub(in crate::demo) total: Rates,
    /// How many seconds of each source the file has.
    pub(in crate::demo) seconds: BTreeMap<String, f64>,
    /// How many lines were dropped, by reasons.
    pub(in crate::demo) dropped: BTreeMap<String, u64>,
    /// How many pictures were taken although they seemed to be older.
    pub(in crate::demo) clocks: u64,
    /// The amounts of all quotes.
    pub(in crate::demo) quotes: Vec<u64>,
    /// The balance of the pool.
    pub(in crate::demo) balance: Option<u64>,
    /// How often the actor of the history and those of connections were restarted.
    pub(in crate::demo) restarts: [u64; 2],
}
