//! The undo log: what each of the last accepted blocks has changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Day, FinalizedBatch, SubmittedBatch};
use crate::{
    chain::{BlockRef, ContractAddress, Window},
    collector::Rollover,
};

/// An entry of the undo log: an accepted block, and the state before it of what it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoEntry {
    /// The block.
    pub block: BlockRef,
    /// The markets that it changed, as they were.
    pub before: BTreeMap<ContractAddress, MarketBefore>,
    /// The batches that it delivered to the attestor.
    pub submitted: Vec<SubmittedBatch>,
    /// The batches that it finalised.
    pub finalized: Vec<FinalizedBatch>,
}

/// The state of a market before a change, as far as it was changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarketBefore {
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<Day>,
    /// The day of the epoch that was released last.
    #[serde(default)]
    pub last_day: Option<u64>,
    /// The windows that were changed, as they were; `None` for one that was opened.
    pub windows: BTreeMap<u64, Option<Window>>,
    /// The changes of day that were changed, as they were; `None` for one that was new.
    #[serde(default)]
    pub rollovers: BTreeMap<u64, Option<Rollover>>,
}

/// A reorganisation reaches back further than anything that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot roll back from block {from} to block {to}: at most {depth} blocks can be undone")]
pub struct TooDeep {
    /// The last accepted block.
    pub from: u64,
    /// Where the chains part, or before.
    pub to: u64,
    /// How deep a reorganisation may be, in blocks.
    pub depth: u64,
}

impl UndoEntry {
    /// The entry of a block that has changed nothing yet.
    pub(super) fn new(block: BlockRef) -> Self {
        Self { block, before: BTreeMap::new(), submitted: Vec::new(), finalized: Vec::new() }
    }
}
