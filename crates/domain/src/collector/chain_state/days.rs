//! Changes of day.

use super::{Rules, day::Day, transition::Change};
use crate::{chain::ContractAddress, collector::Rollover};

impl Change {
    /// The market is in this day since this time, or since before. A day that is known keeps its beginning.
    pub(super) fn enter_day(&mut self, market: ContractAddress, number: u64, since: u64) {
        let known = self.market(market).and_then(|known| known.day);
        if known.is_none_or(|known| known.number != number) {
            self.set_day(market, Some(Day { number, since }));
        }
    }

    /// An epoch was released in this day. A later day than at the release before is a change of day.
    pub(super) fn release_in(&mut self, market: ContractAddress, epoch: u64, day: u64, rules: &Rules) {
        let Some(known) = self.market(market) else { return };
        let last = known.last_day;
        if last.is_some_and(|last| last >= day) {
            return;
        }
        // So many changes wait at most. Those before them are too old to be told.
        let first = day.saturating_sub(rules.past_days);
        let old: Vec<u64> =
            known.rollovers.iter().filter(|(_, it)| it.last_day < first).map(|(at, _)| *at).collect();
        old.into_iter().for_each(|at| self.set_rollover(market, at, None));
        if let Some(last) = last {
            self.set_rollover(market, epoch, Some(Rollover::at(epoch, last)));
        }
        self.set_last_day(market, Some(day));
    }
}
