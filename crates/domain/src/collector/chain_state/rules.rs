//! What following a chain goes by, and what comes in.

use std::collections::BTreeMap;

use crate::chain::{BlockRef, ContractAddress, Hash, MarketEvent, Window, WindowState};

/// What the configuration and the contracts say. Times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How long submissions of each market are taken: `snapshotSubmissionWindow`.
    pub windows: BTreeMap<ContractAddress, u64>,
    /// How many windows of a market are open at once.
    pub max_windows: usize,
    /// How many blocks may be undone.
    pub max_reorg_depth: u64,
    /// How long what was submitted lives.
    pub inputs_live: u64,
    /// How long after its limit a window waits for a block that closes it.
    pub silence: u64,
    /// How long a block takes, for the estimate of a window's last block.
    pub block_time: f64,
}

/// Blocks that follow each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The blocks, in ascending order; the first one follows the last accepted one.
    pub blocks: Vec<BlockRef>,
    /// Where only the last one of them is in `blocks`: they are old enough for that.
    pub old: Option<Old>,
    /// The events of all of them with the numbers of their blocks, in the chain's order.
    pub events: Vec<(u64, MarketEvent)>,
    /// The time of the newest block of the chain, so that what is too old is known as such.
    pub head_time: u64,
}

/// Blocks of which one knows no more than their events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// The number of the first one.
    pub first: u64,
    /// The hash of the block before it.
    pub parent: Hash,
}

impl Rules {
    /// The window of an epoch that is released now, where so many windows of the market are open.
    pub(super) fn window(
        &self,
        market: ContractAddress,
        block: u64,
        released: u64,
        open: usize,
        day: Option<u64>,
    ) -> Window {
        let length = self.windows.get(&market).copied().unwrap_or(0);
        // As many blocks as fit; a time that is no use gives none.
        let blocks = (length as f64 / self.block_time).ceil();
        let blocks = if blocks.is_finite() && blocks > 0.0 { blocks as u64 } else { 0 };
        Window {
            release_block: block,
            released,
            limit: released.saturating_add(length),
            limit_block: block.saturating_add(blocks),
            day,
            state: if open < self.max_windows { WindowState::Open } else { WindowState::Waiting },
        }
    }
}
