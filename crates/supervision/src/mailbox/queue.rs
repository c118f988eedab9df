//! The messages of one mailbox and the rules for them, without locks, wakers or tasks: what is accepted, merged, dropped,
//! taken and returned. Of dead letters it has the counts.

use std::collections::VecDeque;

use super::{
    entry::Entry,
    letters::Letter,
    message::{HEAVIEST, Limits, MailboxStats, Message},
    overflow::{Overflow, SendError, Sent},
};

pub(super) struct Queue<M> {
    pub(super) waiting: VecDeque<Entry<M>>,
    bytes: usize,
    /// Room that is granted to senders that waited for it and have not used it yet: messages, and bytes.
    granted: (usize, usize),
    pub(super) closed: bool,
    /// The number of messages at the front that were in flight as a batch when their reader failed. They are taken one by one.
    suspects: usize,
    last_sequence: u64,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct Counts {
    accepted: u64,
    taken: u64,
    returned: u64,
    dead_lettered: u64,
    letters_evicted: u64,
    coalesced: u64,
    dropped: u64,
    refused: u64,
    high_water: u64,
    pub(super) waits: u64,
    pub(super) waited_nanos: u64,
}

/// Where the sender of a message stands among those that wait for room.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// It has waited, and room was kept for it. What a reader returned meanwhile does not take that room away.
    Granted,
    /// Nobody waits: it overtakes no other sender.
    First,
    /// Others wait, so it may use no room but what it makes.
    Behind,
}

/// A message that is to be accepted.
pub(super) struct Offer<M> {
    pub(super) message: M,
    pub(super) weight: usize,
    pub(super) overflow: Overflow,
    pub(super) place: Place,
}

/// How a message was accepted.
pub(super) enum Accepted<M> {
    Queued,
    Coalesced,
    /// These older messages were removed for it. They are dropped outside of the mailbox's lock, since the drop of a message is code
    /// of its owner, which may use the mailbox.
    Displaced(Vec<Entry<M>>),
}

impl<M> Accepted<M> {
    /// What its sender learns. Drops what was displaced.
    pub(super) fn sent(self) -> Sent {
        match self {
            Self::Queued => Sent::Queued,
            Self::Coalesced => Sent::Coalesced,
            Self::Displaced(dropped) => Sent::Displaced(dropped.len()),
        }
    }
}

impl<M: Message> Queue<M> {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            granted: (0, 0),
            closed: false,
            suspects: 0,
            last_sequence: 0,
            counts: Counts::default(),
        }
    }

    fn has_room(&self, weight: usize, limits: &Limits) -> bool {
        let (messages, bytes) = self.granted;
        self.waiting.len() + messages < limits.capacity && self.bytes + bytes + weight <= limits.bytes
    }

    /// Keeps room for a message of a sender that waits, if there is any.
    pub(super) fn grant(&mut self, weight: usize, limits: &Limits) -> bool {
        let has_room = self.has_room(weight, limits);
        if has_room {
            self.granted = (self.granted.0 + 1, self.granted.1 + weight);
        }
        has_room
    }

    /// Room that was granted is used now, or given up.
    pub(super) fn release(&mut self, weight: usize) {
        self.granted = (self.granted.0 - 1, self.granted.1 - weight);
    }

    /// Accepts a message that came at `now`, or says why not. The only place that decides that.
    pub(super) fn admit(
        &mut self,
        offer: Offer<M>,
        now: u64,
        limits: &Limits,
    ) -> Result<Accepted<M>, SendError<M>> {
        let Offer { mut message, weight, overflow, place } = offer;
        if self.closed {
            return Err(SendError::Closed(message));
        }
        // It would wait for ever: no amount of room is enough.
        if weight > limits.bytes {
            return Err(SendError::TooLarge { message, weight, limit: limits.bytes });
        }
        // The weight of a merged message is known only afterwards. One merge may exceed the limit; then none follows.
        if overflow.merges() && self.bytes <= limits.bytes {
            match self.merge(message) {
                Ok(()) => return Ok(Accepted::Coalesced),
                Err(unmerged) => message = unmerged,
            }
        }
        let droppable = overflow == Overflow::DropOldest;
        if place == Place::Granted || (place == Place::First && self.has_room(weight, limits)) {
            self.push(message, weight, now, droppable);
            return Ok(Accepted::Queued);
        }
        let Some(dropped) =
            droppable.then(|| self.drop_oldest(weight, limits, place == Place::First)).flatten()
        else {
            return Err(SendError::Full(message));
        };
        self.push(message, weight, now, droppable);
        Ok(Accepted::Displaced(dropped))
    }

    /// Counts a message that stays with its sender because the mailbox is full.
    pub(super) fn refused(&mut self, error: &SendError<M>) {
        self.counts.refused += u64::from(matches!(error, SendError::Full(_)));
    }

    fn push(&mut self, message: M, weight: usize, now: u64, droppable: bool) {
        self.last_sequence += 1;
        self.counts.accepted += 1;
        self.bytes += weight;
        let sequence = self.last_sequence;
        self.waiting.push_back(Entry { message, weight, sequence, attempts: 0, accepted_at: now, droppable });
        self.counts.high_water = self.counts.high_water.max(self.waiting.len() as u64);
    }

    /// Merges a message into the newest waiting one that takes it.
    fn merge(&mut self, mut message: M) -> Result<(), M> {
        // Not into a message with a charged attempt: the new one would become a dead letter with it.
        for entry in self.waiting.iter_mut().rev().filter(|entry| entry.attempts == 0) {
            match entry.message.merge(message) {
                Ok(()) => {
                    let merged = entry.message.weight().min(HEAVIEST);
                    self.bytes = self.bytes + merged - entry.weight;
                    entry.weight = merged;
                    // An edge that drops the oldest must not drop what another one has handed over.
                    entry.droppable = false;
                    self.counts.accepted += 1;
                    self.counts.coalesced += 1;
                    return Ok(());
                }
                Err(unmerged) => message = unmerged,
            }
        }
        Err(message)
    }

    /// Removes the oldest droppable messages until one of `weight` has room; none, where all of them would not be enough.
    /// Behind others it may use only what it has freed.
    fn drop_oldest(&mut self, weight: usize, limits: &Limits, is_first: bool) -> Option<Vec<Entry<M>>> {
        let (mut dropped, mut freed) = (0, 0);
        let is_enough = |dropped: usize, freed: usize| {
            let (messages, bytes) = self.granted;
            let has_room = self.waiting.len() - dropped + messages < limits.capacity
                && self.bytes - freed + bytes + weight <= limits.bytes;
            has_room && (is_first || (dropped > 0 && freed >= weight))
        };
        for entry in self.waiting.iter().filter(|entry| entry.droppable) {
            if is_enough(dropped, freed) {
                break;
            }
            dropped += 1;
            freed += entry.weight;
        }
        if !is_enough(dropped, freed) {
            return None;
        }
        let mut removed = Vec::with_capacity(dropped);
        while removed.len() < dropped
            && let Some(oldest) = self.waiting.pop_front_if(|entry| entry.droppable)
        {
            removed.push(oldest);
        }
        if removed.len() < dropped {
            // The others stand behind messages of edges that wait.
            for _ in 0..self.waiting.len() {
                let Some(entry) = self.waiting.pop_front() else { break };
                let goes = entry.droppable && removed.len() < dropped;
                if goes { removed.push(entry) } else { self.waiting.push_back(entry) }
            }
        }
        self.bytes -= freed;
        self.counts.dropped += dropped as u64;
        Some(removed)
    }

    /// Moves waiting messages to `hand`, which is empty. Returns whether the one that was taken is a suspect; those are taken one
    /// by one.
    pub(super) fn take(&mut self, hand: &mut VecDeque<Entry<M>>, limits: &Limits) -> bool {
        let suspect = self.suspects > 0;
        self.suspects = self.suspects.saturating_sub(1);
        let batch = if suspect { 1 } else { limits.batch };
        // A swap takes everything without a copy, and gives the mailbox the empty buffer of the last batch.
        if self.waiting.len() <= batch {
            std::mem::swap(hand, &mut self.waiting);
            self.bytes = 0;
        } else {
            hand.extend(self.waiting.drain(..batch));
            self.bytes -= hand.iter().map(|entry| entry.weight).sum::<usize>();
        }
        self.counts.taken += hand.len() as u64;
        suspect
    }

    /// Puts messages in flight back to the front, in their order. `suspects`: one of them made their reader fail.
    pub(super) fn put_back(&mut self, hand: &mut VecDeque<Entry<M>>, suspects: bool) {
        self.counts.returned += hand.len() as u64;
        if suspects {
            self.suspects += hand.len();
        }
        // In reverse, each to the front: that keeps the order in which the messages were accepted.
        for entry in hand.drain(..).rev() {
            self.bytes += entry.weight;
            self.waiting.push_front(entry);
        }
    }

    /// A message in flight became a dead letter, and `evicted` older letters made room for it.
    pub(super) fn dead_lettered(&mut self, evicted: usize) {
        self.counts.dead_lettered += 1;
        self.counts.letters_evicted += evicted as u64;
    }

    /// Whether there is room to accept a dead letter of this weight again.
    pub(super) fn can_replay(&self, weight: usize, limits: &Limits) -> bool {
        !self.closed && self.has_room(weight, limits)
    }

    /// Accepts a dead letter again, as a new message.
    pub(super) fn replay(&mut self, letter: Letter<M>, now: u64) {
        self.push(letter.message, letter.weight, now, false);
    }

    /// The counts at `now`. `handled` and `oldest_in_flight` are what the reader has published.
    pub(super) fn stats(
        &self,
        now: u64,
        limits: &Limits,
        handled: u64,
        oldest_in_flight: u64,
    ) -> MailboxStats {
        let counts = &self.counts;
        let oldest = [oldest_in_flight, self.waiting.front().map_or(0, |entry| entry.accepted_at)];
        let oldest = oldest.into_iter().filter(|&at| at != 0).min();
        MailboxStats {
            accepted: counts.accepted,
            handled,
            waiting: self.waiting.len() as u64,
            in_flight: counts.taken - counts.returned - counts.dead_lettered - handled,
            coalesced: counts.coalesced,
            dead_lettered: counts.dead_lettered,
            letters_evicted: counts.letters_evicted,
            dropped: counts.dropped,
            refused: counts.refused,
            redelivered: counts.returned,
            capacity: limits.capacity as u64,
            high_water: counts.high_water,
            bytes: self.bytes as u64,
            waits: counts.waits,
            waited_nanos: counts.waited_nanos,
            senders_waiting: 0,
            oldest_age_nanos: oldest.map_or(0, |at| now.saturating_sub(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::message::NoMessage;

    #[derive(serde::Serialize)]
    struct Plain;

    impl Message for Plain {}

    /// A mailbox for 5 messages and 50 bytes, in which messages of 10 bytes wait, of which some may be dropped.
    fn waiting<const N: usize>(droppable: [bool; N]) -> (Queue<Plain>, Limits) {
        let mut queue = Queue::new();
        droppable.into_iter().for_each(|droppable| queue.push(Plain, 10, 1, droppable));
        (queue, Limits { capacity: 5, bytes: 50, ..Limits::default() })
    }

    /// The messages that are dropped for one of this weight, and those that wait then, by their numbers.
    fn displaced<const N: usize>(
        droppable: [bool; N],
        weight: usize,
        place: Place,
    ) -> Option<(Vec<u64>, Vec<u64>)> {
        let (mut queue, limits) = waiting(droppable);
        let offer = Offer { message: Plain, weight, overflow: Overflow::DropOldest, place };
        let dropped = match queue.admit(offer, 2, &limits) {
            Ok(Accepted::Displaced(dropped)) => dropped,
            Ok(_) => Vec::new(),
            Err(_) => return None,
        };
        let left: usize = queue.waiting.iter().map(|entry| entry.weight).sum();
        assert_eq!((queue.bytes, queue.counts.dropped), (left, dropped.len() as u64));
        let numbers = |entry: &Entry<Plain>| entry.sequence;
        Some((dropped.iter().map(numbers).collect(), queue.waiting.iter().map(numbers).collect()))
    }

    #[test]
    fn the_oldest_that_may_go_are_dropped_and_no_more_than_it_takes() {
        let some = |dropped: &[u64], left: &[u64]| Some((dropped.to_vec(), left.to_vec()));
        let (keep, drop) = (false, true);
        let mixed = [keep, drop, keep, drop, drop];
        assert_eq!(displaced(mixed, 10, Place::First), some(&[2], &[1, 3, 4, 5, 6]));
        assert_eq!(displaced(mixed, 20, Place::First), some(&[2, 4], &[1, 3, 5, 6]));
        assert_eq!(displaced(mixed, 21, Place::First), some(&[2, 4, 5], &[1, 3, 6]));
        assert_eq!(displaced(mixed, 31, Place::First), None, "all of them would not be enough");
        assert_eq!(displaced([drop; 5], 15, Place::First), some(&[1, 2], &[3, 4, 5, 6]));
        assert_eq!(displaced([keep; 5], 10, Place::First), None);
        assert_eq!(displaced([drop, keep], 10, Place::First), some(&[], &[1, 2, 3]), "there is room");
    }

    #[test]
    fn behind_senders_that_wait_only_what_was_dropped_is_room() {
        let some = |dropped: &[u64], left: &[u64]| Some((dropped.to_vec(), left.to_vec()));
        let (keep, drop) = (false, true);
        assert_eq!(displaced([keep, drop, drop], 10, Place::Behind), some(&[2], &[1, 3, 4]));
        assert_eq!(displaced([keep, drop, drop], 11, Place::Behind), some(&[2, 3], &[1, 4]));
        assert_eq!(displaced([keep, drop, drop], 21, Place::Behind), None);
        assert_eq!(displaced([keep, keep], 0, Place::Behind), None, "not even one that weighs nothing");
    }

    #[test]
    fn what_is_dropped_makes_room_beside_that_which_is_granted() {
        let (mut queue, limits) = waiting([true; 4]);
        let limits = Limits { capacity: 9, ..limits };
        assert!(queue.grant(10, &limits), "40 of 50 bytes wait");
        let offer = Offer { message: Plain, weight: 10, overflow: Overflow::DropOldest, place: Place::First };
        let Ok(Accepted::Displaced(dropped)) = queue.admit(offer, 2, &limits) else { panic!("it is full") };
        assert_eq!((dropped.len(), queue.bytes, queue.granted), (1, 40, (1, 10)));
    }

    #[test]
    fn room_that_is_granted_is_kept_until_it_is_released() {
        let limits = Limits { capacity: 3, bytes: 20, ..Limits::default() };
        let mut queue = Queue::<NoMessage>::new();
        assert!(queue.grant(5, &limits) && queue.grant(7, &limits));
        assert!(!queue.grant(9, &limits), "only 8 bytes are left");
        queue.release(5);
        assert_eq!(queue.granted, (1, 7));
        assert!(queue.grant(13, &limits) && !queue.grant(1, &limits));
        queue.release(13);
        queue.release(7);
        assert_eq!(queue.granted, (0, 0));
    }
}
