//! What waits to be sent to one client: bounded in messages and bytes. Pure.
//!
//! Where a client is slow, the waiting states that a newer one replaces are dropped. Where that is not enough, the client is too slow.

use std::collections::{HashSet, VecDeque};

use crate::message::Message;

/// The bounds of what waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// In messages.
    pub messages: usize,
    /// In bytes. One message alone may have more.
    pub bytes: usize,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It waits.
    Waits,
    /// It waits, and this number of older states was dropped for it.
    Replaced(usize),
    /// There is no place: the client is too slow, or its connection has ended.
    Refused,
}

/// What waits for one client.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<Message>,
    /// What must not be sent before [`Outbox::release`]; `None` where nothing is held.
    held: Option<VecDeque<Message>>,
    /// Of both.
    bytes: usize,
}

impl Outbox {
    /// Adds a message at the end.
    pub(crate) fn push(&mut self, message: Message, bounds: Bounds) -> Pushed {
        self.bytes += message.size();
        self.held.as_mut().unwrap_or(&mut self.waiting).push_back(message);
        self.fit(bounds)
    }

    /// Adds a message before those that are held.
    pub(crate) fn push_first(&mut self, message: Message, bounds: Bounds) -> Pushed {
        self.bytes += message.size();
        self.waiting.push_back(message);
        self.fit(bounds)
    }

    /// Holds messages from now on.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Lets those that are held follow.
    pub(crate) fn release(&mut self) {
        self.waiting.extend(self.held.take().unwrap_or_default());
    }

    /// Drops those that are held.
    pub(crate) fn drop_held(&mut self) {
        let held = self.held.take().unwrap_or_default();
        self.bytes -= held.iter().map(Message::size).sum::<usize>();
    }

    fn fit(&mut self, bounds: Bounds) -> Pushed {
        if self.fits(bounds) {
            return Pushed::Waits;
        }
        let dropped = self.drop_replaced();
        match self.fits(bounds) {
            true => Pushed::Replaced(dropped),
            false => Pushed::Refused,
        }
    }

    /// One message alone always fits: a client would never get one that is larger than all that may wait.
    fn fits(&self, bounds: Bounds) -> bool {
        let all = self.waiting.len() + self.held.as_ref().map_or(0, VecDeque::len);
        all <= 1 || (all <= bounds.messages && self.bytes <= bounds.bytes)
    }

    /// Drops each state that a newer one in the queue replaces. The order of the others stays.
    fn drop_replaced(&mut self) -> usize {
        let (mut seen, mut dropped) = (HashSet::new(), 0);
        for queue in [self.held.as_mut(), Some(&mut self.waiting)].into_iter().flatten() {
            // From the newest to the oldest: the first one of each mark stays.
            let mut kept: VecDeque<Message> = VecDeque::with_capacity(queue.len());
            for message in std::mem::take(queue).into_iter().rev() {
                if message.replaces().is_none_or(|mark| seen.insert(mark)) {
                    kept.push_front(message);
                } else {
                    self.bytes -= message.size();
                    dropped += 1;
                }
            }
            *queue = kept;
        }
        dropped
    }

    /// Takes messages to send them: at least one where there is one, and no further one that would exceed these bounds.
    pub(crate) fn take(&mut self, bounds: Bounds, into: &mut VecDeque<Message>) {
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.size();
            if !into.is_empty() && (bytes > bounds.bytes || into.len() >= bounds.messages) {
                break;
            }
            if let Some(message) = self.waiting.pop_front() {
                self.bytes -= message.size();
                into.push_back(message);
            }
        }
        if self.waiting.is_empty() {
            // A client that gets nothing costs nothing.
            self.waiting = VecDeque::new();
        }
    }

    /// Whether more than half of what may wait does so, and could be sent.
    pub(crate) fn is_behind(&self, bounds: Bounds) -> bool {
        let is_over_half = self.waiting.len() > bounds.messages / 2 || self.bytes > bounds.bytes / 2;
        self.held.is_none() && is_over_half
    }

    /// Whether nothing can be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Replaces;

    fn bounds(messages: usize) -> Bounds {
        Bounds { messages, bytes: 10_000 }
    }

    fn state(of: u128, number: usize) -> Message {
        Message::text(&format!("{of}-{number}")).replacing(Replaces(of))
    }

    fn all(outbox: &mut Outbox) -> Vec<String> {
        let mut taken = VecDeque::new();
        outbox.take(Bounds { messages: usize::MAX, bytes: usize::MAX }, &mut taken);
        taken.iter().map(|message| String::from_utf8(message.payload().to_vec()).unwrap()).collect()
    }

    #[test]
    fn nothing_is_replaced_while_there_is_room() {
        let mut outbox = Outbox::default();
        for number in 0..4 {
            assert_eq!(outbox.push(state(1, number), bounds(4)), Pushed::Waits);
        }
        assert_eq!(all(&mut outbox), ["1-0", "1-1", "1-2", "1-3"]);
        assert_eq!((outbox.bytes(), outbox.waiting.capacity()), (0, 0));
    }

    #[test]
    fn the_newest_state_of_each_takes_the_place_of_older_ones() {
        let mut outbox = Outbox::default();
        outbox.push(Message::text("job"), bounds(4));
        outbox.push(state(1, 0), bounds(4));
        outbox.push(state(2, 0), bounds(4));
        outbox.push(state(1, 1), bounds(4));
        assert_eq!(outbox.push(state(1, 2), bounds(4)), Pushed::Replaced(2));
        assert_eq!(all(&mut outbox), ["job", "2-0", "1-2"]);
    }

    #[test]
    fn a_client_that_takes_no_other_messages_is_too_slow() {
        let mut outbox = Outbox::default();
        for _ in 0..4 {
            assert_eq!(outbox.push(Message::text("job"), bounds(4)), Pushed::Waits);
        }
        assert_eq!(outbox.push(state(1, 0), bounds(4)), Pushed::Refused);
        let mut large = Outbox::default();
        assert_eq!(large.push(Message::text(&"x".repeat(10_001)), bounds(4)), Pushed::Waits, "alone");
        assert_eq!(large.push(Message::text("job"), bounds(4)), Pushed::Refused);
    }

    #[test]
    fn what_is_held_follows_what_is_sent_first() {
        let mut outbox = Outbox::default();
        outbox.hold();
        outbox.push(state(1, 5), bounds(4));
        outbox.push_first(state(1, 4), bounds(4));
        assert_eq!(all(&mut outbox), ["1-4"]);
        outbox.release();
        outbox.push(state(1, 6), bounds(4));
        assert_eq!(all(&mut outbox), ["1-5", "1-6"]);
    }

    proptest! {
        #[test]
        fn the_bounds_hold_and_the_last_state_of_each_is_kept_in_order(states in prop::collection::vec(0_u128..5, 1..200)) {
            let mut outbox = Outbox::default();
            for (number, of) in states.iter().enumerate() {
                prop_assert_ne!(outbox.push(state(*of, number), bounds(6)), Pushed::Refused);
                prop_assert!(outbox.waiting.len() <= 6);
            }
            let sent = all(&mut outbox);
            let numbers: Vec<usize> = sent.iter().map(|text| text[2..].parse().unwrap()).collect();
            prop_assert!(numbers.is_sorted());
            for of in 0..5 {
                let last = states.iter().rposition(|state| *state == of);
                prop_assert!(last.is_none_or(|number| numbers.contains(&number)));
            }
            prop_assert_eq!(outbox.bytes(), 0);
        }
    }
}
