//! The submissions of others, and the clean-up.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::script::{Id, MARKETS},
    Look, SECOND,
};

/// "Submission sets of epochs older than the current one by more than 10".
const EPOCHS_KEPT: u64 = 10;
/// "Every 10 minutes": within this time a clean-up begins.
const CLEANED_EVERY: u64 = 605 * SECOND;

/// What the clean-up removes: a set of submissions, or the marker of an epoch.
pub(super) type Removal = (usize, u64, Option<Id>);

/// How far a clean-up has come, as far as that is known.
#[derive(Clone, Debug, Default)]
pub(super) struct Cleaning {
    /// What could be removed at the look before.
    possible: BTreeSet<Removal>,
    /// For which of it a clean-up has begun since then.
    begun: BTreeSet<Removal>,
}

impl Cleaning {
    pub(super) fn forget(&mut self, market: usize) {
        self.possible.retain(|(of, ..)| *of != market);
        self.begun.retain(|(of, ..)| *of != market);
    }
}

impl Look<'_> {
    /// The submissions of others stay, but for those of which batches were made long ago.
    pub(super) fn inputs(&mut self, branch: &[Id], expected: &mut BTreeSet<String>) {
        let current = self.currents(branch);
        let mut possible = BTreeSet::new();
        for ((market, epoch, block), input) in self.inputs.clone() {
            let key = format!("SnapshotCollector.{}.{epoch}.{}", MARKETS[market], self.script.hash(block));
            let done = self.judge.done.get(&(market, epoch));
            let is_used = done.is_some_and(|done| done.batches.is_some() && done.blocks.contains(&block));
            let is_cleaned = done.is_some_and(|done| done.is_cleaned);
            let is_past = |at: Option<&u64>| at.is_some_and(|at| at.saturating_sub(epoch) > EPOCHS_KEPT);
            let may_be_gone =
                input.until <= self.rest.to || (is_used && is_past(self.judge.highest.get(&market)));
            let held = self.seen.get(&key).map(|held| held.words.iter().cloned().collect::<BTreeSet<_>>());
            if held.as_ref() != Some(&input.members) && !(held.is_none() && may_be_gone) {
                self.fault(format!("{key} is {held:?}: it is no longer what the collector wrote"));
            }
            if held.is_none() && input.until > self.rest.to + 2 * SECOND {
                self.count("looks at cleaned submissions", 1);
            }
            if held.is_some() && is_used && is_cleaned && is_past(current.get(&market)) {
                possible.insert((market, epoch, Some(block)));
            }
            expected.insert(key);
        }
        possible.extend(self.judge.planted.iter().map(|(market, epoch)| (*market, *epoch, None)));
        self.cleaned(possible);
    }

    /// The current epoch of each market.
    fn currents(&self, branch: &[Id]) -> BTreeMap<usize, u64> {
        let mut current = BTreeMap::new();
        for market in 0..self.judge.settings.markets {
            let Some(first) = self.judge.followed[market].first() else { continue };
            let releases = self.script.releases(market, branch, first.max(self.judge.settings.start));
            current.extend(releases.into_iter().map(|(epoch, _)| epoch).max().map(|epoch| (market, epoch)));
        }
        current
    }

    /// What was left by a clean-up that began before the look before is a fault. It begins where a tracker runs for its interval.
    fn cleaned(&mut self, possible: BTreeSet<Removal>) {
        let steady = self.rest.steady.clone();
        let is_cleaned = |(market, ..): &&Removal| steady.contains(market);
        let left: Vec<Removal> =
            self.judge.cleaning.begun.intersection(&possible).filter(is_cleaned).copied().collect();
        for (market, epoch, block) in left {
            self.fault(format!("the clean-up has left {block:?} of epoch {epoch} of market {market}"));
        }
        let has_begun = self.rest.to - self.rest.from >= CLEANED_EVERY;
        let known = self.judge.cleaning.possible.clone();
        let begun: BTreeSet<Removal> = match has_begun {
            true => known.intersection(&possible).filter(is_cleaned).copied().collect(),
            false => BTreeSet::new(),
        };
        self.count(
            "due for a clean-up",
            if has_begun { known.iter().filter(is_cleaned).count() as u64 } else { 0 },
        );
        self.judge.cleaning = Cleaning { possible, begun };
    }
}
