//! What is known of one market, and the end of its epochs.

use std::collections::BTreeMap;

use super::{Effect, Rules};
use crate::{
    chain::{ContractAddress, EpochSet, Window, WindowState},
    collector::{Arrangement, RelayCall},
};

/// What is known of one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Market {
    /// Waiting, open and closed windows, by their epochs.
    pub windows: BTreeMap<u64, Window>,
    /// Finished epochs: handed over, given up or expired. No epoch ever leaves the set.
    pub done: EpochSet,
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<u64>,
}

impl Market {
    /// The epochs whose batches are due, with their windows, in the order of their releases.
    #[must_use]
    pub fn closed(&self) -> Vec<(u64, Window)> {
        let is_closed = |window: &Window| matches!(window.state, WindowState::Closed { .. });
        let mut closed: Vec<_> =
            self.windows.iter().filter(|(_, it)| is_closed(it)).map(|(epoch, it)| (*epoch, *it)).collect();
        closed.sort_unstable_by_key(|(epoch, window)| (window.release_block, *epoch));
        closed
    }

    /// Hands the batches of an epoch over, and ends it; none if it has no window. `submitted_at` are the hashes of the blocks at which
    /// their submissions came. With `tells_relayer`, the relayer is told how many batches there are.
    #[must_use]
    pub fn hand_over(
        &self,
        market: ContractAddress,
        epoch: u64,
        arrangement: &Arrangement,
        submitted_at: Vec<String>,
        tells_relayer: bool,
    ) -> Vec<Effect> {
        let Some(window) = self.windows.get(&epoch) else { return Vec::new() };
        let mut effects = self.end(market, epoch, *window, submitted_at);
        effects.push(Effect::Batches { market, epoch, batches: arrangement.batches.clone() });
        // Without a known day nothing is counted: a wrong day would be worse.
        let slots = arrangement.slots.clone();
        effects.extend(window.day.map(|day| Effect::SlotCounts { market, day, slots }));
        if tells_relayer {
            let call = RelayCall::BatchSize { epoch, batches: arrangement.batches.len() as u64 };
            effects.push(Effect::Relay { market, call });
        }
        effects
    }

    /// Ends an epoch that gets no batches: its submissions have expired, or others have handed it over. None if it has no window.
    #[must_use]
    pub fn give_up(&self, market: ContractAddress, epoch: u64) -> Vec<Effect> {
        let window = self.windows.get(&epoch);
        window.map(|window| self.end(market, epoch, *window, Vec::new())).unwrap_or_default()
    }

    fn end(
        &self,
        market: ContractAddress,
        epoch: u64,
        window: Window,
        submitted_at: Vec<String>,
    ) -> Vec<Effect> {
        let mut done = self.done.clone();
        done.insert(epoch);
        vec![Effect::Ended { market, epoch, window, submitted_at }, Effect::Done { market, done }]
    }

    /// Whether an epoch was released before.
    pub(super) fn knows(&self, epoch: u64) -> bool {
        self.windows.contains_key(&epoch) || self.done.contains(epoch)
    }

    /// How many of its windows are open.
    pub(super) fn open_windows(&self) -> usize {
        self.windows.values().filter(|window| window.state == WindowState::Open).count()
    }

    /// How many of its windows are open, or wait for that: a new one waits behind them, also where a reorganisation has made room.
    pub(super) fn ahead(&self) -> usize {
        let is_ahead = |window: &&Window| matches!(window.state, WindowState::Open | WindowState::Waiting);
        self.windows.values().filter(is_ahead).count()
    }

    /// The waiting windows that may open.
    pub(super) fn next_to_open(&self, rules: &Rules) -> Vec<(u64, Window)> {
        let is_waiting = |window: &Window| window.state == WindowState::Waiting;
        let mut waiting: Vec<_> =
            self.windows.iter().filter(|(_, it)| is_waiting(it)).map(|(epoch, it)| (*epoch, *it)).collect();
        // In the order of release, so that no window waits for ever.
        waiting.sort_unstable_by_key(|(epoch, window)| (window.release_block, *epoch));
        waiting.truncate(rules.max_windows.saturating_sub(self.open_windows()));
        waiting
    }
}
