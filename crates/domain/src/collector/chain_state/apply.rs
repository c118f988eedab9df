//! The acceptance of blocks with their events.

use super::{
    ChainState, Clocks, Effect, FinalizedBatch, Note, Refused, Rules, Segment, SubmittedBatch, Transition,
    UndoEntry, rules::EPOCHS, segment::EventsOnly, transition::Change,
};
use crate::chain::{BlockRef, ChainEvent, ContractAddress, MarketEvent, Window};

impl ChainState {
    /// Accepts the next blocks with their events.
    ///
    /// # Errors
    /// [`Refused`] when they do not follow the last accepted block.
    pub fn apply(self, segment: &Segment, rules: &Rules) -> Result<Transition, Refused> {
        self.check(segment)?;
        let known = self.undo_log.len();
        let mut step = Step { change: Change::at(self, segment.now.redis, rules), rules, segment };
        let mut events = segment.events.as_slice();
        for block in &segment.blocks {
            // An events-only segment has one block, its last: it takes the events of all of them.
            let its = events.partition_point(|(number, _)| *number <= block.number);
            let (now, later) = events.split_at(its);
            events = later;
            step.accept(*block, now);
        }
        let mut change = step.change;
        change.give_up_abandoned(segment.now.redis, rules);
        // One entry more than the depth: undoing that many blocks ends at the block before them, whose entry must be
        // there too.
        let most = usize::try_from(rules.max_reorg_depth).unwrap_or(usize::MAX).saturating_add(1);
        change.shorten_undo_log(most, known);
        if segment.events_only.is_none() {
            segment.blocks.iter().for_each(|block| change.add(Effect::BlockHash(*block)));
        }
        Ok(change.end())
    }

    /// The markets and blocks of the releases in a segment whose windows will be opened: what the contracts said there is needed.
    #[must_use]
    pub fn releases(&self, segment: &Segment, rules: &Rules) -> Vec<(ContractAddress, u64)> {
        let opens = |(number, event): &(u64, MarketEvent)| {
            let ChainEvent::EpochReleased { epoch, time, .. } = event.event else { return None };
            let known = self.markets.get(&event.market)?;
            let opens = !known.knows(epoch) && EPOCHS.has(epoch, known.current);
            (opens && !rules.is_past(time, segment.now)).then_some((event.market, *number))
        };
        let mut all: Vec<_> = segment.events.iter().filter_map(opens).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn check(&self, segment: &Segment) -> Result<(), Refused> {
        let Some(mut before) = self.checkpoint else {
            return match segment.blocks.is_empty() {
                true => Err(Refused::Gap { expected: 0, found: None }),
                false => Ok(()),
            };
        };
        let expected = before.number + 1;
        let Some(&last) = segment.blocks.last() else { return Err(Refused::Gap { expected, found: None }) };
        // Of an events-only segment only the first parent can be compared: the hashes in between are not known.
        if let Some(EventsOnly { first, parent }) = segment.events_only {
            if first != expected || last.number < first || segment.blocks.len() != 1 {
                return Err(Refused::Gap { expected, found: Some(first) });
            }
            return if parent == before.hash {
                Ok(())
            } else {
                Err(Refused::Reorganised { number: first, parent, accepted: before.hash })
            };
        }
        for &block in &segment.blocks {
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
}

/// The acceptance of one block after the other.
struct Step<'a> {
    change: Change,
    rules: &'a Rules,
    segment: &'a Segment,
}

impl Step<'_> {
    fn accept(&mut self, block: BlockRef, events: &[(u64, MarketEvent)]) {
        self.change.entry = Some(UndoEntry::new(block));
        for (number, event) in events {
            self.apply(*number, event, block.time);
        }
        // After the events, so that a release whose limit has already passed opens and closes with one block.
        let due = |window: &Window| window.limit <= block.time;
        self.change.close(block.number, self.rules, due, false);
        if let Some(entry) = self.change.entry.take() {
            self.change.accept(entry);
        }
    }

    fn apply(&mut self, number: u64, event: &MarketEvent, block_time: u64) {
        let MarketEvent { market, event: what, .. } = event;
        let market = *market;
        if self.change.market(market).is_none() {
            return;
        }
        match what {
            // The limit counts from the event's own time, but not from one after its block: no window may stay open longer than its
            // length.
            ChainEvent::EpochReleased { epoch, time, .. } => {
                self.release(market, *epoch, (number, (*time).min(block_time)), self.segment.now);
            }
            ChainEvent::SnapshotBatchSubmitted { epoch, batch_cid, .. } => {
                self.submit(SubmittedBatch { market, epoch: *epoch, batch_cid: batch_cid.clone() });
            }
            // The submissions of old blocks are gone, so nobody asks for their batches: a backfill of years would fill Redis with them.
            ChainEvent::SnapshotBatchFinalized { epoch, batch_cid_hash, .. }
                if self.segment.events_only.is_none() =>
            {
                let batch = FinalizedBatch { market, epoch: *epoch, batch: *batch_cid_hash };
                self.change.add(Effect::Finalized(batch));
                if let Some(entry) = &mut self.change.entry {
                    entry.finalized.push(batch);
                }
                self.change.notes.push(Note::Finalized { block: number, batch });
            }
            other => {
                if let ChainEvent::DayStarted { day, time } = other {
                    self.change.enter_day(market, *day, (*time).min(block_time));
                }
                self.change.notes.push(Note::Other { block: number, event: event.clone() });
            }
        }
    }

    fn release(&mut self, market: ContractAddress, epoch: u64, release: (u64, u64), now: Clocks) {
        let change = &mut self.change;
        let Some(known) = change.market(market) else { return };
        let (current, ahead, is_known) = (known.current, known.ahead(), known.knows(epoch));
        let day = known.day.map(|day| day.number);
        if !EPOCHS.has(epoch, current) {
            change.notes.push(Note::Implausible { market, epoch });
            return;
        }
        // Also for a finished epoch: its first release may have been dropped, and this one replaces it.
        change.set_current(market, current.max(Some(epoch)));
        let mut at = self.rules.at_release(&self.segment.releases, market, release.0, day);
        // The day known before is better than one that can't be.
        at.day = at.day.filter(|told| change.believes(market, *told)).or(day);
        if let Some(day) = at.day {
            change.enter_day(market, day, release.1);
            change.release_in(market, epoch, day, self.rules);
        }
        if is_known {
            change.notes.push(Note::ReleasedAgain { market, epoch });
            return;
        }
        match self.rules.window(at, release, ahead, now) {
            Some(window) => {
                change.set_window(market, epoch, Some(window));
                change.notes.push(Note::Released { market, epoch, window });
            }
            None => {
                change.finish(market, epoch);
                change.notes.push(Note::Expired { market, epoch });
            }
        }
    }

    fn submit(&mut self, batch: SubmittedBatch) {
        let change = &mut self.change;
        // The attestor has this batch from a dropped block: it is not delivered twice.
        match change.state().orphaned.iter().position(|orphaned| *orphaned == batch) {
            Some(at) => drop(change.orphaned().remove(at)),
            None => {
                change.notes.push(Note::Submitted(batch.clone()));
                // What nobody wanted was not delivered: if its block is dropped and it comes again, somebody may want it then.
                if change.state().followed.get(&batch.market).is_none_or(|followed| !followed.attest) {
                    return;
                }
                change.add(Effect::Attest(batch.clone()));
            }
        }
        // In either case, so that the next reorganisation keeps it as an orphan again.
        if let Some(entry) = &mut change.entry {
            entry.submitted.push(batch);
        }
    }
}
