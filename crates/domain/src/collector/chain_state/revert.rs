//! The undoing of blocks that a reorganisation dropped.

use std::collections::BTreeSet;

use super::{Before, Deeds, Following, Note, Rules, TooDeep};
use crate::chain::WindowState;

/// The most orphaned deliveries that are remembered; the oldest are forgotten first.
const MOST_KEPT: usize = 1_000;

impl Following {
    /// Undoes all accepted blocks after the block of this number, which stays. What was handed over stays too.
    ///
    /// # Errors
    /// [`TooDeep`] when more than `rules.max_reorg_depth` blocks would be undone, or the block is not in the undo log;
    /// nothing has changed then.
    pub fn undo_to(&mut self, number: u64, rules: &Rules) -> Result<Vec<Note>, TooDeep> {
        let depth = rules.max_reorg_depth;
        let Some(checkpoint) = self.checkpoint else { return Ok(Vec::new()) };
        let too_deep = TooDeep { from: checkpoint.number, to: number, depth };
        let at = self.deeds.iter().position(|deeds| deeds.block.number == number).ok_or(too_deep)?;
        if checkpoint.number - number > depth {
            return Err(too_deep);
        }
        let (mut notes, mut stays) = (Vec::new(), BTreeSet::new());
        // The newest first: each entry restores the state before its own block.
        for Deeds { before, handed, .. } in self.deeds.drain(at + 1..).rev() {
            for Before { market, current, day, windows } in before {
                // The market may have been removed since: nothing of it is kept.
                let Some(known) = self.markets.get_mut(&market) else { continue };
                (known.current, known.day) = (current, day);
                for (epoch, window) in windows {
                    // Handed over meanwhile: the finalizers have the batches, so the epoch stays finished. It is
                    // reported once, if the block released it (no window before) or closed its window (open before).
                    if known.done.contains(epoch) {
                        let made_of_it = window.is_none_or(|window| window.state == WindowState::Open);
                        if made_of_it && stays.insert((market, epoch)) {
                            notes.push(Note::StaysHandedOver { market, epoch });
                        }
                        continue;
                    }
                    match window {
                        Some(window) => known.windows.insert(epoch, window),
                        None => known.windows.remove(&epoch),
                    };
                }
            }
            notes.extend(handed.iter().cloned().map(Note::StaysSubmitted));
            self.kept.extend(handed);
        }
        // The undo log has no entry for what the clock closed. Windows that it closed at a dropped block open again,
        // and a new block or the clock closes them.
        for window in self.markets.values_mut().flat_map(|known| known.windows.values_mut()) {
            if matches!(window.state, WindowState::Closed { block } if block > number) {
                window.state = WindowState::Open;
            }
        }
        let many = self.kept.len().saturating_sub(MOST_KEPT);
        self.kept.drain(..many);
        self.checkpoint = self.deeds.last().map(|deeds| deeds.block);
        Ok(notes)
    }
}
