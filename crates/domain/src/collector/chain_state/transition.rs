//! Transitions. Every part of the state that may be changed is changed here, so that nothing is changed without its effect.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    ChainState, Day, Effect, Market, MarketBefore, Note, Rules, SubmittedBatch, UndoEntry, day::Calendar,
};
use crate::{
    chain::{BlockRef, ContractAddress, Window},
    collector::Rollover,
};

/// A transition of the chain state. Its effects are written in one step, or none of them is: until then nothing has happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transition {
    /// The state after it.
    pub state: ChainState,
    /// What has to be written, in this order.
    pub effects: Vec<Effect>,
    /// What is reported once it is written.
    pub notes: Vec<Note>,
}

impl Transition {
    /// Both transitions as one; the second one begins with the state after this one.
    ///
    /// # Errors
    /// Those of the second one.
    pub fn then<E>(self, next: impl FnOnce(ChainState) -> Result<Self, E>) -> Result<Self, E> {
        let Self { state, mut effects, mut notes } = self;
        let next = next(state)?;
        effects.extend(next.effects);
        notes.extend(next.notes);
        Ok(Self { state: next.state, effects, notes })
    }
}

/// A transition under way: the state, and what was changed of it.
pub(super) struct Change {
    state: ChainState,
    /// The markets that were changed, as they were before the transition.
    before: BTreeMap<ContractAddress, MarketBefore>,
    /// The markets whose finished epochs were changed.
    done: BTreeSet<ContractAddress>,
    /// The entry of the undo log for the block that is being accepted: what blocks change is noted there too.
    pub(super) entry: Option<UndoEntry>,
    checkpoint: Option<BlockRef>,
    calendar: Calendar,
    has_orphaned: bool,
    effects: Vec<Effect>,
    pub(super) notes: Vec<Note>,
}

impl Change {
    pub(super) fn new(state: ChainState) -> Self {
        Self {
            checkpoint: state.checkpoint,
            state,
            before: BTreeMap::new(),
            done: BTreeSet::new(),
            entry: None,
            calendar: Calendar::default(),
            has_orphaned: false,
            effects: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// At this time of Redis: by it the end of a day is told.
    pub(super) fn at(state: ChainState, redis: u64, rules: &Rules) -> Self {
        let calendar = Calendar { redis, lengths: rules.day_lengths.clone() };
        Self { calendar, ..Self::new(state) }
    }

    /// The length of a market's day has become known, in seconds.
    pub(super) fn know_day_length(&mut self, market: ContractAddress, seconds: u64) {
        self.calendar.lengths.insert(market, seconds);
    }

    pub(super) fn state(&self) -> &ChainState {
        &self.state
    }

    /// The market, if it is known.
    pub(super) fn market(&self, market: ContractAddress) -> Option<&Market> {
        self.state.markets.get(&market)
    }

    /// The market, to be changed in other parts than its windows; it is noted as it was.
    fn changed(&mut self, market: ContractAddress) -> Option<&mut Market> {
        let known = self.state.markets.get_mut(&market)?;
        let (current, day, last_day) = (known.current, known.day, known.last_day);
        let before = MarketBefore { current, day, last_day, ..MarketBefore::default() };
        self.before.entry(market).or_insert_with(|| before.clone());
        if let Some(entry) = &mut self.entry {
            entry.before.entry(market).or_insert(before);
        }
        Some(known)
    }

    pub(super) fn set_current(&mut self, market: ContractAddress, epoch: Option<u64>) {
        if let Some(known) = self.changed(market) {
            known.current = epoch;
        }
    }

    pub(super) fn set_day(&mut self, market: ContractAddress, day: Option<Day>) {
        if let Some(known) = self.changed(market) {
            known.day = day;
        }
    }

    pub(super) fn set_last_day(&mut self, market: ContractAddress, day: Option<u64>) {
        if let Some(known) = self.changed(market) {
            known.last_day = day;
        }
    }

    /// Sets a change of day, or removes it.
    pub(super) fn set_rollover(&mut self, market: ContractAddress, epoch: u64, rollover: Option<Rollover>) {
        let Some(known) = self.changed(market) else { return };
        let was = match rollover {
            Some(rollover) => known.rollovers.insert(epoch, rollover),
            None => known.rollovers.remove(&epoch),
        };
        self.note_before(market, |before| {
            before.rollovers.entry(epoch).or_insert(was);
        });
    }

    /// Sets a window, or removes it.
    pub(super) fn set_window(&mut self, market: ContractAddress, epoch: u64, window: Option<Window>) {
        let Some(known) = self.changed(market) else { return };
        let was = match window {
            Some(window) => known.windows.insert(epoch, window),
            None => known.windows.remove(&epoch),
        };
        self.note_before(market, |before| {
            before.windows.entry(epoch).or_insert(was);
        });
    }

    /// Notes how a part of a market was, in the transition and for the block. Only the first change knows that.
    fn note_before(&mut self, market: ContractAddress, note: impl Fn(&mut MarketBefore)) {
        let entry = self.entry.as_mut().map(|entry| &mut entry.before);
        for before in [Some(&mut self.before), entry].into_iter().flatten() {
            before.get_mut(&market).into_iter().for_each(&note);
        }
    }

    /// Ends an epoch without batches. No undo entry: its submissions are gone on every branch, so the epoch stays finished.
    pub(super) fn finish(&mut self, market: ContractAddress, epoch: u64) {
        let entry = self.entry.take();
        self.set_window(market, epoch, None);
        self.entry = entry;
        if let Some(known) = self.state.markets.get_mut(&market)
            && known.done.insert(epoch)
        {
            self.done.insert(market);
        }
    }

    /// Adds a market, if it is not known.
    pub(super) fn add_market(&mut self, market: ContractAddress) {
        self.state.markets.entry(market).or_default();
    }

    /// Accepts a block, with its entry of the undo log.
    pub(super) fn accept(&mut self, entry: UndoEntry) {
        self.state.checkpoint = Some(entry.block);
        self.state.undo_log.push(entry);
    }

    /// Drops the blocks of the undo log from this place on: returns their entries, the newest first.
    pub(super) fn drop_blocks(&mut self, from: usize) -> Vec<UndoEntry> {
        let dropped: Vec<_> = self.state.undo_log.drain(from..).rev().collect();
        self.effects.extend(dropped.iter().map(|entry| Effect::Dropped(entry.block.number)));
        self.state.checkpoint = self.state.undo_log.last().map(|entry| entry.block);
        dropped
    }

    /// Changes the orphaned deliveries.
    pub(super) fn orphaned(&mut self) -> &mut Vec<SubmittedBatch> {
        self.has_orphaned = true;
        &mut self.state.orphaned
    }

    /// Keeps the last `most` entries of the undo log, of which the first `known` were there before the transition.
    pub(super) fn shorten_undo_log(&mut self, most: usize, known: usize) {
        let surplus = self.state.undo_log.len().saturating_sub(most);
        let gone = self.state.undo_log.drain(..surplus).take(known);
        self.effects.extend(gone.map(|entry| Effect::Unlogged(entry.block.number)));
        let new = self.state.undo_log.iter().skip(known.saturating_sub(surplus));
        self.effects.extend(new.cloned().map(Effect::Logged));
    }

    /// Removes from the undo log how a market was: if it is followed again, a reorganisation must bring nothing of it back.
    pub(super) fn forget(&mut self, market: ContractAddress) {
        for entry in &mut self.state.undo_log {
            if entry.before.remove(&market).is_some() {
                self.effects.push(Effect::Logged(entry.clone()));
            }
        }
    }

    /// Adds an effect on something that is not in the state.
    pub(super) fn add(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// The transition, with the effects on the parts that differ.
    pub(super) fn end(mut self) -> Transition {
        let (state, effects) = (&self.state, &mut self.effects);
        for (market, before) in self.before {
            let Some(now) = state.markets.get(&market) else { continue };
            for (epoch, was) in before.windows {
                let window = now.windows.get(&epoch).copied();
                if window != was {
                    let was_marked = was.is_some_and(|was| was.is_marked());
                    effects.push(Effect::Window { market, epoch, window, was_marked });
                }
            }
            if now.current != before.current {
                effects.push(Effect::Current { market, epoch: now.current });
            }
            for (epoch, was) in before.rollovers {
                let rollover = now.rollovers.get(&epoch).copied();
                if rollover != was {
                    effects.push(Effect::Rollover { market, epoch, rollover });
                }
            }
            if (now.day, now.last_day) != (before.day, before.last_day) {
                let lives = now.day.and_then(|day| self.calendar.lives(market, day));
                effects.push(Effect::Day { market, day: now.day, last_day: now.last_day, lives });
            }
        }
        for market in self.done {
            let done = state.markets.get(&market).map(|known| known.done.clone());
            effects.extend(done.map(|done| Effect::Done { market, done }));
        }
        if self.has_orphaned {
            effects.push(Effect::Orphaned(state.orphaned.clone()));
        }
        if let Some(checkpoint) = state.checkpoint.filter(|_| state.checkpoint != self.checkpoint) {
            effects.push(Effect::Checkpoint(checkpoint));
        }
        Transition { state: self.state, effects: self.effects, notes: self.notes }
    }
}
