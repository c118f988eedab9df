//! The epoch ledger in Redis: what is written of it, and how.

use domain::{Entry, EpochId, MeasurementWindow, Sums, Totals};
use redis::{Cmd, Pipeline, Script};

use crate::keys::MarketKeys;

/// The version of the ledger's layout.
pub const SCHEMA: u32 = 1;

/// How many entries one run of the script takes, so that it never blocks Redis for long.
const ENTRIES_A_RUN: usize = 500;

/// The script that stores and seals.
pub(crate) const SOURCE: &str = include_str!("ledger.lua");

/// What the ledger says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerMark {
    /// When it was made, in Unix seconds; `None` where there is no ledger yet.
    pub born: Option<f64>,
    /// Its layout, when it is another than [`SCHEMA`].
    pub foreign_schema: Option<String>,
    /// How many members `epochs:active` had at the last pass that knew them all.
    pub active_known: Option<u64>,
    /// The measurement window.
    pub window: Option<MeasurementWindow>,
}

impl LedgerMark {
    pub(crate) fn from_fields(fields: Vec<(String, String)>) -> Self {
        let mut mark = Self::default();
        let mut window = [None; 4];
        for (name, value) in fields {
            match name.as_str() {
                "born" => mark.born = value.parse().ok(),
                "schema" => mark.foreign_schema = (value != SCHEMA.to_string()).then_some(value),
                "active_known" => mark.active_known = value.parse().ok(),
                "window" => {
                    for (slot, part) in window.iter_mut().zip(value.split(',')) {
                        *slot = part.parse::<f64>().ok();
                    }
                }
                _ => {}
            }
        }
        if let [Some(began), Some(submissions), Some(epochs), Some(batches)] = window {
            let count = |count: f64| count as u64;
            let (submissions, epochs, batches) = (count(submissions), count(epochs), count(batches));
            mark.window = Some(MeasurementWindow { began, submissions, epochs, batches });
        }
        mark
    }
}

/// Adds to `pipeline` what stores and seals the entries of `totals` and then, where it is known, notes the number of
/// members of `epochs:active` that are accounted for by them; returns how many commands that were.
pub(crate) fn write(
    pipeline: &mut Pipeline,
    keys: &MarketKeys,
    totals: &Totals,
    as_read: impl Fn(&EpochId) -> String,
    now: f64,
    active_known: Option<u64>,
) -> usize {
    enum Step<'a> {
        Store(&'a EpochId, &'a Entry),
        Seal(&'a EpochId, &'a Entry),
    }
    let stores = totals.changed.iter().map(|(epoch, entry)| Step::Store(epoch, entry));
    let seals = totals.finished.iter().map(|(epoch, entry)| Step::Seal(epoch, entry));
    let steps: Vec<Step<'_>> = stores.chain(seals).collect();
    let hash = Script::new(SOURCE).get_hash().to_owned();
    // An empty run still makes the ledger, so that its birth is on record.
    let runs: Vec<&[Step<'_>]> =
        if steps.is_empty() { vec![&[]] } else { steps.chunks(ENTRIES_A_RUN).collect() };
    for (at, run) in runs.iter().enumerate() {
        let mut command = Cmd::new();
        command.arg("EVALSHA").arg(&hash).arg(5);
        command.arg(keys.open()).arg(keys.sealed()).arg(keys.sums()).arg(keys.hours()).arg(keys.meta());
        let stores = run.iter().filter(|step| matches!(step, Step::Store(..))).count();
        let known = active_known.filter(|_| at + 1 == runs.len());
        command
            .arg(SCHEMA)
            .arg(now)
            .arg(known.map_or_else(String::new, |known| known.to_string()))
            .arg(stores);
        for step in *run {
            match step {
                Step::Store(epoch, entry) => {
                    command.arg(epoch.as_str()).arg(as_read(epoch)).arg(entry.encode());
                }
                Step::Seal(epoch, entry) => {
                    let hour = entry.hour().map_or_else(String::new, |hour| hour.to_string());
                    command.arg(epoch.as_str()).arg(as_read(epoch)).arg(entry.encode()).arg(hour);
                    for (_, value) in entry.sums().fields() {
                        command.arg(value);
                    }
                }
            }
        }
        pipeline.add_command(command);
    }
    runs.len()
}

/// The stored form of a measurement window.
pub(crate) fn encode_window(window: &MeasurementWindow) -> String {
    let MeasurementWindow { began, submissions, epochs, batches } = window;
    format!("{began},{submissions},{epochs},{batches}")
}

/// Reads the hash of sums.
pub(crate) fn sums(fields: &[(String, u64)]) -> Sums {
    Sums::from_fields(fields.iter().map(|(name, value)| (name.as_str(), *value)))
}
