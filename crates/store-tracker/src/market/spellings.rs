//! Under which spellings of its name a market's keys are read. Most markets have one spelling; producers of different
//! age use different ones.
//!
//! Spellings in use are read in every pass. The others are read once a minute: the keys of the market, of the newest
//! epochs, and of the epochs that wait to be sealed. So each epoch is read under every spelling before it is sealed,
//! and keys under a spelling that was not in use are found late, but not lost.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use domain::EpochId;

use super::aliases::Forms;
use crate::keys::{InputKeys, MarketKeys};

/// How often all spellings are read, in seconds.
const LOOK_EVERY: f64 = 60.0;
/// The number of newest epochs that are read under all spellings then.
const NEWEST: usize = 8;

/// What the passes of one kind have found.
#[derive(Debug, Default)]
pub(super) struct Spellings(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// In the order of [`MarketKeys::inputs`].
    used: Vec<bool>,
    looked: Option<f64>,
    /// Epochs that wait to be read under all spellings.
    held: BTreeSet<EpochId>,
}

impl Spellings {
    /// What a pass at `now` (Unix seconds) reads; with `all`, everything under all spellings.
    pub(super) fn choose(&self, keys: &MarketKeys, now: f64, all: bool) -> Chosen {
        // A poisoned lock is used on: each change is one assignment.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let every = vec![true; keys.inputs().count()];
        // The lower bound: after the clock was set back all spellings are due too.
        let is_recent = known.looked.is_some_and(|looked| (looked..looked + LOOK_EVERY).contains(&now));
        // While nothing is in use, which is also the case at the start, every spelling is read.
        let always = if all || !known.used.contains(&true) { every.clone() } else { known.used.clone() };
        let read = if is_recent { always.clone() } else { every.clone() };
        let wide = if is_recent { BTreeSet::new() } else { known.held.clone() };
        Chosen { now, used: vec![false; every.len()], always, read, wide, forms: Forms::default() }
    }

    /// Remembers what a pass found; one that did not read all spellings knows nothing of the others.
    pub(super) fn learn(&self, chosen: &Chosen) {
        if !chosen.read.contains(&false) {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.used.clone_from(&chosen.used);
            known.looked = Some(chosen.now);
        }
    }

    /// The position of the first spelling in use.
    pub(super) fn first_used(&self) -> Option<usize> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.used.iter().position(|used| *used)
    }

    /// Remembers which epochs wait to be read under all spellings.
    pub(super) fn hold(&self, epochs: &[EpochId]) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.held = epochs.iter().cloned().collect();
    }
}

/// The spellings that one pass reads, and under which of them there was something.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    now: f64,
    /// Those under which every epoch is read.
    always: Vec<bool>,
    /// Those under which anything is read.
    read: Vec<bool>,
    /// The epochs that are read under all of these.
    wide: BTreeSet<EpochId>,
    used: Vec<bool>,
    /// Other forms of epochs' ids.
    pub(super) forms: Forms,
}

impl Chosen {
    /// Adds the newest of the pass's epochs, which are in ascending order, to those that are read under all spellings.
    pub(super) fn widen(&mut self, epochs: &[EpochId]) {
        // Equal: this pass reads either nothing or everything under the other spellings.
        if self.read != self.always {
            self.wide.extend(epochs.iter().rev().take(NEWEST).cloned());
        }
    }

    /// The spellings under which anything is read, with their positions, the preferred one first.
    pub(super) fn numbered<'a>(
        &'a self,
        keys: &'a MarketKeys,
    ) -> impl Iterator<Item = (usize, InputKeys<'a>)> {
        keys.inputs().enumerate().filter(|(at, _)| self.read[*at])
    }

    /// The same without their positions.
    pub(super) fn inputs<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> {
        self.numbered(keys).map(|(_, input)| input)
    }

    /// The keys of the validators of those of `epochs` that are read under the spelling at this position.
    pub(super) fn validators<'a>(
        &'a self,
        at: usize,
        input: InputKeys<'a>,
        epochs: &'a [EpochId],
    ) -> impl Iterator<Item = (&'a EpochId, String)> {
        let read = epochs.iter().filter(move |epoch| self.always[at] || self.wide.contains(*epoch));
        read.flat_map(move |epoch| {
            self.forms.under(input, epoch).map(move |input| (epoch, input.validators(epoch)))
        })
    }

    /// The spellings under which an epoch is read, and under each of them all forms of its id.
    pub(super) fn inputs_of<'a>(
        &'a self,
        keys: &'a MarketKeys,
        epoch: &'a EpochId,
    ) -> impl Iterator<Item = InputKeys<'a>> {
        let is_wide = self.wide.contains(epoch);
        let read = self.numbered(keys).filter(move |(at, _)| is_wide || self.always[*at]);
        read.flat_map(|(_, input)| self.forms.under(input, epoch))
    }

    /// Whether the pass does not read an epoch under all spellings.
    pub(super) fn reads_partly(&self, epoch: &EpochId) -> bool {
        let read = if self.wide.contains(epoch) { &self.read } else { &self.always };
        read.contains(&false)
    }

    /// The spellings under which anything is read, the second namespace before them, for priorities.
    pub(super) fn priorities<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> {
        keys.second().chain(self.inputs(keys))
    }

    /// Whether the pass finds out which spellings are in use: it reads all of several.
    pub(super) fn finds_out(&self) -> bool {
        self.read.len() > 1 && !self.read.contains(&false)
    }

    /// Notes the spellings of keys that exist.
    pub(super) fn note(&mut self, keys: &MarketKeys, present: &[String]) {
        for (input, used) in keys.inputs().zip(&mut self.used) {
            *used |= present.iter().any(|key| input.has(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::Address;

    use super::*;

    const LOWER: &str = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed";

    fn keys() -> MarketKeys {
        MarketKeys::new(&Address::new("P"), &Address::new(LOWER))
    }

    fn ids(numbers: std::ops::Range<u32>) -> Vec<EpochId> {
        numbers.map(|number| EpochId::parse(&number.to_string()).expect("an id")).collect()
    }

    /// Spellings of which the second one was found in use at the moment 1000.
    fn known() -> Spellings {
        let (spellings, keys) = (Spellings::default(), keys());
        let mut chosen = spellings.choose(&keys, 1000.0, false);
        chosen.note(&keys, &[format!("P:{LOWER}:epochs:active"), "P:other:epochs:active".to_owned()]);
        spellings.learn(&chosen);
        spellings
    }

    /// Under how many spellings each of these epochs is read, and whether that is all.
    fn read(spellings: &Spellings, now: f64, all: bool, epochs: &[EpochId]) -> Vec<(usize, bool)> {
        let mut chosen = spellings.choose(&keys(), now, all);
        chosen.widen(epochs);
        let of = |epoch| (chosen.inputs_of(&keys(), epoch).count(), !chosen.reads_partly(epoch));
        epochs.iter().map(of).collect()
    }

    #[test]
    fn only_spellings_in_use_are_read_until_a_minute_has_passed() {
        let (spellings, one) = (known(), ids(1..2));
        for (now, count) in [(1000.0, 1), (1059.9, 1), (1060.0, 2), (999.0, 2)] {
            assert_eq!(spellings.choose(&keys(), now, false).inputs(&keys()).count(), count, "at {now}");
            assert_eq!(read(&spellings, now, false, &one), [(count, count == 2)], "at {now}");
        }
        let narrow = spellings.choose(&keys(), 1030.0, false);
        let queues: Vec<_> = narrow.inputs(&keys()).map(InputKeys::queue).collect();
        assert_eq!(queues, [format!("P:{LOWER}:submissionQueue")]);
        spellings.learn(&narrow);
        assert_eq!(spellings.choose(&keys(), 1060.0, false).inputs(&keys()).count(), 2);
        assert_eq!(read(&spellings, 1030.0, true, &one), [(2, true)], "unless all are asked for");
    }

    #[test]
    fn new_epochs_and_those_to_be_sealed_are_read_under_all_spellings_once_a_minute() {
        let (spellings, epochs) = (known(), ids(1..21));
        spellings.hold(&ids(3..5));
        let wide = |now| {
            let all = read(&spellings, now, false, &epochs).into_iter().zip(&epochs);
            all.filter(|((_, whole), _)| *whole).map(|(_, epoch)| epoch.clone()).collect::<Vec<_>>()
        };
        assert_eq!(wide(1030.0), []);
        assert_eq!(wide(1060.0), [ids(3..5), ids(13..21)].concat());
        assert!(read(&spellings, 1060.0, true, &epochs).iter().all(|read| *read == (2, true)));
    }

    #[test]
    fn a_market_of_which_nothing_was_found_is_read_under_all_its_spellings() {
        let spellings = Spellings::default();
        spellings.learn(&spellings.choose(&keys(), 1000.0, false));
        assert_eq!(read(&spellings, 1001.0, false, &ids(1..20)), [(2, true); 19]);
    }
}
