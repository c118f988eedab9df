//! Turns the faults of keys into findings, one for all keys of a family and market with the same fault. Pure.

use std::collections::BTreeMap;

use store_redis::{Family, KeyType};
use store_tracker::MarketKeys;

use super::finding::Finding;
use crate::remedy::keys;

/// The longest name of a key that a finding shows.
const LONGEST_NAME: usize = 500;

/// A fault of a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// Its type is not that of its family.
    WrongType,
    /// It must expire and has no TTL.
    NoTtl,
    /// It must not expire and has a TTL.
    Ttl,
    /// Its name is a spelling of a configured market that the tracker does not read.
    Spelling,
    /// Its name contains a JSON array in place of a market.
    Brackets,
}

/// Keys of one family and market with the same fault.
struct Group {
    keys: u64,
    example: String,
    kind: KeyType,
    /// The family of the example.
    family: &'static Family,
}

/// All faults so far.
#[derive(Default)]
pub(super) struct Faults(BTreeMap<(Option<usize>, Fault, &'static str), Group>);

impl Faults {
    /// Adds a fault of a key. Without a market it is a key of the collector. All misspelt names of a market form one group,
    /// since one program with one mistake writes them all.
    pub(super) fn add(
        &mut self,
        market: Option<usize>,
        fault: Fault,
        family: &'static Family,
        name: &str,
        kind: KeyType,
    ) {
        let group = || Group { keys: 0, example: name.chars().take(LONGEST_NAME).collect(), kind, family };
        // The order of the variants matters: faults of the name come last.
        let of = if fault >= Fault::Spelling { "" } else { family.name };
        self.0.entry((market, fault, of)).or_insert_with(group).keys += 1;
    }

    /// Whether keys of this market have a name that the tracker does not read.
    pub(super) fn is_misspelt(&self, market: usize) -> bool {
        self.0.keys().any(|(of, fault, _)| *of == Some(market) && *fault >= Fault::Spelling)
    }

    /// One finding for each group. `is_empty` says whether the tracker finds no epoch in a market.
    pub(super) fn findings(&self, markets: &[MarketKeys], is_empty: &impl Fn(usize) -> bool) -> Vec<Finding> {
        let finding = |(&(market, fault, _), group): (&(Option<usize>, Fault, &str), &Group)| {
            let keys = market.and_then(|market| markets.get(market));
            finding(keys, fault, group, market.is_some_and(is_empty))
        };
        self.0.iter().map(finding).collect()
    }
}

fn finding(market: Option<&MarketKeys>, fault: Fault, group: &Group, is_empty: bool) -> Finding {
    let (key, kind, family) = (group.example.clone(), group.kind.as_str(), group.family);
    let more = match group.keys {
        1 => String::new(),
        keys => format!(" (one of {keys} keys)"),
    };
    match fault {
        Fault::WrongType => {
            let (right, remedy) = (family.kind.as_str(), keys::wrong_type(family, market.is_none()));
            Finding::error("wrong_type", key, format!("it is a {kind}, and must be a {right}{more}"), remedy)
        }
        Fault::NoTtl => {
            let problem = format!("it has no TTL, and would never expire{more}");
            Finding::warning("no_ttl", key, problem, keys::no_ttl(family))
        }
        Fault::Ttl => {
            let problem = format!("it has a TTL, and data of the tracker is lost when it expires{more}");
            let remedy = "PERSIST it, and find out which program set the TTL";
            Finding::error("ledger_ttl", key, problem, remedy)
        }
        Fault::Spelling => {
            let problem = format!(
                "it is a key of a configured market in a spelling that the tracker does not read{more}"
            );
            let read = market.map_or_else(String::new, |market| market.spaces().join(", "));
            let remedy =
                format!("spell tracker.protocol and tracker.markets like this key; the tracker reads {read}");
            // If the market is empty, its epochs are under this spelling: datasets are missing, not only a few keys.
            let make = if is_empty { Finding::error } else { Finding::warning };
            make("spelling", key, problem, remedy)
        }
        Fault::Brackets => {
            let problem =
                format!("its market has brackets{more}: a program read a JSON array as one address");
            let remedy =
                "set DATA_MARKET_ADDRESSES of that program to a comma list, which the Monitor API needs too";
            Finding::warning("brackets", key, problem, remedy)
        }
    }
}
