//! A chain with random events of two markets, and the submissions that collectors write for its blocks.
//!
//! Everything follows from a seed, except addresses and hashes, which the node makes.
//!
//! # Panics
//! All functions panic when the node or Redis does not answer.

#![allow(clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Anvil, Contracts, Dice, Emission, collector,
    contents::{Content, Contents, contents},
};
use redis::aio::MultiplexedConnection;

/// The length of a submission window, in seconds; a block takes one second.
pub const WINDOW: u64 = 20;
/// Submissions come within this many blocks of the release, so that no reorganisation of the tests reaches them once
/// the window is closed.
const SUBMITTED_WITHIN: u64 = 5;

/// The chain, and its history.
#[derive(Debug)]
pub struct World {
    /// The node.
    pub anvil: Anvil,
    /// Protocol state, and two markets.
    pub contracts: Contracts,
    /// The source of everything random.
    pub dice: Dice,
    /// The time of the newest block, in Unix seconds.
    time: u64,
    /// The number of the branch, which makes its blocks differ from those that they replace.
    branch: u64,
    /// The next epoch of each market.
    epochs: Vec<u64>,
    /// The release block of each epoch by market and epoch, as far as the block is still on the chain.
    released: BTreeMap<(usize, u64), u64>,
}

impl World {
    /// A node with contracts and the first day of two markets.
    pub async fn new(seed: u64) -> Self {
        let anvil = Anvil::start().await.expect("a node");
        let contracts = anvil.deploy(2).await.expect("contracts");
        for market in &contracts.markets {
            let views = [WINDOW, 86_400_000_000, 10, 7, 7_200];
            anvil.set_market(&contracts, market, views).await.expect("set");
        }
        anvil.mine().await.expect("mined");
        // A day that begins within the followed blocks.
        for market in &contracts.markets {
            anvil.emit(&contracts, market, &Emission::DayStarted { day: 7 }).await.expect("emitted");
        }
        anvil.mine().await.expect("mined");
        let dice = Dice::new(seed);
        let mut world = Self {
            anvil,
            contracts,
            dice,
            time: 0,
            branch: 0,
            epochs: vec![100, 500],
            released: BTreeMap::new(),
        };
        world.look_at_the_time().await;
        world
    }

    async fn look_at_the_time(&mut self) {
        let head = self.anvil.block(self.height().await).await.expect("asked").expect("a head");
        self.time = head.2;
    }

    /// The number of the newest block.
    pub async fn height(&self) -> u64 {
        self.anvil.height().await.expect("a height")
    }

    /// Mines blocks, some of which release epochs, some of them twice.
    pub async fn grow(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let height = self.height().await + 1;
            for index in 0..self.contracts.markets.len() {
                let market = self.contracts.markets[index].clone();
                if self.dice.roll(5) == 0 {
                    let epoch = self.epochs[index];
                    self.epochs[index] += 1;
                    self.released.insert((index, epoch), height);
                    for _ in 0..=self.dice.roll(8) / 7 {
                        self.emit(&market, &Emission::EpochReleased { epoch, begin: 0, end: 1 }).await;
                    }
                }
                // Without this event a block of another branch, at the same time and without releases, would have the
                // same hash.
                if self.branch > 0 || self.dice.roll(10) == 0 {
                    self.emit(&market, &Emission::Unknown { epoch: self.branch }).await;
                }
            }
            self.mine().await;
        }
    }

    /// Mines one block with the emitted events.
    pub async fn mine(&mut self) {
        self.time += 1;
        self.anvil.mine_at(self.time).await.expect("mined");
    }

    /// Sets the length of windows, from the next block on.
    pub async fn set_window(&mut self, seconds: u64) {
        for market in &self.contracts.markets {
            let views = [seconds, 86_400_000_000, 10, 7, 7_200];
            self.anvil.set_market(&self.contracts, market, views).await.expect("set");
        }
        self.mine().await;
    }

    /// Grows in portions, so that submissions are written long before their window closes.
    pub async fn grow_collected(&mut self, blocks: u64, connection: &mut MultiplexedConnection) {
        let mut left = blocks;
        while left > 0 {
            let now = left.min(WINDOW - 2 * SUBMITTED_WITHIN - 2);
            let from = self.height().await.saturating_sub(WINDOW);
            self.grow(now).await;
            self.collect(connection, from).await;
            left -= now;
        }
    }

    /// Emits an event of a market in the next block.
    pub async fn emit(&self, market: &str, emission: &Emission) {
        self.anvil.emit(&self.contracts, market, emission).await.expect("emitted");
    }

    /// Drops the last blocks and mines others in their place, each with the time of the block that it replaces. Windows
    /// then close at the same number on each branch, so that batches handed over meanwhile are right on both.
    pub async fn reorganise(&mut self, depth: u64) {
        let height = self.height().await;
        self.anvil.roll_back(depth).await.expect("rolled back");
        self.time -= depth;
        self.branch += 1;
        let dropped: Vec<(usize, u64)> = self
            .released
            .iter()
            .filter(|(_, block)| **block > height - depth)
            .map(|(epoch, _)| *epoch)
            .collect();
        self.released.retain(|_, block| *block <= height - depth);
        // Some of the dropped epochs are released again on the new branch, in other blocks.
        for (index, epoch) in dropped {
            if self.dice.roll(2) == 0 {
                self.epochs[index] = self.epochs[index].min(epoch);
            }
        }
        self.grow(depth).await;
    }

    /// The same, with the submissions at the new blocks.
    pub async fn reorganise_collected(&mut self, depth: u64, connection: &mut MultiplexedConnection) {
        let from = self.height().await.saturating_sub(depth);
        self.reorganise(depth).await;
        self.collect(connection, from).await;
    }

    /// The submissions at the blocks from this one on, by key. The same block has the same submissions each time.
    pub async fn inputs(&self, from: u64) -> BTreeMap<String, BTreeSet<String>> {
        let mut inputs = BTreeMap::<String, BTreeSet<String>>::new();
        for (&(index, epoch), &block) in &self.released {
            let market = &self.contracts.markets[index];
            for number in block.max(from)..block + SUBMITTED_WITHIN {
                let Some((hash, ..)) = self.anvil.block(number).await.expect("a block") else { break };
                // Its own dice: submissions must not depend on how often they were asked for.
                let mut dice = Dice::new(epoch * 1_000_003 + number);
                let submitted = collector::submissions(&mut dice, market, epoch);
                let members: BTreeSet<String> = submitted.into_iter().map(|member| member.key).collect();
                if !members.is_empty() {
                    inputs.insert(collector::set(market, epoch, &hash), members);
                }
            }
        }
        inputs
    }

    /// Writes the submissions at the blocks from this one on.
    pub async fn collect(&self, connection: &mut MultiplexedConnection, from: u64) {
        for (key, members) in self.inputs(from).await {
            let _: u64 = redis::cmd("SADD")
                .arg(&key)
                .arg(members.into_iter().collect::<Vec<_>>())
                .query_async(connection)
                .await
                .expect("written");
        }
    }

    /// What finalizers, relayers and dashboards read of the chain, and the tracker's own keys of it: everything except
    /// submissions, the producers' keys and the datasets. The queue is split by market, since markets are prepared side
    /// by side and only the order within a market is fixed.
    pub async fn left(&self, connection: &mut MultiplexedConnection) -> Contents {
        let protocol = &self.contracts.protocol_state;
        let is_of_chain = |key: &str| {
            !key.starts_with("SnapshotCollector.") && !key.to_lowercase().contains(protocol.as_str())
        };
        let mut all = contents(connection, is_of_chain).await;
        for job in all.remove("finalizerQueue").into_iter().flat_map(|queue| queue.words) {
            let read: serde_json::Value = serde_json::from_str(&job).expect("a job is JSON");
            let market = format!("finalizerQueue of {}", read["DataMarketAddress"]);
            let nothing = Content { expires: false, words: Vec::new() };
            all.entry(market).or_insert(nothing).words.push(job);
        }
        all
    }

    /// How many epochs were released.
    #[must_use]
    pub fn releases(&self) -> usize {
        self.released.len()
    }
}
