//! The chain of the demo: one block a second, which releases the epochs that the producers have opened, and sometimes a
//! reorganisation. It mines on the node, lets the collector write for each block, and records both for the judge.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, SystemTime},
};

use color_eyre::eyre::{OptionExt, Result};
use testkit::{Dice, Emission, SharedTruth};
use tokio::time::{Instant, Interval, interval_at};

use super::{
    collector::{Collector, Epoch, Projects},
    servers::{Servers, WINDOW},
};

/// Time between two blocks, also between their timestamps.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// For how many blocks of a window the collector writes, from the releasing block on.
const SUBMITTED_WITHIN: u64 = 5;
/// The most blocks that a reorganisation replaces.
const DEEPEST: u64 = 3;
/// Number of blocks between two reorganisations.
const REORGANISE_EVERY: u64 = 7;

/// A hand-over stays even if a reorganisation drops its blocks (an orphaned delivery). The judge expects the submissions of the
/// final chain only, so no reorganisation may reach a block of a closed window for which the collector has written. The blocks of
/// another branch that the lying node shows are the newest ones, and fewer than those of a reorganisation.
const _: () = assert!(SUBMITTED_WITHIN + DEEPEST <= WINDOW);

pub(super) struct World<'a> {
    servers: &'a Servers,
    /// The record of the producers of each market.
    truths: Vec<SharedTruth>,
    collector: Collector,
    calm: bool,
    dice: Dice,
    /// Number of the newest block; `time` is its timestamp in Unix seconds.
    height: u64,
    time: u64,
    /// How many blocks the clock has caused; those of reorganisations are not counted.
    mined: u64,
    reorganisations: u64,
    /// The block that released each epoch of each market. A reorganisation removes the epochs of dropped blocks.
    released: BTreeMap<(usize, u64), u64>,
}

/// The expected results once every block is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expected {
    /// Number and hash of the newest block.
    pub(super) head: (u64, String),
    /// For each released epoch, whose window is closed, the submissions at the blocks of the final chain.
    pub(super) epochs: BTreeMap<Epoch, Projects>,
    /// Malformed keys among these submissions.
    pub(super) malformed: u64,
}

impl<'a> World<'a> {
    /// The chain on the node of `servers`. With `calm` it never reorganises.
    ///
    /// # Errors
    /// When the node does not answer.
    pub(super) async fn new(
        servers: &'a Servers,
        truths: Vec<SharedTruth>,
        collector: Collector,
        calm: bool,
    ) -> Result<Self> {
        let height = servers.anvil.height().await?;
        let (.., time) = servers.anvil.block(height).await?.ok_or_eyre("the node has no newest block")?;
        let (dice, released) = (Dice::new(1), BTreeMap::new());
        Ok(Self {
            servers,
            truths,
            collector,
            calm,
            dice,
            height,
            time,
            mined: 0,
            reorganisations: 0,
            released,
        })
    }

    /// The ticks at which blocks are due. After a late block the next ones follow at once, so that timestamps keep up with the
    /// clock.
    pub(super) fn ticks(&self) -> Interval {
        // The timestamps may be ahead of the clock, since deploying the contracts mines several blocks at once.
        let due = SystemTime::UNIX_EPOCH + Duration::from_secs(self.time) + BLOCK_TIME;
        let ahead = due.duration_since(SystemTime::now()).unwrap_or_default();
        interval_at(Instant::now() + ahead, BLOCK_TIME)
    }

    /// Mines the next block. Sometimes a reorganisation precedes it, which the returned text describes.
    ///
    /// # Errors
    /// When the node or Redis does not answer.
    pub(super) async fn next_block(&mut self) -> Result<Option<String>> {
        self.mined += 1;
        let is_time = !self.calm && self.mined.is_multiple_of(REORGANISE_EVERY);
        let news = if is_time { Some(self.reorganise().await?) } else { None };
        self.grow().await?;
        Ok(news)
    }

    /// Mines blocks without waiting, until the window of every opened epoch is closed.
    ///
    /// # Errors
    /// As [`Self::next_block`].
    pub(super) async fn finish(&mut self) -> Result<()> {
        // WINDOW + 1 blocks: the first one releases the last epochs, and the others close their windows.
        for _ in 0..=WINDOW {
            self.grow().await?;
        }
        Ok(())
    }

    /// The expected results, from the blocks that the node has now.
    ///
    /// # Errors
    /// When the node does not answer.
    pub(super) async fn expected(&self) -> Result<Expected> {
        let height = self.servers.anvil.height().await?;
        // By hash and not by number: a dropped block and its replacement have the same number.
        let (mut hashes, mut head) = (BTreeSet::new(), String::new());
        for number in 0..=height {
            let (hash, ..) = self.servers.anvil.block(number).await?.ok_or_eyre("the node lost a block")?;
            head.clone_from(&hash);
            hashes.insert(hash);
        }
        let released = self.released.keys().map(|(market, epoch)| (self.market(*market), *epoch));
        let mut expected = Expected { head: (height, head), ..Expected::default() };
        expected.epochs.extend(released.map(|epoch| (epoch, Projects::new())));
        for collected in self.collector.written().filter(|collected| hashes.contains(&collected.hash)) {
            let projects = expected.epochs.entry(collected.epoch.clone()).or_default();
            for submitted in &collected.submissions {
                match &submitted.project {
                    Some(project) => {
                        projects.entry(project.clone()).or_default().insert(submitted.key.clone());
                    }
                    None => expected.malformed += 1,
                }
            }
        }
        Ok(expected)
    }

    /// The number of the newest block.
    pub(super) fn height(&self) -> u64 {
        self.height
    }

    /// A market as the collector's keys spell it.
    fn market(&self, index: usize) -> String {
        self.servers.contracts.markets[index].to_lowercase()
    }

    /// Drops some blocks and mines as many new ones with the same timestamps, which release the epochs of the dropped ones again.
    async fn reorganise(&mut self) -> Result<String> {
        let (depth, head) = (1 + self.dice.roll(DEEPEST), self.height);
        let Servers { anvil, contracts, .. } = self.servers;
        anvil.roll_back(depth).await?;
        (self.height, self.time) = (self.height - depth, self.time - depth);
        // Epochs of dropped blocks are not released any more: `grow` releases them again.
        self.released.retain(|_, block| *block <= self.height);
        self.reorganisations += 1;
        // Without this event, the first new block could be equal to the dropped one, hash included.
        let other = Emission::Unknown { epoch: self.reorganisations };
        anvil.emit(contracts, &contracts.markets[0], &other).await?;
        let from = self.height + 1;
        for _ in 0..depth {
            self.grow().await?;
        }
        Ok(match depth {
            1 => format!("the node replaces block {head}: a reorganisation"),
            _ => format!("the node replaces blocks {from} to {head}: a reorganisation"),
        })
    }

    /// Mines one block, with its releases and the submissions at it.
    async fn grow(&mut self) -> Result<()> {
        let Servers { anvil, contracts, .. } = self.servers;
        (self.height, self.time) = (self.height + 1, self.time + BLOCK_TIME.as_secs());
        for (index, market) in contracts.markets.iter().enumerate() {
            let opened: Vec<u64> = self.truths[index].read(|truth| truth.epochs.keys().copied().collect());
            for epoch in opened {
                if self.released.contains_key(&(index, epoch)) {
                    continue;
                }
                anvil
                    .emit(contracts, market, &Emission::EpochReleased { epoch, begin: epoch, end: epoch })
                    .await?;
                self.released.insert((index, epoch), self.height);
            }
        }
        // An explicit timestamp: several blocks of a reorganisation are mined in one second of the clock.
        anvil.mine_at(self.time).await?;
        let (hash, ..) = anvil.block(self.height).await?.ok_or_eyre("the node did not mine")?;
        for (&(index, epoch), &from) in &self.released {
            // Submissions belong to a block hash, so each block of a window gets a set of its own.
            if (from..from + SUBMITTED_WITHIN).contains(&self.height) {
                let market = self.market(index);
                self.collector.collect((market, epoch), &hash).await?;
            }
        }
        Ok(())
    }
}
