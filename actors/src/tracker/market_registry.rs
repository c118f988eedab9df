//! The registry: the markets that there are now, for actors that serve all of them.
//!
//! It is no message but a fact that changes seldom: an actor that serves all markets reads it when it begins a piece of
//! work, or waits for it to change. It belongs to the tree, so a restarted actor finds the present markets, not
//! those of the start. Touches nothing.

use std::sync::Arc;

use store_tracker::{IndexKeys, MarketKeys};
use supervision::Address;
use tokio::sync::watch;

use crate::env::messages::Look;

/// A market and the edges to it.
#[derive(Clone)]
pub struct MarketEdges {
    /// The market's keys, for its own channel.
    pub keys: MarketKeys,
    /// To its aggregator: gaps only.
    pub aggregator: Address<Look>,
    /// To its epoch tracker: every event.
    pub epoch_tracker: Address<Look>,
    /// To its epoch tracker from the chain, where one is followed: every released epoch.
    pub of_chain: Option<Address<Look>>,
}

/// The markets of a tree. Clones are the same registry.
#[derive(Clone)]
pub struct MarketRegistry(watch::Sender<Arc<[MarketEdges]>>);

impl MarketRegistry {
    /// A registry of these markets.
    #[must_use]
    pub fn new(markets: Vec<MarketEdges>) -> Self {
        Self(watch::Sender::new(markets.into()))
    }

    /// The markets that there are now.
    #[must_use]
    pub fn now(&self) -> Arc<[MarketEdges]> {
        self.0.borrow().clone()
    }

    /// Adds a market.
    pub fn add(&self, market: MarketEdges) {
        self.0.send_modify(|markets| *markets = markets.iter().cloned().chain([market]).collect());
    }

    /// Takes a market out, by its address in checksum form.
    pub fn remove(&self, market: &str) {
        let stays = |edges: &&MarketEdges| edges.keys.market().checksummed() != market;
        self.0.send_modify(|markets| *markets = markets.iter().filter(stays).cloned().collect());
    }

    /// Tells of changes that come after this.
    pub(crate) fn changes(&self) -> Changes {
        Changes(self.0.subscribe())
    }
}

/// Changes of a registry.
pub(crate) struct Changes(watch::Receiver<Arc<[MarketEdges]>>);

impl Changes {
    /// Waits for the next change. Who holds a [`MarketRegistry`] waits for ever when there is none.
    pub(crate) async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The state indexes that are kept.
#[derive(Clone)]
pub enum Indexes {
    /// One for all events.
    One(IndexKeys),
    /// One a market.
    OfMarkets(MarketRegistry),
}

impl Indexes {
    /// Those that there are now.
    #[must_use]
    pub fn now(&self) -> Vec<IndexKeys> {
        match self {
            Self::One(keys) => vec![keys.clone()],
            Self::OfMarkets(registry) => Self::of(&registry.now()),
        }
    }

    /// Those of these markets, in their order; the one where there is one.
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
