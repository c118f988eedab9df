//! The rules of the chain state, and the segments that it accepts.

use std::collections::BTreeMap;

use crate::chain::{BlockRef, ContractAddress, Hash, MarketEvent, Window, WindowState};

/// Values from the configuration and the contracts. Times are seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// The length of each market's submission window: `snapshotSubmissionWindow`.
    pub windows: BTreeMap<ContractAddress, u64>,
    /// How many windows of a market are open at once.
    pub max_windows: usize,
    /// How many blocks may be undone.
    pub max_reorg_depth: u64,
    /// How long submissions live in Redis.
    pub inputs_live: u64,
    /// How long after its limit a window waits for a block that closes it.
    pub silence: u64,
    /// How long a block takes, for the estimate of a window's last block.
    pub block_time: f64,
}

/// A segment: consecutive blocks with their events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stretch {
    /// The blocks, in ascending order; the first one follows the last accepted one.
    pub blocks: Vec<BlockRef>,
    /// Set for an events-only segment, of which `blocks` holds only the last block.
    pub old: Option<Old>,
    /// The events of all blocks with the blocks' numbers, in the chain's order.
    pub events: Vec<(u64, MarketEvent)>,
    /// The time of the chain's newest block in Unix seconds, by which expired epochs are recognised.
    pub head_time: u64,
}

/// The start of an events-only segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// The number of its first block.
    pub first: u64,
    /// The hash of the block before it.
    pub parent: Hash,
}

impl Rules {
    /// The window of an epoch that is released now, while `open` windows of its market are open.
    pub(super) fn window(
        &self,
        market: ContractAddress,
        block: u64,
        released: u64,
        open: usize,
        day: Option<u64>,
    ) -> Window {
        let length = self.windows.get(&market).copied().unwrap_or(0);
        // An estimate for other programs. A block time of 0 adds no blocks: infinity as an integer is `u64::MAX`.
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
