//! The undo log: what each of the last accepted blocks has changed.

use serde::{Deserialize, Serialize};

use super::Handed;
use crate::chain::{BlockRef, ContractAddress, Window};

/// An entry of the undo log: an accepted block, and the state before it of what it changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deeds {
    /// The block.
    pub block: BlockRef,
    /// The markets that it changed, as they were.
    pub before: Vec<Before>,
    /// The batches that it delivered to the attestor.
    pub handed: Vec<Handed>,
}

/// The state of a market before a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The market.
    pub market: ContractAddress,
    /// The highest epoch that was released.
    pub current: Option<u64>,
    /// The day that began last.
    pub day: Option<u64>,
    /// The windows that the block changed, as they were; `None` for one that it opened.
    pub windows: Vec<(u64, Option<Window>)>,
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

impl Deeds {
    /// The record of a market before this block; made before the block's first change of it.
    pub(super) fn of(
        &mut self,
        market: ContractAddress,
        (current, day): (Option<u64>, Option<u64>),
    ) -> &mut Before {
        let at = self.before.iter().position(|before| before.market == market);
        let at = at.unwrap_or_else(|| {
            self.before.push(Before { market, current, day, windows: Vec::new() });
            self.before.len() - 1
        });
        &mut self.before[at]
    }
}

impl Before {
    /// Records a window as it was, unless an earlier change of the same block has recorded it.
    pub(super) fn keep(&mut self, epoch: u64, window: Option<Window>) {
        if self.windows.iter().all(|(known, _)| *known != epoch) {
            self.windows.push((epoch, window));
        }
    }
}
