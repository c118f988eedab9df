//! The tables of single markets, `[markets."0x…"]`: their keys, the check that each belongs to one of `tracker.markets`, and the
//! settings in effect for each market. Pure.

use std::collections::{BTreeMap, BTreeSet};

use figment::value::{Dict, Value};
use serde::Deserialize;
use strsim::damerau_levenshtein;

use super::checks;
use super::limits::refusals;
use super::loaded::{Shown, fingerprint};
use super::problem::Problem;
use super::schema::MARKETS;
use super::settings::{MARKET, MarketSettings, Priority, Tracker};
use super::suggest;
use super::value::{cut, toml_text};

/// With how many markets, and up to which length, a name is compared for a suggestion.
const MOST_COMPARED: usize = 100;
const LONGEST_COMPARED: usize = 100;

/// An argument names a market that is not in the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{asked} is no market of tracker.markets: those are {}", markets.join(", "))]
pub struct UnknownMarket {
    asked: String,
    markets: Vec<String>,
}

impl Tracker {
    /// The name in `tracker.markets` of the market that an argument names. The case of an address does not matter.
    ///
    /// # Errors
    /// A market that is not in the list.
    pub fn market(&self, asked: &str) -> Result<&String, UnknownMarket> {
        let unknown = || UnknownMarket { asked: asked.to_owned(), markets: self.markets.clone() };
        self.markets.iter().find(|market| checks::is_same_name(market, asked)).ok_or_else(unknown)
    }
}

/// The table of one market.
pub(crate) struct Table {
    /// As the file spells it.
    name: String,
    origin: String,
    /// By key, in the order of [`MARKET`].
    values: Vec<(&'static str, Value)>,
}

impl Table {
    fn get<T: for<'de> Deserialize<'de>>(&self, key: &str) -> Option<T> {
        let (_, value) = self.values.iter().find(|(name, _)| *name == key)?;
        value.deserialize().ok()
    }
}

/// Reads the tables under `[markets]` of a file.
pub(crate) fn read(section: Value, origin: &str, problems: &mut Vec<Problem>) -> Vec<Table> {
    let Value::Dict(_, entries) = section else {
        problems.push(not_a_table("markets", &section, origin));
        return Vec::new();
    };
    let mut tables = Vec::new();
    for (name, content) in entries {
        let path = cut(format!("{MARKETS}.{name:?}"));
        match content {
            Value::Dict(_, keys) => {
                let values = values(&path, keys, origin, problems);
                tables.push(Table { name, origin: origin.to_owned(), values });
            }
            value => problems.push(not_a_table(&path, &value, origin)),
        }
    }
    tables
}

fn not_a_table(path: &str, value: &Value, origin: &str) -> Problem {
    let (shown, keys) = (suggest::hidden_or_plain(path, None, value), keys().join(", "));
    Problem::general(format!(
        "{path}: {shown} (from {origin}) is not allowed: must be a table [{MARKETS}.\"0x…\"] for each market, with the \
         keys {keys}"
    ))
}

fn keys() -> Vec<&'static str> {
    MARKET.iter().map(|setting| setting.key).collect()
}

/// The valid values of one table. TOML writes `priority.protocol` also as a table `priority`.
fn values(path: &str, keys: Dict, origin: &str, problems: &mut Vec<Problem>) -> Vec<(&'static str, Value)> {
    let mut flat = Vec::new();
    for (key, value) in keys {
        match value {
            // TOML reads `priority.protocol = …` as a nested table.
            Value::Dict(_, inner) if key == "priority" => {
                flat.extend(inner.into_iter().map(|(name, value)| (format!("{key}.{name}"), value)));
            }
            value => flat.push((key, value)),
        }
    }
    let mut values = Vec::new();
    for (key, value) in flat {
        let Some(setting) = MARKET.iter().find(|setting| setting.key == key) else {
            problems.push(suggest::unknown_market_key(path, &key, &value, origin));
            continue;
        };
        let refusals = refusals(setting, &value);
        if refusals.is_empty() {
            values.push((setting.key, value));
        }
        problems.extend(refusals.into_iter().map(|(shown, allowed)| {
            Problem::general(format!("{path}.{key}: {shown} (from {origin}) is not allowed: {allowed}"))
        }));
    }
    values
}

/// Problems of tables that belong to no market of the list, or to one that has a table already.
pub(crate) fn misfits(tables: &[Table], markets: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let known: BTreeSet<_> = markets.iter().map(|market| checks::one_spelling(market)).collect();
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    for Table { name, origin, .. } in tables {
        let spelled = checks::one_spelling(name);
        if !known.contains(&spelled) {
            // The nearest one at any distance: addresses can be compared by eye.
            let compared = markets.iter().take(MOST_COMPARED).filter(|_| name.len() <= LONGEST_COMPARED);
            let nearest = compared.min_by_key(|market| damerau_levenshtein(market, name));
            let name = cut(name.clone());
            let nearest = nearest.map(|market| format!("; the nearest of them is {market:?}"));
            problems.push(Problem::general(format!(
                "[{MARKETS}.{name:?}] (from {origin}) is not allowed: must be a market of tracker.markets{}",
                nearest.unwrap_or_default()
            )));
        }
        // TOML refuses the same table twice, but takes two spellings of an address for two tables.
        if let Some(twin) = seen.insert(spelled, name) {
            problems.push(Problem::general(format!(
                "[{MARKETS}.{name:?}] (from {origin}) is not allowed: must be the only table of its market, and \
                 [{MARKETS}.{:?}] is the same (upper and lower case of an address are the same)",
                twin
            )));
        }
    }
    problems
}

/// The settings in effect for each market: the keys of its table, else those of `[tracker]`.
pub(crate) fn resolve(tracker: &Tracker, tables: &[Table]) -> BTreeMap<String, MarketSettings> {
    let by_name: BTreeMap<_, &Table> =
        tables.iter().map(|table| (checks::one_spelling(&table.name), table)).collect();
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let resolved = |market: &String| {
        let table = by_name.get(&checks::one_spelling(market));
        let text = |key: &str| table.and_then(|table| table.get::<String>(key));
        let protocol = text("priority.protocol").or_else(|| given(&tracker.priority_protocol));
        let second = text("priority.market").or_else(|| given(&tracker.priority_market));
        // The second namespace differs in at least one half; a half that is not set is the market's own.
        let priority = (protocol.is_some() || second.is_some()).then(|| Priority {
            protocol: protocol.unwrap_or_else(|| tracker.protocol.clone()),
            market: second.unwrap_or_else(|| market.clone()),
        });
        // A table that does not set `compat` has the value of all markets.
        let compat = table.and_then(|table| table.get("compat")).unwrap_or(tracker.compat);
        (market.clone(), MarketSettings { compat, priority })
    };
    tracker.markets.iter().map(resolved).collect()
}

/// The values of the tables, as `check` shows them.
pub(crate) fn shown(tables: &[Table]) -> Vec<Shown> {
    let mut all = Vec::new();
    for Table { name, origin, values } in tables {
        for (key, value) in values {
            let json = serde_json::to_value(value).unwrap_or_default();
            let key = format!("{MARKETS}.{name:?}.{key}");
            let fingerprint = fingerprint(value);
            all.push(Shown { key, text: toml_text(value), json, origin: origin.clone(), fingerprint });
        }
    }
    all
}
