//! What is followed of a market, block by block.

/// The states of a market: each with the number of the first block that it holds for. `None`: it is not followed; else whether its
/// submitted batches go to the attestor.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    states: Vec<(u64, Option<bool>)>,
    /// Since which block it is followed: it may have been removed just before.
    since: Option<u64>,
}

impl Timeline {
    /// From this block on.
    pub fn set(&mut self, first: u64, state: Option<bool>) {
        self.since = state.map(|_| self.since.unwrap_or(first));
        self.states.retain(|(from, _)| *from < first);
        self.states.push((first, state));
    }

    /// The blocks after this one were dropped: what follows has the present state.
    pub fn fork(&mut self, number: u64) {
        self.since = self.since.map(|since| since.min(number + 1));
        if let Some((from, state)) = self.states.last().copied()
            && from > number + 1
        {
            self.set(number + 1, state);
        }
    }

    /// The state at a block.
    pub fn at(&self, number: u64) -> Option<bool> {
        self.states.iter().rev().find(|(from, _)| *from <= number).and_then(|(_, state)| *state)
    }

    /// Since which block it is followed without a break.
    pub fn first(&self) -> Option<u64> {
        self.since
    }
}
