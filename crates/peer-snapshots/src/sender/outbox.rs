//! What waits to be sent: the newest picture of each kind, and a few quotes.

use std::collections::VecDeque;

use crate::{Message, MessageKind};

/// The most quotes that wait. Unlike a picture, a quote is not repeated by the next one.
const MOST_QUOTES: usize = 64;
/// The kinds that have a place, in the order in which they are sent.
const PLACES: [MessageKind; 7] = [
    MessageKind::Proxy,
    MessageKind::Pool,
    MessageKind::Miners,
    MessageKind::Connections,
    MessageKind::Heartbeat,
    MessageKind::Metrics,
    MessageKind::Balance,
];

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderCounts {
    /// Messages that were given to the network.
    pub sent: u64,
    /// Pictures that a newer one replaced before they were sent.
    pub replaced: u64,
    /// Quotes that were dropped because too many waited.
    pub dropped_quotes: u64,
    /// Connections that were made.
    pub connections: u64,
    /// Attempts to connect, or to write, that failed.
    pub failures: u64,
}

/// The messages that wait: bounded, whatever the receiver does.
#[derive(Default)]
pub(super) struct Outbox {
    pictures: [Option<Message>; PLACES.len()],
    quotes: VecDeque<Message>,
    pub(super) counts: SenderCounts,
    /// Whether the host has dropped its sender.
    pub(super) is_closed: bool,
}

impl Outbox {
    /// Puts a message into its place; returns the one that it replaces.
    pub(super) fn put(&mut self, message: Message) -> Option<Message> {
        let kind = message.kind();
        if let Some(place) = PLACES.iter().position(|place| *place == kind) {
            let replaced = self.pictures[place].replace(message);
            self.counts.replaced += u64::from(replaced.is_some());
            return replaced;
        }
        if kind != MessageKind::Quote {
            return None;
        }
        let dropped = (self.quotes.len() == MOST_QUOTES).then(|| self.quotes.pop_front()).flatten();
        self.counts.dropped_quotes += u64::from(dropped.is_some());
        self.quotes.push_back(message);
        dropped
    }

    /// Puts a message back that could not be sent, unless a newer one has come; returns it in that case.
    pub(super) fn put_back(&mut self, message: Message) -> Option<Message> {
        let kind = message.kind();
        match PLACES.iter().position(|place| *place == kind) {
            Some(place) if self.pictures[place].is_none() => self.pictures[place] = Some(message),
            Some(_) => {
                self.counts.replaced += 1;
                return Some(message);
            }
            None if self.quotes.len() < MOST_QUOTES => self.quotes.push_front(message),
            None => {
                self.counts.dropped_quotes += 1;
                return Some(message);
            }
        }
        None
    }

    /// Takes the next message.
    pub(super) fn take(&mut self) -> Option<Message> {
        self.quotes.pop_front().or_else(|| self.pictures.iter_mut().find_map(Option::take))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.quotes.is_empty() && self.pictures.iter().all(Option::is_none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BalanceUpdate, Heartbeat, QuoteCreated, Retired};

    fn heartbeat(timestamp: u64) -> Message {
        Message::Heartbeat(Heartbeat { listen_address: String::new(), timestamp })
    }

    fn balance(timestamp: u64) -> Message {
        Message::Balance(BalanceUpdate { balance: 1, timestamp })
    }

    fn quote(timestamp: u64) -> Message {
        Message::Quote(QuoteCreated { downstream_id: 1, amount: 1, timestamp })
    }

    #[test]
    fn only_the_newest_picture_of_each_kind_waits() {
        let mut outbox = Outbox::default();
        for timestamp in 0..1_000 {
            outbox.put(heartbeat(timestamp));
            outbox.put(balance(timestamp));
        }
        assert_eq!(
            (outbox.take(), outbox.take(), outbox.take()),
            (Some(heartbeat(999)), Some(balance(999)), None)
        );
        assert_eq!(outbox.counts.replaced, 2 * 999);
        assert!(outbox.is_empty());
    }

    #[test]
    fn quotes_wait_in_order_up_to_their_limit() {
        let mut outbox = Outbox::default();
        (0..100).for_each(|timestamp| drop(outbox.put(quote(timestamp))));
        let waiting: Vec<Option<u64>> =
            std::iter::from_fn(|| outbox.take()).map(|quote| quote.timestamp()).collect();
        assert_eq!(waiting, (36..100).map(Some).collect::<Vec<_>>());
        assert_eq!(outbox.counts.dropped_quotes, 36);
    }

    #[test]
    fn a_message_that_could_not_be_sent_gives_way_to_a_newer_one() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.put_back(heartbeat(1)), None);
        outbox.put(heartbeat(2));
        assert_eq!(outbox.put_back(heartbeat(1)), Some(heartbeat(1)));
        assert_eq!(outbox.take(), Some(heartbeat(2)));
        outbox.put(quote(2));
        outbox.put_back(quote(1));
        assert_eq!(outbox.take(), Some(quote(1)));
    }

    #[test]
    fn a_retired_event_is_not_kept() {
        let mut outbox = Outbox::default();
        outbox.put(Message::Retired(Retired::PoolInfo));
        assert!(outbox.is_empty());
    }
}
