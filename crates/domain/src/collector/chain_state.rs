//! The chain state: everything known of a chain, and how accepted blocks, dropped blocks, the clock and hand-overs change it.
//!
//! Pure. Each change is a [`Transition`]: the state after it, the effects that have to be written, and what is reported then. The
//! store writes the effects of a transition by compare-and-set, so each of them happens once. Times are Unix seconds of the chain.

mod apply;
mod close;
mod day;
mod days;
mod effects;
mod market;
mod measure;
mod notes;
mod revert;
mod rules;
mod segment;
mod take_over;
#[cfg(test)]
mod tests;
mod transition;
mod undo_log;

use std::collections::BTreeMap;

use crate::chain::{BlockRef, ContractAddress, Hash};
pub use day::Day;
pub use effects::Effect;
pub use market::Market;
pub use measure::Measured;
pub use notes::{FinalizedBatch, Note, SubmittedBatch};
pub use rules::{AtRelease, Clocks, Followed, Releases, Rules};
pub use segment::{EventsOnly, Segment};
pub use take_over::TakeOver;
pub use transition::Transition;
pub use undo_log::{MarketBefore, TooDeep, UndoEntry};

/// The chain state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainState {
    /// The last accepted block; `None` before the first one.
    pub checkpoint: Option<BlockRef>,
    /// The undo log: what each of the last accepted blocks changed, in ascending order.
    pub undo_log: Vec<UndoEntry>,
    /// Orphaned deliveries: batches of dropped blocks that the attestor has. They are not delivered again.
    pub orphaned: Vec<SubmittedBatch>,
    /// The markets of this tracker and of all others on the same chain state. Each tracker applies the events of all of them: a block
    /// is accepted once, by whichever tracker comes first.
    pub markets: BTreeMap<ContractAddress, Market>,
    /// The markets that are followed up to the checkpoint; the others are taken over there. A market stays until it is removed.
    pub followed: BTreeMap<ContractAddress, Followed>,
}

/// Why blocks are not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The first block is not a child of the last accepted one.
    #[error("block {number}: its parent is {parent}, and the accepted block before it is {accepted}")]
    Reorganised {
        /// The number of the block.
        number: u64,
        /// The hash of its parent.
        parent: Hash,
        /// The hash of the last accepted block.
        accepted: Hash,
    },
    /// A block is missing in between, or no block was given.
    #[error("block {expected} is missing: {}", found.map_or("no block came".to_owned(), |found| format!("block {found} came")))]
    Gap {
        /// The number that is expected.
        expected: u64,
        /// The number that was found.
        found: Option<u64>,
    },
}
