//! The end of windows: by a block, by the clock, and of those that nobody uses.

use super::{ChainState, Note, Rules, Transition, transition::Change};
use crate::chain::{ContractAddress, Window, WindowState};

impl ChainState {
    /// Closes the windows whose limit passed at least `rules.silence` seconds before the chain's time without a block that closed
    /// them. `chain` is that time in Unix seconds, if the last accepted block is the chain's newest one: else a block that counts may
    /// be missing, or was dropped. Then only those windows are closed whose submissions are about to expire at `redis`, the time of
    /// Redis: their batches would be lost.
    #[must_use]
    pub fn close(self, chain: Option<u64>, redis: u64, rules: &Rules) -> Transition {
        let Some(checkpoint) = self.checkpoint else {
            return Transition { state: self, ..Transition::default() };
        };
        let is_over =
            |window: &Window| chain.is_some_and(|now| window.limit.saturating_add(rules.silence) <= now);
        let mut change = Change::new(self);
        // Nothing for the undo log: no block did this, see `revert`.
        change.close(
            checkpoint.number,
            rules,
            |window| is_over(window) || rules.is_last_call(window, redis),
            true,
        );
        change.give_up_abandoned(redis, rules);
        change.end()
    }
}

impl Change {
    /// The windows of which this is true, with their markets and epochs.
    pub(super) fn windows_where(
        &self,
        is_so: impl Fn(&Window) -> bool,
    ) -> Vec<(ContractAddress, u64, Window)> {
        let all = self.state().markets.iter();
        let all =
            all.flat_map(|(market, known)| known.windows.iter().map(|(epoch, it)| (*market, *epoch, *it)));
        all.filter(|(_, _, window)| is_so(window)).collect()
    }

    /// Closes the windows that are due with this block, and opens waiting ones in their place.
    pub(super) fn close(
        &mut self,
        block: u64,
        rules: &Rules,
        is_due: impl Fn(&Window) -> bool,
        by_clock: bool,
    ) {
        // Again after each opening: a window that waited may be past its limit, and closes at once.
        loop {
            let due = self.windows_where(|window| window.state == WindowState::Open && is_due(window));
            for (market, epoch, window) in due {
                self.set_window(
                    market,
                    epoch,
                    Some(Window { state: WindowState::Closed { block }, ..window }),
                );
                self.notes.push(Note::Closed { market, epoch, block, by_clock });
            }
            let mut opened = Vec::new();
            for (market, known) in &self.state().markets {
                opened.extend(known.next_to_open(rules).into_iter().map(|(epoch, it)| (*market, epoch, it)));
            }
            if opened.is_empty() {
                return;
            }
            for (market, epoch, window) in opened {
                self.set_window(market, epoch, Some(Window { state: WindowState::Open, ..window }));
            }
        }
    }

    /// Ends the epochs whose windows nobody will use any more.
    pub(super) fn give_up_abandoned(&mut self, redis: u64, rules: &Rules) {
        for (market, epoch, window) in self.windows_where(|window| rules.is_abandoned(window, redis)) {
            self.finish(market, epoch);
            self.notes.push(match window.state {
                WindowState::Unmeasured => Note::Expired { market, epoch },
                _ => Note::Abandoned { market, epoch },
            });
        }
    }
}
