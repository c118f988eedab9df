//! Following a chain: what accepted blocks come to, and what is taken back when some of them are dropped.
//!
//! A [`Following`] is all that is known of the chain. Accepting blocks, undoing them, closing windows by the clock and
//! finishing an epoch are functions of it and of what came; who keeps it compares and sets, so that each of these
//! happens once. Times are Unix seconds of the chain.

mod notes;
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::chain::{BlockRef, ChainEvent, ContractAddress, EpochSet, Hash, MarketEvent, Window, WindowState};
pub use notes::{Handed, Note};
pub use rules::{Old, Rules, Stretch};

/// What following a chain has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// The last accepted block; `None` before the first one.
    pub checkpoint: Option<BlockRef>,
    /// What was before the last accepted blocks, in ascending order, so that they can be undone.
    pub deeds: Vec<Deeds>,
    /// Hand-overs of dropped blocks that nobody can take back: they are not done again.
    pub kept: Vec<Handed>,
    /// The markets that are followed.
    pub markets: BTreeMap<ContractAddress, Market>,
    /// Those of them that were followed up to the checkpoint; the others are to be taken up there.
    pub followed: BTreeSet<ContractAddress>,
}

/// What is known of one market.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Market {
    /// Windows that wait, are open, or whose batches are to be prepared, by their epochs.
    pub windows: BTreeMap<u64, Window>,
    /// Epochs that are over, for good.
    pub done: EpochSet,
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<u64>,
}

/// An accepted block, and what was before it where it changed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// The block.
    pub block: BlockRef,
    /// The markets that it touched.
    pub before: Vec<Before>,
    /// What it handed to others.
    pub handed: Vec<Handed>,
}

/// What a market was before a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The market.
    pub market: ContractAddress,
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<u64>,
    /// The windows that the block changed, as they were.
    pub windows: Vec<(u64, Option<Window>)>,
}

/// What is known of a market before the first block that is accepted for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beginning {
    /// The day that it is.
    pub day: Option<u64>,
    /// The epochs whose windows another program had opened: each with the number of the block that released it, and that
    /// block's time in Unix seconds.
    pub epochs: BTreeMap<u64, (u64, u64)>,
    /// The epochs among those that were marked whose batches it had handed over.
    pub handed: BTreeSet<u64>,
}

/// Why blocks are not accepted. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The chain goes another way than the last accepted block.
    #[error(
        "block {number} stands on {parent}, the block before it was accepted with hash {accepted}: a reorganisation"
    )]
    Reorganised {
        /// The number of the block that came.
        number: u64,
        /// What it stands on.
        parent: Hash,
        /// The hash of the last accepted block.
        accepted: Hash,
    },
    /// A block is missing in between, or there is none.
    #[error("block {expected} should come next, and {found:?} came: fetch it first")]
    Gap {
        /// The number that is expected.
        expected: u64,
        /// The number that came.
        found: Option<u64>,
    },
}

/// A reorganisation reaches back further than anything that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {to} can't be returned to from block {from}: at most {depth} blocks are undone (collector.max_reorg_depth). Nothing was changed. If the nodes are on the right chain, delete the keys tracker:chain:* in Redis: the chain is then taken up anew"
)]
pub struct TooDeep {
    /// The last accepted block.
    pub from: u64,
    /// Where the chains part, or before.
    pub to: u64,
    /// How deep a reorganisation may be, in blocks.
    pub depth: u64,
}

impl Following {
    /// Accepts the blocks that come next, with their events.
    ///
    /// # Errors
    /// [`Refused`] when they do not stand on the last accepted block.
    pub fn accept(&mut self, stretch: &Stretch, rules: &Rules) -> Result<Vec<Note>, Refused> {
        self.check(stretch)?;
        let mut notes = Vec::new();
        let mut events = stretch.events.as_slice();
        for block in &stretch.blocks {
            let its = events.partition_point(|(number, _)| *number <= block.number);
            let (now, later) = events.split_at(its);
            events = later;
            let mut turn = Turn { following: self, rules, head: stretch.head_time, notes: &mut notes };
            turn.accept(*block, now);
        }
        let most = usize::try_from(rules.max_reorg_depth).unwrap_or(usize::MAX).saturating_add(1);
        let old = self.deeds.len().saturating_sub(most);
        self.deeds.drain(..old);
        let markets = &self.markets;
        self.followed.retain(|market| markets.contains_key(market));
        Ok(notes)
    }

    /// The markets that are to be taken up before the next block is accepted.
    pub fn newcomers(&self) -> impl Iterator<Item = ContractAddress> {
        self.markets.keys().filter(|market| !self.followed.contains(market)).copied()
    }

    /// Takes up a market at the checkpoint, or before the first block: where another program has left it, or after a time in
    /// which it was not followed. `head` is the time of the newest block that is known.
    pub fn take_up(
        &mut self,
        market: ContractAddress,
        beginning: &Beginning,
        head: u64,
        rules: &Rules,
    ) -> Vec<Note> {
        self.followed.insert(market);
        let known = self.markets.entry(market).or_default();
        // What was known of it may be of another day: a wrong one is worse than none.
        known.day = beginning.day;
        beginning.handed.iter().for_each(|&epoch| {
            known.windows.remove(&epoch);
            known.done.insert(epoch);
        });
        let mut notes = Vec::new();
        for (&epoch, &(block, released)) in &beginning.epochs {
            if known.windows.contains_key(&epoch) || known.done.contains(epoch) {
                continue;
            }
            let window = rules.window(market, block, released, known.open_windows(), known.day);
            if window.has_expired(head, rules.inputs_live) {
                known.done.insert(epoch);
                notes.push(Note::Expired { market, epoch });
            } else {
                known.windows.insert(epoch, window);
                notes.push(Note::TakenUp { market, epoch, window });
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
        if let Some(Old { first, parent }) = stretch.old {
            if first != expected || last.number < first || stretch.blocks.len() != 1 {
                return Err(Refused::Gap { expected, found: Some(first) });
            }
            let stands = parent == before.hash;
            return if stands {
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

    /// Takes back all accepted blocks after this one, which must be among them. What was handed over stays.
    ///
    /// # Errors
    /// [`TooDeep`] when it is further back than may be undone; nothing has changed then.
    pub fn undo_to(&mut self, number: u64, rules: &Rules) -> Result<Vec<Note>, TooDeep> {
        let depth = rules.max_reorg_depth;
        let Some(checkpoint) = self.checkpoint else { return Ok(Vec::new()) };
        let too_deep = TooDeep { from: checkpoint.number, to: number, depth };
        let at = self.deeds.iter().position(|deeds| deeds.block.number == number).ok_or(too_deep)?;
        if checkpoint.number - number > depth {
            return Err(too_deep);
        }
        let (mut notes, mut stays) = (Vec::new(), BTreeSet::new());
        for Deeds { before, handed, .. } in self.deeds.drain(at + 1..).rev() {
            for Before { market, current, day, windows } in before {
                // It may be one that is not followed any more: nothing is known of it, and nothing kept.
                let Some(known) = self.markets.get_mut(&market) else { continue };
                (known.current, known.day) = (current, day);
                for (epoch, window) in windows {
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
        // The clock had closed these at blocks that are gone: the blocks that come close them, or the clock once more.
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

    /// Closes the windows whose limit has been over for `rules.silence` at this moment of the chain without a block that
    /// would close them. Only for one who has accepted all blocks that there are.
    pub fn close_by_clock(&mut self, now: u64, rules: &Rules) -> Vec<Note> {
        let Some(checkpoint) = self.checkpoint else { return Vec::new() };
        let mut notes = Vec::new();
        let due = |window: &Window| window.limit.saturating_add(rules.silence) <= now;
        for (market, known) in &mut self.markets {
            known.close(*market, checkpoint.number, rules, due, true, &mut notes, &mut |_, _| {});
        }
        notes
    }

    /// Ends an epoch for good. Whether it was not over yet.
    pub fn finish(&mut self, market: ContractAddress, epoch: u64) -> bool {
        let known = self.markets.entry(market).or_default();
        known.windows.remove(&epoch);
        known.done.insert(epoch)
    }
}

/// More hand-overs of dropped blocks than this are not remembered.
const MOST_KEPT: usize = 1_000;

/// One block's turn.
struct Turn<'a> {
    following: &'a mut Following,
    rules: &'a Rules,
    /// The time of the newest block that is known.
    head: u64,
    notes: &'a mut Vec<Note>,
}

impl Turn<'_> {
    fn accept(&mut self, block: BlockRef, events: &[(u64, MarketEvent)]) {
        let mut deeds = Deeds { block, before: Vec::new(), handed: Vec::new() };
        for (number, event) in events {
            self.apply(*number, event, &mut deeds);
        }
        let Following { markets, .. } = &mut *self.following;
        for (market, known) in markets {
            let was = (known.current, known.day);
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
                // Also where it is done already: its block may have been dropped after that, and this one stands for it.
                known.current = known.current.max(Some(epoch));
                if known.windows.contains_key(&epoch) || known.done.contains(epoch) {
                    self.notes.push(Note::ReleasedAgain { market, epoch });
                    return;
                }
                let window =
                    self.rules.window(market, number, (*time).min(at), known.open_windows(), known.day);
                if window.has_expired(self.head, self.rules.inputs_live) {
                    known.done.insert(epoch);
                    self.notes.push(Note::Expired { market, epoch });
                    return;
                }
                before.keep(epoch, None);
                known.windows.insert(epoch, window);
                self.notes.push(Note::Released { market, epoch, window });
            }
            ChainEvent::SnapshotBatchSubmitted { epoch, batch_cid, .. } => {
                let handed = Handed { market, epoch: *epoch, batch_cid: batch_cid.clone() };
                match self.following.kept.iter().position(|kept| *kept == handed) {
                    Some(at) => {
                        self.following.kept.remove(at);
                    }
                    None => self.notes.push(Note::Submitted(handed.clone())),
                }
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

    /// Closes the windows that are due, and opens as many of those that wait.
    #[allow(clippy::too_many_arguments)] // Each is another thing, and there are two who ask.
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
    /// What a market was before this block, which is about to change it.
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
    /// Notes what a window was, unless an earlier change of the same block has.
    fn keep(&mut self, epoch: u64, window: Option<Window>) {
        if self.windows.iter().all(|(known, _)| *known != epoch) {
            self.windows.push((epoch, window));
        }
    }
}
