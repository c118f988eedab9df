//! The spellings of its name under which a market's keys are read. Most markets have one; producers of different versions use
//! different ones.
//!
//! Spellings in use are read in every pass, all spellings once a minute and after a pass that has missed something. Only a pass that
//! reads all of them seals epochs and moves the mark: so keys under a spelling that was not in use are found late, but not lost. An
//! epoch that becomes a candidate for the current one is read under all spellings at once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
};

use domain::EpochId;

use super::aliases::Forms;
use crate::keys::{InputKeys, MarketKeys};

/// How often all spellings are read, in seconds.
const CHECK_EVERY: f64 = 60.0;

/// The spellings in use, as the passes of one kind have found them.
#[derive(Debug, Default)]
pub(super) struct Spellings(Mutex<InUse>);

#[derive(Debug, Default)]
struct InUse {
    /// In the order of [`MarketKeys::inputs`].
    used: Vec<bool>,
    /// When all spellings were read last, in Unix seconds.
    checked: Option<f64>,
    /// The candidates of the last pass, all of which were read under all spellings once.
    candidates: BTreeSet<EpochId>,
}

impl Spellings {
    /// The spellings that a pass at `now` (Unix seconds) reads; with `all`, all of them.
    pub(super) fn choose(&self, keys: &MarketKeys, now: f64, all: bool) -> Chosen {
        // A poisoned lock is used on: each change is one assignment.
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let every = vec![true; keys.inputs().count()];
        // The lower bound: after the clock was set back all spellings are due too.
        let is_recent = known.checked.is_some_and(|checked| (checked..checked + CHECK_EVERY).contains(&now));
        // While nothing is in use, which is also the case at the start, every spelling is read.
        let some = is_recent && !all && known.used.contains(&true);
        let read = if some { known.used.clone() } else { every.clone() };
        Chosen { now, used: vec![false; every.len()], read, forms: Forms::default() }
    }

    /// Remembers what a pass has found, if it has read all spellings.
    pub(super) fn learn(&self, chosen: &Chosen) {
        if chosen.is_whole() {
            let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            known.used.clone_from(&chosen.used);
            known.checked = Some(chosen.now);
        }
    }

    /// Makes the next pass read all spellings.
    pub(super) fn look_again(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).checked = None;
    }

    /// `chosen`, or all spellings where one of these candidates is new.
    pub(super) fn widen(&self, chosen: &Chosen, candidates: &[EpochId]) -> Chosen {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = candidates.iter().all(|epoch| known.candidates.contains(epoch));
        let mut wide = chosen.clone();
        wide.read.iter_mut().for_each(|read| *read |= !is_known);
        wide
    }

    /// Remembers the candidates of a pass that has read them under `wide`. Where it was meant to read fewer spellings, the next pass
    /// reads all, since an epoch may have keys under a spelling that was not in use.
    pub(super) fn learn_candidates(&self, chosen: &Chosen, wide: &Chosen, candidates: Vec<EpochId>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.candidates = candidates.into_iter().collect();
        let is_unused_in_use = wide.used.iter().zip(&chosen.read).any(|(used, read)| *used && !read);
        if is_unused_in_use {
            known.checked = None;
        }
    }

    /// The position of the first spelling in use.
    pub(super) fn first_used(&self) -> Option<usize> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.used.iter().position(|used| *used)
    }
}

/// The spellings that one pass reads, and those of them under which it has found a key.
#[derive(Clone, Debug, Default)]
pub(super) struct Chosen {
    now: f64,
    /// Those that are read, in the order of [`MarketKeys::inputs`].
    read: Vec<bool>,
    used: Vec<bool>,
    /// Other forms of epochs' ids.
    pub(super) forms: Forms,
}

impl Chosen {
    /// The spellings that are read, the preferred one first.
    pub(super) fn inputs<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> + Clone {
        keys.inputs().zip(&self.read).filter_map(|(input, is_read)| is_read.then_some(input))
    }

    /// The spellings under which an epoch is read, and under each of them all forms of its id.
    pub(super) fn inputs_of<'a>(
        &'a self,
        keys: &'a MarketKeys,
        epoch: &'a EpochId,
    ) -> impl Iterator<Item = InputKeys<'a>> + Clone {
        self.inputs(keys).flat_map(|input| self.forms.under(input, epoch))
    }

    /// Whether all spellings are read.
    pub(super) fn is_whole(&self) -> bool {
        !self.read.contains(&false)
    }

    /// The spellings that are read, the second namespace before them, for priorities.
    pub(super) fn priorities<'a>(&'a self, keys: &'a MarketKeys) -> impl Iterator<Item = InputKeys<'a>> {
        keys.second().chain(self.inputs(keys))
    }

    /// Whether the pass detects which spellings are in use: there are several, and it reads all.
    pub(super) fn detects_use(&self) -> bool {
        self.read.len() > 1 && self.is_whole()
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

    /// Spellings of which the second one was found in use at the moment 1000.
    fn known() -> Spellings {
        let (spellings, keys) = (Spellings::default(), keys());
        let mut chosen = spellings.choose(&keys, 1000.0, false);
        chosen.note(&keys, &[format!("P:{LOWER}:epochs:active"), "P:other:epochs:active".to_owned()]);
        spellings.learn(&chosen);
        spellings
    }

    /// Under how many spellings the market and an epoch are read, and whether that is all.
    fn read(spellings: &Spellings, now: f64, all: bool) -> (usize, usize, bool) {
        let (chosen, epoch) = (spellings.choose(&keys(), now, all), EpochId::parse("7").expect("an id"));
        (chosen.inputs(&keys()).count(), chosen.inputs_of(&keys(), &epoch).count(), chosen.is_whole())
    }

    #[test]
    fn only_spellings_in_use_are_read_until_a_minute_has_passed() {
        let spellings = known();
        for (now, count) in [(1000.0, 1), (1059.9, 1), (1060.0, 2), (999.0, 2)] {
            assert_eq!(read(&spellings, now, false), (count, count, count == 2), "at {now}");
        }
        let narrow = spellings.choose(&keys(), 1030.0, false);
        let queues: Vec<_> = narrow.inputs(&keys()).map(InputKeys::queue).collect();
        assert_eq!(queues, [format!("P:{LOWER}:submissionQueue")]);
        spellings.learn(&narrow);
        assert_eq!(
            read(&spellings, 1060.0, false),
            (2, 2, true),
            "a pass that read one knows nothing of the others"
        );
        assert_eq!(read(&spellings, 1030.0, true), (2, 2, true), "unless all are asked for");
    }

    #[test]
    fn a_market_of_which_nothing_was_found_is_read_under_all_its_spellings() {
        let spellings = Spellings::default();
        spellings.learn(&spellings.choose(&keys(), 1000.0, false));
        assert_eq!(read(&spellings, 1001.0, false), (2, 2, true));
    }
}
