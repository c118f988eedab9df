//! The epoch ledger in Redis: what is written of it, and how.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use domain::{
    EpochId,
    tracker::{EarlyCounts, Entry, EpochFacts, HourSums, MeasurementWindow, Sealed, Sums, Totals},
};

use crate::keys::{HOURS_KEPT, MarketKeys};
use redis::Cmd;
use store_redis::{Batch, Lua};

/// The version of the ledger's layout.
pub const SCHEMA: u32 = 2;

/// The earlier version that can be upgraded.
pub(crate) const UPGRADABLE: &str = "1";

/// How many entries one run of the script takes, so that it never blocks Redis for long.
const ENTRIES_A_RUN: usize = 500;

/// The script that stores and seals.
pub(crate) static SCRIPT: LazyLock<Lua> =
    LazyLock::new(|| Lua::new(concat!(include_str!("ledger_common.lua"), include_str!("ledger.lua"))));

/// The fields of the ledger's `meta`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerMark {
    /// When the ledger was created, in Unix seconds; `None`: there is none yet.
    pub born: Option<f64>,
    /// Its version, if it is not [`SCHEMA`].
    pub foreign_schema: Option<String>,
    /// How many entries the timelines had at the last pass, if it found all epochs.
    pub early: Option<EarlyCounts>,
    /// How many members `epochs:active` had at the last pass, if it knew all of them.
    pub active_known: Option<u64>,
    /// The texts of `early`, `active_known` and `born` as they were read; empty if missing.
    pub(crate) read: [String; 3],
    /// The measurement window.
    pub window: Option<MeasurementWindow>,
    /// Other forms of the newest ids, as text.
    pub(crate) forms: String,
    /// When the last pass began that wrote all its datasets, in Unix seconds.
    pub passed: Option<f64>,
    /// The highest epoch that has been forgotten after it was sealed: ids up to it need no entry.
    pub floor: Option<EpochId>,
}

impl LedgerMark {
    pub(crate) fn from_fields(fields: Vec<(String, String)>) -> Self {
        let mut mark = Self::default();
        let mut window = [None; 4];
        for (name, value) in fields {
            match name.as_str() {
                "born" => {
                    mark.born = value.parse().ok();
                    mark.read[2] = value;
                }
                "schema" => mark.foreign_schema = (value != SCHEMA.to_string()).then_some(value),
                "floor" => mark.floor = EpochId::parse(&value).ok(),
                "forms" => mark.forms = value,
                "passed" => mark.passed = value.parse().ok(),
                "early" => {
                    mark.early = EarlyCounts::parse(&value);
                    mark.read[0] = value;
                }
                "active_known" => {
                    mark.active_known = value.parse().ok();
                    mark.read[1] = value;
                }
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

/// A commit to the ledger: one or more runs of the script.
pub(crate) struct Run<'a> {
    pub(crate) keys: &'a MarketKeys,
    pub(crate) totals: &'a Totals,
    /// For the validators of the batches that are sealed.
    pub(crate) facts: &'a BTreeMap<EpochId, EpochFacts>,
    /// The unsealed entries as they were read, as text.
    pub(crate) stored: &'a BTreeMap<EpochId, String>,
    /// The sealed epochs as they were read.
    pub(crate) sealed: &'a BTreeMap<EpochId, Sealed>,
    pub(crate) now: f64,
    /// What the pass leaves for the next one.
    pub(crate) mark: NextMark<'a>,
}

/// The mark from which the next pass reads on. It is written only if every entry is: if another tracker changed one meanwhile, the
/// next pass has to read again what belongs to it.
#[derive(Clone, Copy)]
pub(crate) struct NextMark<'a> {
    /// The entries of the timelines that need not be read again; `None`: the next pass reads everything.
    pub(crate) early: Option<&'a EarlyCounts>,
    /// The members of `epochs:active` that are accounted for; `None`: the next pass reads them.
    pub(crate) active: Option<u64>,
    /// The mark that this pass has read, which it moves, and when the ledger was made that it has read.
    pub(crate) read: &'a [String; 3],
}

enum Step<'a> {
    Store(&'a EpochId, &'a Entry),
    Late(&'a EpochId, &'a Sealed),
    Seal(&'a EpochId, &'a Entry),
}

impl Run<'_> {
    /// Adds to `batch` what stores and seals the entries; returns how many commands that were.
    pub(crate) fn write(&self, batch: &mut Batch) -> usize {
        let totals = self.totals;
        let stores = totals.changed.iter().map(|(epoch, entry)| Step::Store(epoch, entry));
        let late = totals.late.iter().map(|(epoch, sealed)| Step::Late(epoch, sealed));
        let seals = totals.finished.iter().map(|(epoch, entry)| Step::Seal(epoch, entry));
        let steps: Vec<Step<'_>> = stores.chain(late).chain(seals).collect();
        // An empty run still makes the ledger, so that its birth is on record.
        let runs: Vec<&[Step<'_>]> =
            if steps.is_empty() { vec![&[]] } else { steps.chunks(ENTRIES_A_RUN).collect() };
        // Tells this commit from those of other trackers, whose runs may come in between.
        let commit = format!("{:016x}", RandomState::new().hash_one(self.now.to_bits()));
        for (at, steps) in runs.iter().enumerate() {
            self.command(batch, steps, &commit, [at == 0, at + 1 == runs.len()]);
        }
        runs.len()
    }

    /// Adds the epoch's hour, the number of validators in its aggregated batch, and these. They are written as soon as they are read,
    /// since their list may have expired when the epoch is sealed.
    fn validators(&self, command: &mut Cmd, epoch: &EpochId, entry: &Entry) {
        let facts = self.facts.get(epoch);
        let named = facts.and_then(|facts| facts.batch_validators.value()).map_or(&[][..], Vec::as_slice);
        command.arg(text(entry.hour_of_validators())).arg(named.len()).arg(named);
    }

    fn command(&self, batch: &mut Batch, steps: &[Step<'_>], commit: &str, [first, last]: [bool; 2]) {
        let (ledger, validators) = (self.keys.of_ledger(), self.keys.validators_prefix());
        let keys: Vec<&str> = ledger.iter().chain([&validators]).map(String::as_str).collect();
        let command = SCRIPT.run(batch, &keys);
        command.arg(SCHEMA).arg(self.now).arg(HOURS_KEPT);
        command.arg(commit).arg(u8::from(first)).arg(u8::from(last));
        command
            .arg(self.mark.early.map(EarlyCounts::to_string).unwrap_or_default())
            .arg(text(self.mark.active));
        command.arg(self.mark.read);
        // `max_by_key` returns the last of equal ones, and ids ascend. An id without a time may be a producer's mistake: it is used only if
        // no other is sealed.
        let seals = steps.iter().filter_map(|step| match step {
            Step::Seal(epoch, entry) => Some((entry.last_time().is_some(), epoch, entry)),
            _ => None,
        });
        match seals.max_by_key(|(is_timed, ..)| *is_timed) {
            Some((is_timed, epoch, entry)) => {
                command.arg(epoch.as_str()).arg(entry.encode()).arg(u8::from(is_timed))
            }
            None => command.arg("").arg("").arg(""),
        };
        let stored = |epoch: &EpochId| self.stored.get(epoch).map_or("", String::as_str);
        command.arg(steps.iter().filter(|step| matches!(step, Step::Store(..))).count());
        for step in steps {
            if let Step::Store(epoch, entry) = step {
                command.arg(epoch.as_str()).arg(stored(epoch)).arg(entry.encode());
                self.validators(command, epoch, entry);
            }
        }
        command.arg(steps.iter().filter(|step| matches!(step, Step::Late(..))).count());
        for step in steps {
            if let Step::Late(epoch, sealed) = step {
                let read = self.sealed.get(*epoch).map_or_else(String::new, Sealed::encode);
                command.arg(epoch.as_str()).arg(read).arg(sealed.encode());
            }
        }
        for step in steps {
            let Step::Seal(epoch, entry) = step else { continue };
            command.arg(epoch.as_str()).arg(stored(epoch)).arg(entry.encode());
            for (_, value) in entry.sums().fields() {
                command.arg(value);
            }
            // For an id without a trace it is the time when the tracker first saw it, which says nothing of gaps.
            let end = Some(entry.end_of_window()).filter(|_| !entry.is_bare());
            let aggregated = entry.aggregated.at();
            let [listed, included] = [entry.listed, entry.included].map(|is| aggregated.filter(|_| is));
            for at in [end, entry.opened.at(), entry.local.at(), aggregated, listed, included] {
                command.arg(text(at));
            }
            self.validators(command, epoch, entry);
            let hours = entry.hours();
            command.arg(hours.len());
            for (start, HourSums { epochs, batches, submissions }) in hours {
                command.arg(start).arg(epochs).arg(batches).arg(submissions);
            }
        }
    }
}

fn text(at: Option<u64>) -> String {
    at.map_or_else(String::new, |at| at.to_string())
}

/// The stored form of a measurement window.
pub(crate) fn encode_window(window: &MeasurementWindow) -> String {
    let MeasurementWindow { began, submissions, epochs, batches } = window;
    format!("{began},{submissions},{epochs},{batches}")
}

/// Reads the hash of hours; what names no hour or no sum is ignored.
pub(crate) fn hours(fields: &[(String, u64)]) -> BTreeMap<u64, HourSums> {
    let mut hours = BTreeMap::<u64, HourSums>::new();
    for (field, count) in fields {
        let Some((Ok(start), name)) = field.split_once(':').map(|(start, name)| (start.parse(), name)) else {
            continue;
        };
        let sums = hours.entry(start).or_default();
        match name {
            "epochs" => sums.epochs = *count,
            "batches" => sums.batches = *count,
            "submissions" => sums.submissions = *count,
            _ => {}
        }
    }
    hours
}

/// Reads the hash of sums.
pub(crate) fn sums(fields: &[(String, u64)]) -> Sums {
    Sums::from_fields(fields.iter().map(|(name, value)| (name.as_str(), *value)))
}
