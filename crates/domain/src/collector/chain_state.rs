//! The chain state, and how accepted blocks, dropped blocks and the clock change it.
//!
//! A [`Following`] is the chain state: everything known of a chain. Accepting blocks, undoing them, closing windows by
//! the clock and finishing an epoch change it in memory. The store writes the result by compare-and-set, so each of
//! these happens once. Times are Unix seconds of the chain.

mod notes;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::chain::{BlockRef, ChainEvent, ContractAddress, EpochSet, Hash, MarketEvent, Window, WindowState};
pub use notes::{Handed, Note};
pub use rules::{Clocks, Old, Rules, Stretch};

/// The chain state: everything known of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// The last accepted block; `None` before the first one.
    pub checkpoint: Option<BlockRef>,
    /// The undo log: what each of the last accepted blocks changed, in ascending order.
    pub deeds: Vec<Deeds>,
    /// Orphaned deliveries: batches of dropped blocks that the attestor has. They are not delivered again.
    pub kept: Vec<Handed>,
    /// The markets that are followed.
    pub markets: BTreeMap<ContractAddress, Market>,
    /// The markets that are followed up to the checkpoint; the others are taken over there.
    pub followed: BTreeSet<ContractAddress>,
}

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

/// An entry of the undo log: an accepted block, and the state before it of what it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// The block.
    pub block: BlockRef,
    /// The markets that it changed, as they were.
    pub before: Vec<Before>,
    /// The batches that it delivered to the attestor.
    pub handed: Vec<Handed>,
}

/// The state of a market before a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The market.
    pub market: ContractAddress,
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<u64>,
    /// The windows that the block changed, as they were; `None` for one that it opened.
    pub windows: Vec<(u64, Option<Window>)>,
}

/// What a take-over knows of a market before the first block is accepted for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The current day.
    pub day: Option<u64>,
    /// The epochs whose windows a predecessor opened: each with the number of its release block, and that block's time
    /// in Unix seconds.
    pub epochs: BTreeMap<u64, (u64, u64)>,
    /// The marked epochs whose batches the predecessor handed over.
    pub handed: BTreeSet<u64>,
}

/// Why blocks are not accepted. The state is unchanged then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The first block is not a child of the last accepted one.
    #[error("block {number}: its parent is {parent}, and the accepted block before it is {accepted}")]
    Reorganised {
        /// The number of the block.
        number: u64,
        /// The hash of its parent.
        parent: Hash,
        /// The hash of the last accepted block.
        accepted: Hash,
    },
    /// A block is missing in between, or no block was given.
    #[error("block {expected} is missing: {}", found.map_or("no block came".to_owned(), |found| format!("block {found} came")))]
    Gap {
        /// The number that is expected.
        expected: u64,
        /// The number that was found.
        found: Option<u64>,
    },
}

/// A reorganisation reaches back further than anything that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot roll back from block {from} to block {to}: at most {depth} blocks can be undone")]
pub struct TooDeep {
    /// The last accepted block.
    pub from: u64,
    /// Where the chains part, or before.
    pub to: u64,
    /// How deep a reorganisation may be, in blocks.
    pub depth: u64,
}

impl Following {
    /// Accepts the next blocks with their events.
    ///
    /// # Errors
    /// [`Refused`] when they do not follow the last accepted block.
    pub fn accept(&mut self, stretch: &Stretch, rules: &Rules) -> Result<Vec<Note>, Refused> {
        self.check(stretch)?;
        let mut notes = Vec::new();
        let mut events = stretch.events.as_slice();
        for block in &stretch.blocks {
            // An events-only segment has one block, its last: it takes the events of all of them.
            let its = events.partition_point(|(number, _)| *number <= block.number);
            let (now, later) = events.split_at(its);
            events = later;
            let mut step = BlockStep { following: self, rules, now: stretch.now, notes: &mut notes };
            step.accept(*block, now);
        }
        // One entry more than the depth: undoing that many blocks ends at the block before them, whose entry must be
        // there too.
        let most = usize::try_from(rules.max_reorg_depth).unwrap_or(usize::MAX).saturating_add(1);
        let old = self.deeds.len().saturating_sub(most);
        self.deeds.drain(..old);
        // A market that is removed and added again must be taken over: its events in between were not applied.
        let markets = &self.markets;
        self.followed.retain(|market| markets.contains_key(market));
        Ok(notes)
    }

    /// The markets that must be taken over before the next block is accepted.
    pub fn newcomers(&self) -> impl Iterator<Item = ContractAddress> {
        self.markets.keys().filter(|market| !self.followed.contains(market)).copied()
    }

    /// Takes a market over at the checkpoint, or before the first block: from a predecessor, or after a time in which
    /// it was not followed.
    pub fn take_up(
        &mut self,
        market: ContractAddress,
        beginning: &Beginning,
        now: Clocks,
        rules: &Rules,
    ) -> Vec<Note> {
        self.followed.insert(market);
        let known = self.markets.entry(market).or_default();
        // The day known so far may be over, and slots counted under a wrong day are worse than slots not counted.
        known.day = beginning.day;
        // The predecessor handed these over: a window left here would be prepared again.
        beginning.handed.iter().for_each(|&epoch| {
            known.windows.remove(&epoch);
            known.done.insert(epoch);
        });
        let mut notes = Vec::new();
        for (&epoch, &release) in &beginning.epochs {
            if known.windows.contains_key(&epoch) || known.done.contains(epoch) {
                continue;
            }
            match rules.window(market, release, known.open_windows(), known.day, now) {
                None => {
                    known.done.insert(epoch);
                    notes.push(Note::Expired { market, epoch });
                }
                Some(window) => {
                    known.windows.insert(epoch, window);
                    notes.push(Note::TakenUp { market, epoch, window });
                }
            }
        }
        notes
    }

    fn check(&self, stretch: &Stretch) -> Result<(), Refused> {
        let Some(mut before) = self.checkpoint else {
            return match stretch.blocks.is_empty() {
                true => Err(Refused::Gap { expected: 0, found: None }),
                false => Ok(()),
            };
        };
        let expected = before.number + 1;
        let Some(&last) = stretch.blocks.last() else { return Err(Refused::Gap { expected, found: None }) };
        // Of an events-only segment only the first parent can be compared: the hashes in between are not known.
        if let Some(Old { first, parent }) = stretch.old {
            if first != expected || last.number < first || stretch.blocks.len() != 1 {
                return Err(Refused::Gap { expected, found: Some(first) });
            }
            return if parent == before.hash {
                Ok(())
            } else {
                Err(Refused::Reorganised { number: first, parent, accepted: before.hash })
            };
        }
        for &block in &stretch.blocks {
            let expected = before.number + 1;
            if block.number != expected {
                return Err(Refused::Gap { expected, found: Some(block.number) });
            }
            if block.parent != before.hash {
                let (number, parent, accepted) = (block.number, block.parent, before.hash);
                return Err(Refused::Reorganised { number, parent, accepted });
            }
            before = block;
        }
        Ok(())
    }

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

    /// Closes the windows whose limit passed at least `rules.silence` seconds before the chain's time without a block that closed
    /// them. `chain` is that time in Unix seconds, if the last accepted block is the chain's newest one: else a block that counts may
    /// be missing, or was dropped. Then only those windows are closed whose submissions are about to expire at `redis`, the time of
    /// Redis: their batches would be lost.
    pub fn close_by_clock(&mut self, chain: Option<u64>, redis: u64, rules: &Rules) -> Vec<Note> {
        let Some(checkpoint) = self.checkpoint else { return Vec::new() };
        let mut notes = Vec::new();
        let is_over =
            |window: &Window| chain.is_some_and(|now| window.limit.saturating_add(rules.silence) <= now);
        let due = |window: &Window| is_over(window) || rules.is_last_call(window, redis);
        for (market, known) in &mut self.markets {
            // Nothing for the undo log: no block did this, see `undo_to`.
            known.close(*market, checkpoint.number, rules, due, true, &mut notes, &mut |_, _| {});
        }
        notes
    }
}

/// The most orphaned deliveries that are remembered; the oldest are forgotten first.
const MOST_KEPT: usize = 1_000;

/// The acceptance of one block.
struct BlockStep<'a> {
    following: &'a mut Following,
    rules: &'a Rules,
    now: Clocks,
    notes: &'a mut Vec<Note>,
}

impl BlockStep<'_> {
    fn accept(&mut self, block: BlockRef, events: &[(u64, MarketEvent)]) {
        let mut deeds = Deeds { block, before: Vec::new(), handed: Vec::new() };
        for (number, event) in events {
            self.apply(*number, event, &mut deeds);
        }
        // After the events, so that a release whose limit has already passed opens and closes with one block.
        let Following { markets, .. } = &mut *self.following;
        for (market, known) in markets {
            let was = (known.current, known.day);
            // `was` may include this block's events; then `of` already has the state from before them, and keeps it.
            let mut keep = |epoch, window| deeds.of(*market, was).keep(epoch, window);
            let due = |window: &Window| window.limit <= block.time;
            known.close(*market, block.number, self.rules, due, false, self.notes, &mut keep);
        }
        self.following.deeds.push(deeds);
        self.following.checkpoint = Some(block);
    }

    fn apply(&mut self, number: u64, event: &MarketEvent, deeds: &mut Deeds) {
        let MarketEvent { market, event: what, .. } = event;
        let Some(known) = self.following.markets.get_mut(market) else { return };
        let market = *market;
        let at = deeds.block.time;
        let before = deeds.of(market, (known.current, known.day));
        match what {
            ChainEvent::EpochReleased { epoch, time, .. } => {
                let epoch = *epoch;
                // Also for a finished epoch: its first release may have been dropped, and this one replaces it.
                known.current = known.current.max(Some(epoch));
                if known.windows.contains_key(&epoch) || known.done.contains(epoch) {
                    self.notes.push(Note::ReleasedAgain { market, epoch });
                    return;
                }
                // The limit counts from the event's own time, but not from one after its block: no window may stay
                // open longer than its length.
                let release = (number, (*time).min(at));
                let window = self.rules.window(market, release, known.open_windows(), known.day, self.now);
                // No undo entry: the submissions are gone on every branch, so the epoch stays finished.
                let Some(window) = window else {
                    known.done.insert(epoch);
                    self.notes.push(Note::Expired { market, epoch });
                    return;
                };
                before.keep(epoch, None);
                known.windows.insert(epoch, window);
                self.notes.push(Note::Released { market, epoch, window });
            }
            ChainEvent::SnapshotBatchSubmitted { epoch, batch_cid, .. } => {
                let handed = Handed { market, epoch: *epoch, batch_cid: batch_cid.clone() };
                // The attestor has this batch from a dropped block: it is not delivered twice.
                match self.following.kept.iter().position(|kept| *kept == handed) {
                    Some(at) => {
                        self.following.kept.remove(at);
                    }
                    None => self.notes.push(Note::Submitted(handed.clone())),
                }
                // In either case, so that the next reorganisation keeps it as an orphan again.
                deeds.handed.push(handed);
            }
            other => {
                if let ChainEvent::DayStarted { day, .. } = other {
                    known.day = Some(*day);
                }
                self.notes.push(Note::Other { block: number, event: event.clone() });
            }
        }
    }
}

impl Market {
    /// How many of its windows are open.
    fn open_windows(&self) -> usize {
        self.windows.values().filter(|window| window.state == WindowState::Open).count()
    }

    /// Closes the windows that are due, and opens waiting ones in their place.
    #[allow(clippy::too_many_arguments)] // Seven unlike things for two callers: a struct would only rename them.
    fn close(
        &mut self,
        market: ContractAddress,
        block: u64,
        rules: &Rules,
        is_due: impl Fn(&Window) -> bool,
        by_clock: bool,
        notes: &mut Vec<Note>,
        keep: &mut impl FnMut(u64, Option<Window>),
    ) {
        loop {
            // Again after each opening: a window that waited may be past its limit, and closes at once.
            let mut open = 0;
            for (&epoch, window) in self.windows.iter_mut().filter(|(_, it)| it.state == WindowState::Open) {
                if is_due(window) {
                    keep(epoch, Some(*window));
                    window.state = WindowState::Closed { block };
                    notes.push(Note::Closed { market, epoch, block, by_clock });
                } else {
                    open += 1;
                }
            }
            let mut waiting: Vec<(u64, u64)> = self
                .windows
                .iter()
                .filter(|(_, window)| window.state == WindowState::Waiting)
                .map(|(epoch, window)| (window.release_block, *epoch))
                .collect();
            // In the order of release, so that no window waits for ever.
            waiting.sort_unstable();
            waiting.truncate(rules.max_windows.saturating_sub(open));
            if waiting.is_empty() {
                return;
            }
            for (_, epoch) in waiting {
                if let Some(window) = self.windows.get_mut(&epoch) {
                    keep(epoch, Some(*window));
                    window.state = WindowState::Open;
                }
            }
        }
    }
}

impl Deeds {
    /// The record of a market before this block; made before the block's first change of it.
    fn of(&mut self, market: ContractAddress, (current, day): (Option<u64>, Option<u64>)) -> &mut Before {
        let at = self.before.iter().position(|before| before.market == market);
        let at = at.unwrap_or_else(|| {
            self.before.push(Before { market, current, day, windows: Vec::new() });
            self.before.len() - 1
        });
        &mut self.before[at]
    }
}

impl Before {
    /// Records a window as it was, unless an earlier change of the same block has recorded it.
    fn keep(&mut self, epoch: u64, window: Option<Window>) {
        if self.windows.iter().all(|(known, _)| *known != epoch) {
            self.windows.push((epoch, window));
        }
    }
}
