//! Windows whose length becomes known after their release.

use super::{Following, Note, Rules};
use crate::chain::{ContractAddress, Window, WindowState};

impl Following {
    /// The windows whose length has become known, as they are with it: each with its market and epoch.
    #[must_use]
    pub fn measurable(&self, rules: &Rules) -> Vec<(ContractAddress, u64, Window)> {
        let mut all = Vec::new();
        for (market, known) in &self.markets {
            let Some(&length) = rules.windows.get(market) else { continue };
            let unmeasured = known.windows.iter().filter(|(_, it)| it.state == WindowState::Unmeasured);
            let measured = |window: &Window| rules.measured(*window, length, WindowState::Waiting);
            all.extend(unmeasured.map(|(epoch, window)| (*market, *epoch, measured(window))));
        }
        all
    }

    /// Records the length of a window, see [`Self::measurable`]. `closed_at` is the first accepted block at its limit or after it, if
    /// there is one.
    pub fn measure(
        &mut self,
        (market, epoch, window): (ContractAddress, u64, Window),
        closed_at: Option<u64>,
    ) -> Vec<Note> {
        let windows = self.markets.get_mut(&market).map(|known| &mut known.windows);
        let Some(known) = windows.and_then(|windows| windows.get_mut(&epoch)) else { return Vec::new() };
        // Nothing for the undo log: no block did this. An undo opens a window that was closed at a dropped block.
        let state = closed_at.map_or(WindowState::Waiting, |block| WindowState::Closed { block });
        *known = Window { state, ..window };
        let mut notes = vec![Note::Measured { market, epoch, window: *known }];
        notes.extend(closed_at.map(|block| Note::Closed { market, epoch, block, by_clock: false }));
        notes
    }
}
