//! Windows whose length becomes known after their release.

use super::{ChainState, Note, Rules, Transition, transition::Change};
use crate::chain::{ContractAddress, Window, WindowState};

/// A window whose length has become known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// The market.
    pub market: ContractAddress,
    /// The epoch.
    pub epoch: u64,
    /// The window with its length.
    pub window: Window,
}

impl ChainState {
    /// The windows whose length has become known.
    #[must_use]
    pub fn measurable(&self, rules: &Rules) -> Vec<Measured> {
        let mut all = Vec::new();
        for (&market, known) in &self.markets {
            let Some(&length) = rules.windows.get(&market) else { continue };
            let unmeasured = known.windows.iter().filter(|(_, it)| it.state == WindowState::Unmeasured);
            let measured = |window: &Window| rules.measured(*window, length, WindowState::Waiting);
            all.extend(unmeasured.map(|(&epoch, window)| Measured {
                market,
                epoch,
                window: measured(window),
            }));
        }
        all
    }

    /// Records the length of windows. The number beside one is that of the first accepted block at its limit or after it, if there is
    /// one.
    #[must_use]
    pub fn measure(self, measured: &[(Measured, Option<u64>)]) -> Transition {
        let mut change = Change::new(self);
        for &(Measured { market, epoch, window }, closed_at) in measured {
            if change.market(market).is_none_or(|known| !known.windows.contains_key(&epoch)) {
                continue;
            }
            // Nothing for the undo log: no block did this. An undo opens a window that was closed at a dropped block.
            let state = closed_at.map_or(WindowState::Waiting, |block| WindowState::Closed { block });
            let window = Window { state, ..window };
            change.set_window(market, epoch, Some(window));
            change.notes.push(Note::Measured { market, epoch, window });
            let closed = |block| Note::Closed { market, epoch, block, by_clock: false };
            change.notes.extend(closed_at.map(closed));
        }
        change.end()
    }
}
