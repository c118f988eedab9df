//! What is known of one market, and the end of its epochs.

use std::collections::BTreeMap;

use super::{Day, Effect, Rules};
use crate::{
    chain::{ContractAddress, EpochSet, Window, WindowState},
    collector::{Arrangement, RelayCall, RewardPlan, RewardRules, Rollover},
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
    pub day: Option<Day>,
    /// The day of the epoch that was released last: a release with a later one shows a change of day.
    pub last_day: Option<u64>,
    /// The changes of day whose rewards are not due yet, by the epochs that were released first in the new day.
    pub rollovers: BTreeMap<u64, Rollover>,
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
    /// their submissions came. With `told`, the relayer is told how many batches there are, and of the rewards that are due then.
    #[must_use]
    pub fn hand_over(
        &self,
        market: ContractAddress,
        epoch: u64,
        arrangement: &Arrangement,
        submitted_at: Vec<String>,
        told: Option<&RewardRules>,
    ) -> Vec<Effect> {
        let Some(window) = self.windows.get(&epoch) else { return Vec::new() };
        let mut effects = self.end(market, epoch, *window, submitted_at);
        effects.push(Effect::Batches { market, epoch, batches: arrangement.batches.clone() });
        // Without a known day nothing is counted: a wrong day would be worse.
        let slots = arrangement.slots.clone();
        effects.extend(window.day.map(|day| Effect::SlotCounts { market, day, slots }));
        if told.is_some() {
            let call = RelayCall::BatchSize { epoch, batches: arrangement.batches.len() as u64 };
            effects.push(Effect::Relay { market, call });
        }
        self.settle_days(market, (epoch, window.day), told, &mut effects);
        effects
    }

    /// Makes rewards due with the hand-over of this epoch, which was released in this day. Changes of day that are old enough end there,
    /// also where nobody is told.
    fn settle_days(
        &self,
        market: ContractAddress,
        (epoch, day): (u64, Option<u64>),
        told: Option<&RewardRules>,
        effects: &mut Vec<Effect>,
    ) {
        let due = self.rollovers.iter().filter(|(_, rollover)| rollover.buffer_epoch <= epoch);
        let due: Vec<(u64, Rollover)> = due.map(|(epoch, rollover)| (*epoch, *rollover)).collect();
        effects.extend(due.iter().map(|&(epoch, rollover)| Effect::RolledOver { market, epoch, rollover }));
        let Some(rules) = told else { return };
        let mut plan = |plan| effects.push(Effect::Plan { market, plan });
        if let Some(day) = day.filter(|_| epoch.is_multiple_of(rules.every.get())) {
            plan(RewardPlan::Periodic { epoch, day });
        }
        let over: Vec<u64> = due.iter().map(|(_, rollover)| rollover.last_day).collect();
        over.iter().for_each(|&day| plan(RewardPlan::Final { epoch, day }));
        if let Some(last) = over.iter().max() {
            let today = day.unwrap_or(0).max(last.saturating_add(1));
            // Those that are told later have a change of day of their own.
            let changes = self.rollovers.values().map(|rollover| rollover.last_day);
            let except = changes.filter(|day| *day < today).collect();
            plan(RewardPlan::PastDays { epoch, today, except, started: None });
        }
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
