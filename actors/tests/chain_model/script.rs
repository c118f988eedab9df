//! The scripted chain: a tree of blocks, of which nodes serve branches. Pure; no code of the product.

use std::collections::{BTreeMap, BTreeSet};

/// A block of the tree.
pub type Id = usize;

/// The contract whose events are followed.
pub const CONTRACT: &str = "0x00000000000000000000000000000000000000aa";
/// The markets, in lower case and in checksum form. The last one is never followed.
pub const MARKETS: [&str; 4] = [
    "0x21cb57c1f2352ad215a463dd867b838749cd3b8f",
    "0xb5ce2f9b71e785e3ec0c45ede06ad95c3bb71a4d",
    "0x0c2e22fe7526fafeb5ec55a9c25ea32ee6d4d8ba",
    "0x00000000000000000000000000000000000000bb",
];
pub const CHECKSUM: [&str; 3] = [
    "0x21cb57C1f2352ad215a463DD867b838749CD3b8f",
    "0xb5cE2F9B71e785e3eC0C45EDE06Ad95c3bb71a4d",
    "0x0c2e22Fe7526FafeB5eC55A9C25EA32ee6D4d8BA",
];
/// The day of each market before the first change.
pub const FIRST_DAY: u64 = 7;

/// A submitted batch: market, epoch, and which one.
pub type Submitted = (usize, u64, u64);

/// The content id of a submitted batch.
pub fn cid((market, epoch, batch): Submitted) -> String {
    format!("bafy-{market}-{epoch}-{batch}")
}

/// An event of a market, or a change of its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An epoch is released.
    Released { market: usize, epoch: u64 },
    /// A day begins.
    Day { market: usize, day: u64 },
    /// An event without an effect here.
    Completed { market: usize, epoch: u64 },
    /// A release whose data are cut off.
    Broken { market: usize, epoch: u64 },
    /// A finalizer has submitted a batch.
    Submitted { market: usize, epoch: u64, batch: u64 },
    /// The contract gives windows another length from this block on, in seconds. There is no log of it.
    Length { market: usize, seconds: u64 },
}

#[derive(Clone, Debug)]
pub struct Block {
    pub number: u64,
    pub parent: Id,
    pub time: u64,
    pub events: Vec<Event>,
}

/// All blocks that ever were; block 0 is the genesis.
#[derive(Clone, Debug)]
pub struct Script {
    seed: u64,
    pub blocks: Vec<Block>,
    hashes: Vec<String>,
    by_hash: BTreeMap<String, Id>,
}

impl Script {
    pub fn new(seed: u64, time: u64) -> Self {
        let (blocks, hashes, by_hash) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut script = Self { seed, blocks, hashes, by_hash };
        script.push(Block { number: 0, parent: 0, time, events: Vec::new() });
        script
    }

    pub fn add(&mut self, parent: Id, time: u64, events: Vec<Event>) -> Id {
        let number = self.blocks[parent].number + 1;
        self.push(Block { number, parent, time, events })
    }

    fn push(&mut self, block: Block) -> Id {
        let id = self.blocks.len();
        let mut dice = testkit::Dice::new(self.seed.wrapping_mul(1_000_003) + id as u64);
        let words: Vec<String> = (0..4).map(|_| format!("{:016x}", dice.roll(u64::MAX))).collect();
        let hash = format!("0x{}", words.concat());
        self.by_hash.insert(hash.clone(), id);
        self.hashes.push(hash);
        self.blocks.push(block);
        id
    }

    /// The hash of a block, as nodes spell it.
    pub fn hash(&self, id: Id) -> &str {
        &self.hashes[id]
    }

    /// Whether its nodes evaluate view functions at a block that is named by its hash.
    pub fn takes_hashes(&self) -> bool {
        !self.seed.is_multiple_of(3)
    }

    /// The block of this hash.
    pub fn of(&self, hash: &str) -> Option<Id> {
        self.by_hash.get(hash).copied()
    }

    /// The blocks from the genesis to this one, by their numbers.
    pub fn branch(&self, tip: Id) -> Vec<Id> {
        let mut branch = vec![tip];
        let mut at = tip;
        while at != 0 {
            at = self.blocks[at].parent;
            branch.push(at);
        }
        branch.reverse();
        branch
    }

    pub fn is_on(&self, block: Id, tip: Id) -> bool {
        self.branch(tip).get(self.blocks[block].number as usize) == Some(&block)
    }

    /// The block of this many blocks before.
    pub fn back(&self, tip: Id, blocks: u64) -> Id {
        let branch = self.branch(tip);
        branch[branch.len().saturating_sub(1 + blocks as usize)]
    }

    /// How many blocks of the one branch are not on the other one.
    pub fn dropped(&self, from: Id, to: Id) -> u64 {
        let kept =
            self.branch(from).iter().zip(&self.branch(to)).take_while(|(one, other)| one == other).count();
        self.blocks[from].number + 1 - kept as u64
    }

    /// The day that the contract gives at a block: that of its state.
    pub fn day(&self, market: usize, at: Id) -> u64 {
        let mut day = FIRST_DAY;
        for block in self.branch(at) {
            for event in &self.blocks[block].events {
                match event {
                    Event::Day { market: of, day: new } if *of == market => day = *new,
                    _ => {}
                }
            }
        }
        day
    }

    /// The day that was announced last up to a block, from the block of a number on.
    pub fn announced_day(&self, market: usize, at: Id, first: u64) -> Option<u64> {
        let branch = self.branch(at);
        let events = branch.iter().skip(first as usize).flat_map(|block| self.blocks[*block].events.iter());
        let days = events.filter_map(|event| match event {
            Event::Day { market: of, day } if *of == market => Some(*day),
            _ => None,
        });
        days.fold(None, |_, day| Some(day))
    }

    /// The length of windows that the contract gives at a block, if it was changed once.
    pub fn length(&self, market: usize, at: Id) -> Option<u64> {
        let branch = self.branch(at);
        let events = branch.iter().rev().flat_map(|block| self.blocks[*block].events.iter().rev());
        let lengths = events.filter_map(|event| match event {
            Event::Length { market: of, seconds } if *of == market => Some(*seconds),
            _ => None,
        });
        lengths.into_iter().next()
    }

    /// Every length that the contract has ever given, on any branch.
    pub fn lengths(&self, market: usize, first: u64) -> BTreeSet<u64> {
        let events = self.blocks.iter().flat_map(|block| &block.events);
        let changes = events.filter_map(|event| match event {
            Event::Length { market: of, seconds } if *of == market => Some(*seconds),
            _ => None,
        });
        changes.chain([first]).collect()
    }

    /// The submitted batches of some markets on a branch, in their order: the block, the place in it, and the batch.
    pub fn submitted(&self, branch: &[Id]) -> Vec<(Id, usize, Submitted)> {
        let mut all = Vec::new();
        for block in branch {
            for (place, event) in self.blocks[*block].events.iter().enumerate() {
                if let Event::Submitted { market, epoch, batch } = event {
                    all.push((*block, place, (*market, *epoch, *batch)));
                }
            }
        }
        all
    }

    /// The number of the last block that two branches share.
    pub fn fork(&self, one: Id, other: Id) -> u64 {
        self.blocks[one].number - self.dropped(one, other)
    }

    /// The first release of each epoch of a market on a branch, in their order: the index of the block on the branch.
    pub fn releases(&self, market: usize, branch: &[Id], first: u64) -> Vec<(u64, usize)> {
        let (mut known, mut all) = (BTreeMap::new(), Vec::new());
        for (index, block) in branch.iter().enumerate().skip(first as usize) {
            for event in &self.blocks[*block].events {
                let Event::Released { market: of, epoch } = event else { continue };
                if *of == market && known.insert(*epoch, index).is_none() {
                    all.push((*epoch, index));
                }
            }
        }
        all
    }
}
