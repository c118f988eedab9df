//! Markets that come and go: taken over from a predecessor, wanted by trackers, removed.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ChainState, Clocks, Day, Effect, Note, Releases, Rules, Transition, rules::DAYS, transition::Change,
};
use crate::{chain::ContractAddress, collector::Rollover};

/// What is taken over of a market before the first block is accepted for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakeOver {
    /// The current day.
    pub day: Option<Day>,
    /// How long its days are, in seconds.
    pub day_length: Option<u64>,
    /// The day of the epoch that a predecessor saw released last.
    pub last_day: Option<u64>,
    /// The changes of day that a predecessor saw, and whose rewards it has not told.
    pub rollovers: BTreeMap<u64, Rollover>,
    /// The epochs whose windows a predecessor opened: each with the number of its release block, and that block's time
    /// in Unix seconds.
    pub epochs: BTreeMap<u64, (u64, u64)>,
    /// The marked epochs whose batches the predecessor handed over.
    pub handed: BTreeSet<u64>,
}

impl ChainState {
    /// The markets that must be taken over before the next block is accepted.
    pub fn newcomers(&self) -> impl Iterator<Item = ContractAddress> {
        self.markets.keys().filter(|market| !self.followed.contains_key(market)).copied()
    }

    /// Takes markets over at the checkpoint, or before the first block: from a predecessor, or after a time in which they were not
    /// followed.
    #[must_use]
    pub fn take_over(
        self,
        markets: &BTreeMap<ContractAddress, TakeOver>,
        releases: &Releases,
        now: Clocks,
        rules: &Rules,
    ) -> Transition {
        let followed = self.followed.clone();
        let followed =
            followed.into_iter().chain(markets.keys().map(|market| (*market, rules.followed))).collect();
        let mut change = Change::at(self.following(followed), now.redis, rules);
        change.add(Effect::Followed(change.state().followed.clone()));
        for (&market, left) in markets {
            change.add_market(market);
            // The day known so far may be over, and slots counted under a wrong day are worse than slots not counted.
            change.set_day(market, left.day);
            if let Some(seconds) = left.day_length {
                change.know_day_length(market, seconds);
            }
            left.rollovers.iter().for_each(|(&epoch, &it)| change.set_rollover(market, epoch, Some(it)));
            // Not the present day in its place: the next release shows that it has changed since.
            let known = change.market(market).and_then(|known| known.last_day);
            // One that can't be is that of a program that went wrong.
            let left_day = left.last_day.filter(|day| DAYS.has(*day, left.day.map(|day| day.number)));
            let last_day = known.max(left_day).or(left.day.map(|day| day.number));
            change.set_last_day(market, last_day);
            // The predecessor handed these over: a window left here would be prepared again.
            left.handed.iter().for_each(|&epoch| change.finish(market, epoch));
            for (&epoch, &release) in &left.epochs {
                let Some(known) = change.market(market).filter(|known| !known.knows(epoch)) else { continue };
                let day = known.day.map(|day| day.number);
                let at = rules.at_release(releases, market, release.0, day);
                match rules.window(at, release, known.ahead(), now) {
                    None => {
                        change.finish(market, epoch);
                        change.notes.push(Note::Expired { market, epoch });
                    }
                    Some(window) => {
                        change.set_window(market, epoch, Some(window));
                        change.notes.push(Note::TakenUp { market, epoch, window });
                    }
                }
            }
        }
        change.end()
    }

    /// Sets what is wanted for these markets, as far as they are followed. Without an effect nothing was changed.
    #[must_use]
    pub fn want(self, markets: &[ContractAddress], rules: &Rules) -> Transition {
        let mut followed = self.followed.clone();
        let own = followed.iter_mut().filter(|(market, _)| markets.contains(market));
        own.for_each(|(_, followed)| *followed = rules.followed);
        let effect = (followed != self.followed).then(|| Effect::Followed(followed.clone()));
        Transition {
            state: self.following(followed),
            effects: effect.into_iter().collect(),
            notes: Vec::new(),
        }
    }

    /// Removes a market with its windows, and what blocks have changed of it. Its finished epochs stay, so that none is handed over
    /// again if it is followed once more. Without an effect there was nothing to remove.
    #[must_use]
    pub fn remove(self, market: ContractAddress) -> Transition {
        let mut followed = self.followed.clone();
        let was_followed = followed.remove(&market).is_some();
        let mut change = Change::new(self.following(followed));
        if was_followed {
            change.add(Effect::Followed(change.state().followed.clone()));
            change.add(Effect::Removed { market });
            change.forget(market);
        }
        let epochs: Vec<u64> =
            change.market(market).into_iter().flat_map(|known| known.windows.keys().copied()).collect();
        epochs.into_iter().for_each(|epoch| change.set_window(market, epoch, None));
        change.set_current(market, None);
        change.set_day(market, None);
        change.set_last_day(market, None);
        let changes: Vec<u64> =
            change.market(market).into_iter().flat_map(|known| known.rollovers.keys().copied()).collect();
        changes.into_iter().for_each(|epoch| change.set_rollover(market, epoch, None));
        change.end()
    }

    fn following(self, followed: BTreeMap<ContractAddress, super::Followed>) -> Self {
        Self { followed, ..self }
    }
}
