//! What a message is, the limits of a mailbox, and its counts.

use serde::Serialize;

/// A message of a mailbox. It is serialisable, so that a dead letter can be shown.
///
/// `weight` and `merge` run while its mailbox is locked: they are short, and must not use that mailbox. Its `Drop` may send to it,
/// and its `Serialize`, too, but that must not ask for the dead letters.
pub trait Message: Serialize + Send + 'static {
    /// Bytes that the message holds, heap included. The default counts the value itself only.
    fn weight(&self) -> usize {
        size_of_val(self)
    }

    /// Merges a newer message into this one, on edges that coalesce. A message must not grow with the number of merges.
    ///
    /// # Errors
    /// Returns the newer message when the two can't be merged. The default never merges.
    fn merge(&mut self, newer: Self) -> Result<(), Self>
    where
        Self: Sized,
    {
        Err(newer)
    }
}

/// The message type of an actor without messages: it has no values.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) enum NoMessage {}

impl Message for NoMessage {}

/// The heaviest message, and the most bytes of a mailbox: sums of some of them do not overflow.
pub(super) const HEAVIEST: usize = usize::MAX / 8;

/// The limits of a mailbox.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most waiting messages; at least one.
    pub capacity: usize,
    /// The most waiting bytes, as [`Message::weight`] counts them.
    pub bytes: usize,
    /// The most messages in flight; at least one.
    pub batch: usize,
    /// The number of charged attempts after which a message becomes a dead letter.
    pub max_attempts: u32,
    /// The most dead letters that are kept; older ones are evicted, and counted.
    pub dead_letters: usize,
}

impl Limits {
    /// The limits that count: a mailbox without room for a message would let its senders wait for ever.
    pub(super) fn usable(self) -> Self {
        let (capacity, batch, bytes) = (self.capacity.max(1), self.batch.max(1), self.bytes.min(HEAVIEST));
        Self { capacity, batch, bytes, ..self }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { capacity: 1024, bytes: 4 << 20, batch: 64, max_attempts: 2, dead_letters: 128 }
    }
}

/// The counts of a mailbox at one moment, over all incarnations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MailboxStats {
    /// Messages accepted from senders, including replayed dead letters.
    pub accepted: u64,
    /// Messages acknowledged.
    pub handled: u64,
    /// Messages that wait.
    pub waiting: u64,
    /// Messages in flight: taken by the present incarnation and not acknowledged.
    pub in_flight: u64,
    /// Messages merged into an earlier one.
    pub coalesced: u64,
    /// Messages that became dead letters, including evicted ones.
    pub dead_lettered: u64,
    /// Dead letters that were evicted.
    pub letters_evicted: u64,
    /// Messages dropped by an edge that drops the oldest.
    pub dropped: u64,
    /// Messages refused because the mailbox was full; their senders kept them.
    pub refused: u64,
    /// Messages that an incarnation returned at its end.
    pub redelivered: u64,
    /// The most messages that may wait.
    pub capacity: u64,
    /// The most messages that ever waited.
    pub high_water: u64,
    /// Bytes that wait.
    pub bytes: u64,
    /// Sends that had to wait for room.
    pub waits: u64,
    /// How long those sends waited in all, in nanoseconds.
    pub waited_nanos: u64,
    /// Sends that wait for room now.
    pub senders_waiting: u64,
    /// Age of the oldest message that waits or is in flight, in nanoseconds; 0 without one.
    pub oldest_age_nanos: u64,
}

impl MailboxStats {
    /// Whether no message was lost or doubled: the first promise of the module.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.accepted
            == self.handled
                + self.waiting
                + self.in_flight
                + self.coalesced
                + self.dead_lettered
                + self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Plain([u64; 3]);

    impl Message for Plain {}

    #[test]
    fn a_message_weighs_what_its_value_takes_and_merges_with_none_unless_it_says_otherwise() {
        let mut plain = Plain([0; 3]);
        assert_eq!(plain.weight(), 24);
        assert_eq!(plain.merge(Plain([1; 3])).map_err(|newer| newer.0), Err([1; 3]));
    }

    #[test]
    fn counts_are_conserved_only_where_every_accepted_message_is_in_one_place() {
        let all = MailboxStats {
            accepted: 21,
            handled: 1,
            waiting: 2,
            in_flight: 3,
            coalesced: 4,
            dead_lettered: 5,
            dropped: 6,
            ..MailboxStats::default()
        };
        assert!(all.is_conserved());
        assert!(!MailboxStats { accepted: 22, ..all }.is_conserved());
        assert!(!MailboxStats { dropped: 7, ..all }.is_conserved());
    }
}
