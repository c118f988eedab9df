//! The listener's edge to the indexer: it assigns events to their index and packs them into messages.
//!
//! Promises: nothing here waits. A full mailbox drops its oldest message, and the numbers of the messages tell the indexer how
//! many events were in it. The events held between two hand-overs are bounded in number and bytes, even in a storm of long ids.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use domain::tracker::index::{IndexEvent, Unindexed};
use store_tracker::IndexKeys;
use supervision::{Address, Name, SendError};

use crate::{
    env::messages::IndexEvents,
    tracker::{
        market_registry::{Indexes, MarketEdges},
        metrics::{IndexOutcome, TrackerMetrics},
    },
};

/// The most events of one message.
pub(in crate::tracker) const EVENTS_A_MESSAGE: usize = 128;
/// The most bytes of one message.
const BYTES_A_MESSAGE: usize = 32 << 10;

/// The edge to the indexer, with counts of the sent and the taken events.
#[derive(Clone)]
pub struct IndexEdge {
    address: Address<IndexEvents>,
    indexes: Indexes,
    /// The number of events sent. It outlives the incarnations of both actors, as the mailbox does.
    sent: Arc<Mutex<u64>>,
    /// The number of events that the indexer has accounted for.
    taken: Arc<AtomicU64>,
}

impl IndexEdge {
    /// An edge to the indexer of these indexes. `address` must drop the oldest message when the mailbox is full.
    #[must_use]
    pub fn new(address: Address<IndexEvents>, indexes: Indexes) -> Self {
        let (sent, taken) = (Arc::default(), Arc::default());
        Self { address, indexes, sent, taken }
    }

    /// The same edge for another sender.
    #[must_use]
    pub fn for_sender(&self, from: impl Into<Name>) -> Self {
        Self { address: self.address.for_sender(from), ..self.clone() }
    }

    /// Sends events, as received at this time, in Unix seconds.
    pub(crate) fn send(&self, index: &IndexKeys, at: u64, events: Vec<IndexEvent>) {
        // Held over both steps: the numbers of two senders have to come in their order. Poisoning is ignored, each change is one addition.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let number = *sent;
        // Numbered before the message is sent: a refused message leaves a hole, too.
        *sent += events.len() as u64;
        match self.address.try_send(IndexEvents { number, at, index: index.clone(), events }) {
            Ok(_) => {}
            // The events are lost, and the number of the next message shows it. Without a next one the indexer is being
            // stopped.
            Err(SendError::TooLarge { .. } | SendError::Full(_) | SendError::Closed(_)) => {}
        }
    }

    /// The indexes.
    pub(crate) fn indexes(&self) -> &Indexes {
        &self.indexes
    }

    /// Records that the indexer has written the events of a message; returns how many events before them were lost.
    pub(crate) fn take(&self, number: u64, events: u64) -> u64 {
        // The maximum, since a redelivered message comes with a number from before.
        let taken = self.taken.fetch_max(number + events, Relaxed);
        number.saturating_sub(taken)
    }
}

/// The events that the listener has collected for the indexer.
pub(super) struct Feed {
    edge: IndexEdge,
    /// One index for all events, or one for each market in the order of the listener's markets.
    indexes: Vec<IndexKeys>,
    /// For each index its events and their size in bytes.
    collected: Vec<(Vec<IndexEvent>, usize)>,
    unattributed: u64,
    oversized: u64,
    ignored: u64,
}

impl Feed {
    pub(super) fn new(edge: IndexEdge, markets: &[MarketEdges]) -> Self {
        let (indexes, collected) = (Vec::new(), Vec::new());
        let mut feed = Self { edge, indexes, collected, unattributed: 0, oversized: 0, ignored: 0 };
        feed.follow(markets);
        feed
    }

    /// Takes over the listener's markets. Collected events must have been handed over before.
    pub(super) fn follow(&mut self, markets: &[MarketEdges]) {
        self.indexes = self.edge.indexes.of_these(markets);
        self.collected = self.indexes.iter().map(|_| (Vec::new(), 0)).collect();
    }

    /// Adds an event of a market's own channel, or of the common one. Returns whether its message is full.
    pub(super) fn collect(&mut self, market: Option<usize>, payload: &[u8]) -> bool {
        let event = match IndexEvent::parse(payload) {
            Ok(event) => event,
            Err(Unindexed::TooLong) => {
                self.oversized += 1;
                // Not stored: a producer could fill Redis with ids of any length.
                return false;
            }
            Err(Unindexed::Foreign | Unindexed::Malformed) => {
                self.ignored += 1;
                return false;
            }
        };
        // With one index, every event belongs to it, whatever its channel.
        let at = if self.collected.len() == 1 { Some(0) } else { market };
        let Some((events, bytes)) = at.and_then(|at| self.collected.get_mut(at)) else {
            self.unattributed += 1;
            return false;
        };
        *bytes += event.weight();
        events.push(event);
        events.len() >= EVENTS_A_MESSAGE || *bytes >= BYTES_A_MESSAGE
    }

    /// Sends the collected events, as received at this time, in Unix seconds.
    pub(super) fn hand_over(&mut self, at: u64, metrics: &TrackerMetrics) {
        for (index, (events, bytes)) in self.indexes.iter().zip(&mut self.collected) {
            *bytes = 0;
            // No empty messages: they would take places in the mailbox.
            if events.is_empty() {
                continue;
            }
            self.edge.send(index, at, std::mem::take(events));
        }
        let counts = [
            (IndexOutcome::Unattributed, &mut self.unattributed),
            (IndexOutcome::Oversized, &mut self.oversized),
            (IndexOutcome::Ignored, &mut self.ignored),
        ];
        for (outcome, count) in counts {
            match std::mem::take(count) {
                0 => {}
                count => metrics.index_events(outcome, count),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use store_tracker::{MarketKeys, Output};
    use supervision::{Clock, Limits, Mailbox, Name, Overflow};

    use super::*;
    use crate::{
        env::{messages::Wake, telemetry::Telemetry},
        tracker::market_registry::{MarketRegistry, WakeEdges},
    };

    fn mailbox(limits: Limits) -> Mailbox<IndexEvents> {
        Mailbox::new("indexer", limits, &Clock::manual(Duration::ZERO))
    }

    fn metrics() -> (Telemetry, TrackerMetrics) {
        let telemetry = Telemetry::new().expect("an own registry refuses nothing");
        let metrics = TrackerMetrics::register(telemetry.meter(), &Clock::manual(Duration::ZERO));
        (telemetry, metrics)
    }

    #[track_caller]
    fn assert_counted(telemetry: &Telemetry, outcome: &str, count: u64) {
        let text = telemetry.render().expect("metrics");
        let line = format!("state_tracker_index_events_total{{outcome=\"{outcome}\"}} {count}");
        assert!(text.lines().any(|found| found == line), "no `{line}`");
    }

    fn market(name: &str) -> MarketEdges {
        let clock = Clock::manual(Duration::ZERO);
        let nobody = Mailbox::<Wake>::new("nobody", Limits::default(), &clock);
        let nobody = WakeEdges::new(&Name::new("test"), &nobody, &nobody);
        let keys = MarketKeys::new(&domain::Address::new("P"), &domain::Address::new(name));
        MarketEdges { keys, listener: nobody.clone(), finder: nobody }
    }

    fn keys(name: &str) -> IndexKeys {
        IndexKeys::plain(&Output { prefix: name.to_owned(), ..Output::default() })
    }

    #[test]
    fn events_of_the_common_channel_belong_to_the_one_index_or_to_none() {
        let markets = [market("one"), market("two")];
        let of_markets = Indexes::OfMarkets(MarketRegistry::new(markets.to_vec()));
        for (indexes, several) in [(Indexes::One(keys("one")), false), (of_markets, true)] {
            let unattributed = u64::from(several);
            let (mailbox, (telemetry, metrics)) = (mailbox(Limits::default()), metrics());
            let mut feed =
                Feed::new(IndexEdge::new(mailbox.address("test", Overflow::DropOldest), indexes), &markets);
            feed.collect(None, b"epoch:open:1");
            feed.collect(Some(usize::from(several)), b"epoch:open:2");
            feed.collect(None, b"peers:connected:4");
            let long = format!("submission:received:{}", "x".repeat(1 << 20));
            feed.collect(None, long.as_bytes());
            feed.hand_over(7, &metrics);
            let mut inbox = mailbox.open().expect("free");
            let message = inbox.try_recv().expect("a message");
            assert_eq!(message.events.len(), if several { 1 } else { 2 });
            assert_eq!(
                message.index,
                if several { IndexKeys::of_market(&markets[1].keys) } else { keys("one") }
            );
            assert_counted(&telemetry, "unattributed", unattributed);
            assert_counted(&telemetry, "oversized", 1);
            assert_counted(&telemetry, "ignored", 1);
            message.ack();
        }
    }

    #[test]
    fn a_million_events_without_an_indexer_stay_within_the_limits_and_the_dropped_ones_are_counted() {
        const EVENTS: u64 = 1_000_000;
        let limits = Limits { capacity: 1024, bytes: 1 << 20, ..Limits::default() };
        let (mailbox, (_telemetry, metrics)) = (mailbox(limits), metrics());
        let edge = IndexEdge::new(mailbox.address("test", Overflow::DropOldest), Indexes::One(keys("one")));
        let mut feed = Feed::new(edge.clone(), &[]);
        for event in 0..EVENTS {
            let payload = format!("submission:received:{event}:42:pair:UNI:1763900000:peer");
            if feed.collect(None, payload.as_bytes()) {
                feed.hand_over(7, &metrics);
            }
            let (events, bytes) = &feed.collected[0];
            assert!(events.len() < EVENTS_A_MESSAGE && *bytes < BYTES_A_MESSAGE, "{event}");
        }
        feed.hand_over(7, &metrics);
        let stats = mailbox.stats();
        assert!(stats.bytes <= limits.bytes as u64 && stats.waiting <= limits.capacity as u64, "{stats:?}");
        assert!(stats.dropped > 0 && stats.is_conserved(), "{stats:?}");
        let mut inbox = mailbox.open().expect("free");
        let (mut taken, mut dropped) = (0, 0);
        while let Some(message) = inbox.try_recv() {
            dropped += edge.take(message.number, message.events.len() as u64);
            taken += message.events.len() as u64;
            message.ack();
        }
        assert_eq!(taken + dropped, EVENTS);
        assert!(taken > 1000, "only {taken} were held");
        // A redelivered message is no hole.
        assert_eq!(edge.take(EVENTS - 5, 5), 0);
    }
}
