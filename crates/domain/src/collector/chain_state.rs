//! The chain state, and how accepted blocks, dropped blocks and the clock change it.
//!
//! A [`Following`] is the chain state: everything known of a chain. Accepting blocks, undoing them, closing windows by
//! the clock and finishing an epoch change it in memory. The store writes the result by compare-and-set, so each of
//! these happens once. Times are Unix seconds of the chain.

mod measure;
mod notes;
mod rules;
#[cfg(test)]
mod tests;
mod undo;
mod undo_log;

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{BlockRef, ChainEvent, ContractAddress, EpochSet, Hash, MarketEvent, Window, WindowState};
pub use notes::{Handed, Note};
pub use rules::{AtRelease, Clocks, Followed, Old, Releases, Rules, Stretch};
pub use undo_log::{Before, Deeds, TooDeep};

/// The chain state: everything known of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Following {
    /// The last accepted block; `None` before the first one.
    pub checkpoint: Option<BlockRef>,
    /// The undo log: what each of the last accepted blocks changed, in ascending order.
    pub deeds: Vec<Deeds>,
    /// Orphaned deliveries: batches of dropped blocks that the attestor has. They are not delivered again.
    pub kept: Vec<Handed>,
    /// The markets of this tracker and of all others on the same chain state. Each tracker applies the events of all of them: a block
    /// is accepted once, by whichever tracker comes first.
    pub markets: BTreeMap<ContractAddress, Market>,
    /// The markets that are followed up to the checkpoint; the others are taken over there. A market stays until it is removed.
    pub followed: BTreeMap<ContractAddress, Followed>,
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
            let mut step = BlockStep { following: self, rules, stretch, notes: &mut notes };
            step.accept(*block, now);
        }
        self.give_up_abandoned(stretch.now.redis, rules, &mut notes);
        // One entry more than the depth: undoing that many blocks ends at the block before them, whose entry must be
        // there too.
        let most = usize::try_from(rules.max_reorg_depth).unwrap_or(usize::MAX).saturating_add(1);
        let old = self.deeds.len().saturating_sub(most);
        self.deeds.drain(..old);
        Ok(notes)
    }

    /// The markets and blocks of the releases in a segment whose windows will be opened: what the contracts said there is needed.
    #[must_use]
    pub fn releases(&self, stretch: &Stretch, rules: &Rules) -> Vec<(ContractAddress, u64)> {
        let opens = |(number, event): &(u64, MarketEvent)| {
            let ChainEvent::EpochReleased { epoch, time, .. } = event.event else { return None };
            let known = self.markets.get(&event.market)?;
            let is_known = known.windows.contains_key(&epoch) || known.done.contains(epoch);
            (!is_known && !rules.is_past(time, stretch.now)).then_some((event.market, *number))
        };
        let mut all: Vec<_> = stretch.events.iter().filter_map(opens).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Ends the epochs whose windows nobody will use any more.
    fn give_up_abandoned(&mut self, redis: u64, rules: &Rules, notes: &mut Vec<Note>) {
        for (&market, known) in &mut self.markets {
            let Market { windows, done, .. } = known;
            // No undo entry: the submissions are gone on every branch, so the epoch stays finished.
            windows.retain(|&epoch, window| {
                let is_kept = !rules.is_abandoned(window, redis);
                if !is_kept {
                    done.insert(epoch);
                    notes.push(match window.state {
                        WindowState::Unmeasured => Note::Expired { market, epoch },
                        _ => Note::Abandoned { market, epoch },
                    });
                }
                is_kept
            });
        }
    }

    /// The markets that must be taken over before the next block is accepted.
    pub fn newcomers(&self) -> impl Iterator<Item = ContractAddress> {
        self.markets.keys().filter(|market| !self.followed.contains_key(market)).copied()
    }

    /// Takes a market over at the checkpoint, or before the first block: from a predecessor, or after a time in which
    /// it was not followed.
    pub fn take_up(
        &mut self,
        market: ContractAddress,
        beginning: &Beginning,
        releases: &Releases,
        now: Clocks,
        rules: &Rules,
    ) -> Vec<Note> {
        self.followed.insert(market, rules.followed);
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
            let at = rules.at_release(releases, market, release.0, known.day);
            match rules.window(at, release, known.open_windows(), now) {
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

    /// Sets what is wanted for these markets, as far as they are followed; returns whether that changed something.
    pub fn want(&mut self, markets: &[ContractAddress], rules: &Rules) -> bool {
        let before = self.followed.clone();
        let own = self.followed.iter_mut().filter(|(market, _)| markets.contains(market));
        own.for_each(|(_, followed)| *followed = rules.followed);
        self.followed != before
    }

    /// Removes a market with its windows. Its finished epochs stay, so that none is handed over again if it is followed once more.
    /// Returns whether it was followed.
    pub fn remove(&mut self, market: ContractAddress) -> bool {
        if let Some(known) = self.markets.get_mut(&market) {
            *known = Market { done: std::mem::take(&mut known.done), ..Market::default() };
        }
        self.followed.remove(&market).is_some()
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
        self.give_up_abandoned(redis, rules, &mut notes);
        notes
    }
}

/// The acceptance of one block.
struct BlockStep<'a> {
    following: &'a mut Following,
    rules: &'a Rules,
    /// The segment of the block.
    stretch: &'a Stretch,
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
                let at = self.rules.at_release(&self.stretch.releases, market, number, known.day);
                known.day = at.day;
                let window = self.rules.window(at, release, known.open_windows(), self.stretch.now);
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
