//! The undoing of blocks that a reorganisation dropped.

use std::collections::BTreeSet;

use super::{
    ChainState, Effect, MarketBefore, Note, Rules, TooDeep, Transition, UndoEntry, transition::Change,
};
use crate::chain::{ContractAddress, Window, WindowState};

/// The most orphaned deliveries that are remembered; the oldest are forgotten first.
const MOST_ORPHANED: usize = 1_000;

impl ChainState {
    /// Undoes all accepted blocks after the block of this number, which stays, at this time of Redis. What was handed over stays too,
    /// and what the relayer was told of a day.
    ///
    /// # Errors
    /// [`TooDeep`] when more than `rules.max_reorg_depth` blocks would be undone, or the block is not in the undo log.
    pub fn revert(self, number: u64, redis: u64, rules: &Rules) -> Result<Transition, TooDeep> {
        let depth = rules.max_reorg_depth;
        let Some(checkpoint) = self.checkpoint else {
            return Ok(Transition { state: self, ..Transition::default() });
        };
        let too_deep = TooDeep { from: checkpoint.number, to: number, depth };
        let at = self.undo_log.iter().position(|entry| entry.block.number == number).ok_or(too_deep)?;
        if checkpoint.number - number > depth {
            return Err(too_deep);
        }
        let (mut change, mut stays) = (Change::at(self, redis, rules), BTreeSet::new());
        // The newest first: each entry restores the state before its own block.
        for UndoEntry { before, submitted, finalized, .. } in change.drop_blocks(at + 1) {
            for batch in finalized {
                // A block that stays may have finalised it too.
                if !change.state().undo_log.iter().any(|entry| entry.finalized.contains(&batch)) {
                    change.add(Effect::NotFinalized(batch));
                }
            }
            for (market, before) in before {
                change.restore(market, before, &mut stays);
            }
            if submitted.is_empty() {
                continue;
            }
            change.notes.extend(submitted.iter().cloned().map(Note::StaysSubmitted));
            let orphaned = change.orphaned();
            orphaned.extend(submitted);
            let surplus = orphaned.len().saturating_sub(MOST_ORPHANED);
            orphaned.drain(..surplus);
        }
        change.reopen(number);
        Ok(change.end())
    }
}

impl Change {
    /// Restores what one block has changed of a market. `stays` has what was reported.
    fn restore(
        &mut self,
        market: ContractAddress,
        MarketBefore { current, day, last_day, windows, rollovers }: MarketBefore,
        stays: &mut BTreeSet<(ContractAddress, u64)>,
    ) {
        self.set_current(market, current);
        self.set_day(market, day);
        self.set_last_day(market, last_day);
        for (epoch, rollover) in rollovers {
            let Some(known) = self.market(market) else { return };
            if rollover.is_none() && !known.rollovers.contains_key(&epoch) {
                self.notes.push(Note::StaysRolledOver { market, epoch });
            } else {
                self.set_rollover(market, epoch, rollover);
            }
        }
        for (epoch, window) in windows {
            // The market may have been removed since: nothing of it is kept.
            let Some(known) = self.market(market) else { return };
            if !known.done.contains(epoch) {
                self.set_window(market, epoch, window);
                continue;
            }
            // Handed over meanwhile: the finalizers have the batches, so the epoch stays finished. It is reported once, if the block
            // released it (no window before) or closed its window (open before).
            let made_of_it = window.is_none_or(|window| window.state == WindowState::Open);
            if made_of_it && stays.insert((market, epoch)) {
                self.notes.push(Note::StaysHandedOver { market, epoch });
            }
        }
    }

    /// The undo log has no entry for what the clock closed. Windows that it closed after the block of this number open again, and a
    /// new block or the clock closes them.
    fn reopen(&mut self, number: u64) {
        let is_dropped =
            |window: &Window| matches!(window.state, WindowState::Closed { block } if block > number);
        for (market, epoch, window) in self.windows_where(is_dropped) {
            self.set_window(market, epoch, Some(Window { state: WindowState::Open, ..window }));
        }
    }
}
