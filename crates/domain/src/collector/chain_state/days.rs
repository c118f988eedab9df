//! Changes of day.

use super::{Note, Rules, day::Day, rules::DAYS, transition::Change};
use crate::{chain::ContractAddress, collector::Rollover};

impl Change {
    /// The market is in this day since this time, or since before. A day that is known keeps its beginning.
    pub(super) fn enter_day(&mut self, market: ContractAddress, number: u64, since: u64) {
        let known = self.market(market).and_then(|known| known.day);
        if !self.believes(market, number) {
            return;
        }
        if known.is_none_or(|known| known.number != number) {
            self.set_day(market, Some(Day { number, since }));
        }
    }

    /// Whether a day is believed; one that is not is noted.
    pub(super) fn believes(&mut self, market: ContractAddress, day: u64) -> bool {
        let last = self.market(market).and_then(|known| known.last_day);
        let is_plausible = DAYS.has(day, last);
        if !is_plausible {
            self.notes.push(Note::ImplausibleDay { market, day });
        }
        is_plausible
    }

    /// An epoch was released in this day. A later day than at the release before is a change of day. An earlier one shows that the last
    /// one was wrong, such as that of a node that lied: days go on from the earlier one.
    pub(super) fn release_in(&mut self, market: ContractAddress, epoch: u64, day: u64, rules: &Rules) {
        let Some(known) = self.market(market) else { return };
        let last = known.last_day;
        if let Some(from) = last.filter(|last| *last > day) {
            self.notes.push(Note::DayCorrected { market, epoch, from, to: day });
            self.set_last_day(market, Some(day));
            return;
        }
        if last == Some(day) {
            return;
        }
        // So many changes wait at most. Those before them are too old to be told.
        let first = day.saturating_sub(rules.past_days);
        let old: Vec<u64> =
            known.rollovers.iter().filter(|(_, it)| it.last_day < first).map(|(at, _)| *at).collect();
        old.into_iter().for_each(|at| self.set_rollover(market, at, None));
        // Days are counted from 1: before the first one there is none to tell of.
        if let Some(last) = last.filter(|last| *last > 0) {
            self.set_rollover(market, epoch, Some(Rollover::at(epoch, last)));
        }
        self.set_last_day(market, Some(day));
    }
}
