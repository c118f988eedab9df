//! The market registry: the markets that are served now, for the listener, the finder and the pruner, which serve all of them.
//!
//! It is shared state and no message, because it changes seldom: an actor reads it when it begins some work, or waits for a
//! change. It belongs to the tree, so a restarted actor finds the present markets and not those of the start. It does no I/O.

use std::sync::Arc;

use store_tracker::{IndexKeys, MarketKeys};
use supervision::{Address, Mailbox, Name, Overflow};
use tokio::sync::watch;

use crate::env::messages::Wake;

/// A market, and the edges to its actors.
#[derive(Clone)]
pub struct MarketEdges {
    /// The market's keys.
    pub keys: MarketKeys,
    /// Those of the listener. It wakes the epoch tracker at every event, and both after a new subscription.
    pub listener: WakeEdges,
    /// Those of the finder, which wakes both when it has found epochs.
    pub finder: WakeEdges,
}

/// One sender's edges to the actors of a market.
#[derive(Clone)]
pub struct WakeEdges {
    /// To the aggregator.
    pub aggregator: Address<Wake>,
    /// To the epoch tracker.
    pub epoch_tracker: Address<Wake>,
}

impl WakeEdges {
    /// The edges of this sender to the actors of these mailboxes. Messages are only wake-ups: merging two of them loses nothing.
    #[must_use]
    pub fn new(sender: &Name, aggregator: &Mailbox<Wake>, epoch_tracker: &Mailbox<Wake>) -> Self {
        Self {
            aggregator: aggregator.address(sender, Overflow::Coalesce),
            epoch_tracker: epoch_tracker.address(sender, Overflow::Coalesce),
        }
    }

    /// Wakes both. A full mailbox merges the message; it is refused only when the market is being stopped, and then no pass is needed.
    pub(crate) fn wake(&self, wake: &Wake) {
        for edge in [&self.aggregator, &self.epoch_tracker] {
            let _ = edge.try_send(wake.clone());
        }
    }
}

/// The markets of a tree. A clone is the same registry.
#[derive(Clone)]
pub struct MarketRegistry(watch::Sender<Arc<[MarketEdges]>>);

impl MarketRegistry {
    /// A registry of these markets.
    #[must_use]
    pub fn new(markets: Vec<MarketEdges>) -> Self {
        Self(watch::Sender::new(markets.into()))
    }

    /// The present markets.
    #[must_use]
    pub fn now(&self) -> Arc<[MarketEdges]> {
        self.0.borrow().clone()
    }

    /// Adds a market.
    pub fn add(&self, market: MarketEdges) {
        // `send_modify` and not `send`: it stores the value even without a subscriber.
        self.0.send_modify(|markets| *markets = markets.iter().cloned().chain([market]).collect());
    }

    /// Removes a market, by its address in checksum form.
    pub fn remove(&self, market: &str) {
        let stays = |edges: &&MarketEdges| edges.keys.market().checksummed() != market;
        self.0.send_modify(|markets| *markets = markets.iter().filter(stays).cloned().collect());
    }

    /// Subscribes to later changes.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Changes of a registry.
pub(crate) struct Changes(watch::Receiver<Arc<[MarketEdges]>>);

impl Changes {
    /// Waits for the next change; for ever when the registry has been dropped.
    pub(crate) async fn next(&mut self) {
        // An error means that no sender is left, so no change can come. To return would make the caller's loop spin.
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The state indexes that are maintained.
#[derive(Clone)]
pub enum Indexes {
    /// One index for all events.
    One(IndexKeys),
    /// One index for each market.
    OfMarkets(MarketRegistry),
}

impl Indexes {
    /// The present indexes.
    #[must_use]
    pub fn now(&self) -> Vec<IndexKeys> {
        match self {
            Self::One(keys) => vec![keys.clone()],
            Self::OfMarkets(registry) => Self::of(&registry.now()),
        }
    }

    /// The index of a market, by its address in checksum form, if there is one.
    pub(crate) fn of_market(&self, market: &str) -> Option<IndexKeys> {
        match self {
            Self::One(keys) => Some(keys.clone()),
            Self::OfMarkets(registry) => {
                let markets = registry.now();
                let edges = markets.iter().find(|edges| edges.keys.market().checksummed() == market);
                edges.map(|edges| IndexKeys::of_market(&edges.keys))
            }
        }
    }

    /// The indexes of these markets, in the same order; for [`Indexes::One`] that one index.
    pub(crate) fn of_these(&self, markets: &[MarketEdges]) -> Vec<IndexKeys> {
        match self {
            Self::One(keys) => vec![keys.clone()],
            Self::OfMarkets(_) => Self::of(markets),
        }
    }

    fn of(markets: &[MarketEdges]) -> Vec<IndexKeys> {
        markets.iter().map(|market| IndexKeys::of_market(&market.keys)).collect()
    }
}
