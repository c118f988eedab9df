//! The chain of the demo: a block a second, which releases the epochs that the producers have opened; now and then the
//! node reorganises. Touches the node, and lets the collector write for each block. Remembers what it did, so that the
//! outcome can be judged.

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

/// From one block to the next, in the chain's time too.
const BLOCK_TIME: Duration = Duration::from_secs(1);
/// Collectors write for so many blocks of a window, the one that released the epoch first.
const SUBMITTED_WITHIN: u64 = 5;
/// So many blocks a reorganisation replaces at most.
const DEEPEST: u64 = 3;
/// After so many blocks comes one.
const REORGANISE_EVERY: u64 = 7;

/// What is handed over stays, also where its blocks are dropped later. So that what was submitted at the blocks that stand
/// is all there is to compare with, no reorganisation reaches a block of a closed window for which collectors have written.
const _: () = assert!(SUBMITTED_WITHIN + DEEPEST <= WINDOW);

pub(super) struct World<'a> {
    servers: &'a Servers,
    /// What the producers of each market have done.
    truths: Vec<SharedTruth>,
    collector: Collector,
    calm: bool,
    dice: Dice,
    /// Of the newest block: its number, and its time in Unix seconds.
    height: u64,
    time: u64,
    /// Blocks that came by themselves.
    came: u64,
    reorganisations: u64,
    /// The block that released each epoch of each market, as far as it still stands.
    released: BTreeMap<(usize, u64), u64>,
}

/// What must have come of the chain once all of it was followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Number and hash of the newest block.
    pub(super) head: (u64, String),
    /// For each released epoch, what was submitted at the blocks that stand: its window is over.
    pub(super) epochs: BTreeMap<Epoch, Projects>,
    /// Malformed keys among what was submitted there.
    pub(super) malformed: u64,
}

impl<'a> World<'a> {
    /// On the node of these servers. With `calm` it never reorganises.
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
            came: 0,
            reorganisations: 0,
            released,
        })
    }

    /// When the blocks are due: where one comes late, those behind it come as soon as they can, so that the chain's time
    /// stays with ours.
    pub(super) fn ticks(&self) -> Interval {
        let due = SystemTime::UNIX_EPOCH + Duration::from_secs(self.time) + BLOCK_TIME;
        let ahead = due.duration_since(SystemTime::now()).unwrap_or_default();
        interval_at(Instant::now() + ahead, BLOCK_TIME)
    }

    /// The next block, perhaps after a reorganisation: then it is told.
    ///
    /// # Errors
    /// When node or Redis do not answer.
    pub(super) async fn next_block(&mut self) -> Result<Option<String>> {
        self.came += 1;
        let is_time = !self.calm && self.came.is_multiple_of(REORGANISE_EVERY);
        let news = if is_time { Some(self.reorganise().await?) } else { None };
        self.grow().await?;
        Ok(news)
    }

    /// Lets the chain go on, faster than it does, until the window of every epoch is over that was opened.
    ///
    /// # Errors
    /// As [`Self::next_block`].
    pub(super) async fn finish(&mut self) -> Result<()> {
        // The first of them releases what is not released yet.
        for _ in 0..=WINDOW {
            self.grow().await?;
        }
        Ok(())
    }

    /// What stands now, as the node tells it.
    ///
    /// # Errors
    /// When the node does not answer.
    pub(super) async fn standing(&self) -> Result<Standing> {
        let height = self.servers.anvil.height().await?;
        let (mut hashes, mut head) = (BTreeSet::new(), String::new());
        for number in 0..=height {
            let (hash, ..) = self.servers.anvil.block(number).await?.ok_or_eyre("the node lost a block")?;
            head.clone_from(&hash);
            hashes.insert(hash);
        }
        let released = self.released.keys().map(|(market, epoch)| (self.market(*market), *epoch));
        let mut standing = Standing { head: (height, head), ..Standing::default() };
        standing.epochs.extend(released.map(|epoch| (epoch, Projects::new())));
        for collected in self.collector.written().filter(|collected| hashes.contains(&collected.hash)) {
            let projects = standing.epochs.entry(collected.epoch.clone()).or_default();
            for submitted in &collected.submissions {
                match &submitted.project {
                    Some(project) => {
                        projects.entry(project.clone()).or_default().insert(submitted.key.clone());
                    }
                    None => standing.malformed += 1,
                }
            }
        }
        Ok(standing)
    }

    /// A market as the keys of the chain's side spell it.
    fn market(&self, index: usize) -> String {
        self.servers.contracts.markets[index].to_lowercase()
    }

    /// Drops some blocks and mines as many others, each at the same time as the one in whose place it comes. What the
    /// dropped ones released is released again.
    async fn reorganise(&mut self) -> Result<String> {
        let (depth, head) = (1 + self.dice.roll(DEEPEST), self.height);
        let Servers { anvil, contracts, .. } = self.servers;
        anvil.roll_back(depth).await?;
        (self.height, self.time) = (self.height - depth, self.time - depth);
        self.released.retain(|_, block| *block <= self.height);
        self.reorganisations += 1;
        // An event that nobody knows makes the first of them another block than the one before.
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

    /// One block more, with what belongs to it.
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
        anvil.mine_at(self.time).await?;
        let (hash, ..) = anvil.block(self.height).await?.ok_or_eyre("the node did not mine")?;
        for (&(index, epoch), &from) in &self.released {
            if (from..from + SUBMITTED_WITHIN).contains(&self.height) {
                let market = self.market(index);
                self.collector.collect((market, epoch), &hash).await?;
            }
        }
        Ok(())
    }
}
