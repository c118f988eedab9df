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
    /// How long a set of submissions lives in Redis after it was written, which may be as early as the release of its epoch.
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
    /// When it is accepted, by which expired epochs are recognised.
    pub now: Clocks,
}

/// A moment by two clocks, in Unix seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    /// The time of the chain's newest block.
    pub chain: u64,
    /// The clock of Redis, which expires the submissions.
    pub redis: u64,
}

/// How long before the first submissions can expire an epoch counts as expired, in seconds; at most a tenth of their life. The batches
/// are read and handed over in this time, and collectors may learn of a release sooner than we do.
const MARGIN: u64 = 60;

/// The start of an events-only segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Old {
    /// The number of its first block.
    pub first: u64,
    /// The hash of the block before it.
    pub parent: Hash,
}

impl Rules {
    fn margin(&self) -> u64 {
        MARGIN.min(self.inputs_live / 10)
    }

    /// How long after the release all submissions of an epoch are certainly there.
    fn complete_for(&self) -> u64 {
        self.inputs_live - self.margin()
    }

    /// Whether a window has to be closed at this time of Redis, though it is not known that no block comes before its limit: its
    /// submissions are about to expire, and its length has passed.
    pub(super) fn is_last_call(&self, window: &Window, redis: u64) -> bool {
        let since_release = redis.saturating_add(self.complete_for()).saturating_sub(window.expires);
        redis.saturating_add(self.margin()) >= window.expires
            && since_release >= window.limit.saturating_sub(window.released)
    }

    /// The window of an epoch that was released, while `open` windows of its market are open; `None` if its submissions may have
    /// expired.
    pub(super) fn window(
        &self,
        market: ContractAddress,
        (block, released): (u64, u64),
        open: usize,
        day: Option<u64>,
        now: Clocks,
    ) -> Option<Window> {
        let age = now.chain.saturating_sub(released);
        let left = self.complete_for().checked_sub(age)?;
        let length = self.windows.get(&market).copied().unwrap_or(0);
        // An estimate for other programs. A block time of 0 adds no blocks: infinity as an integer is `u64::MAX`.
        let blocks = (length as f64 / self.block_time).ceil();
        let blocks = if blocks.is_finite() && blocks > 0.0 { blocks as u64 } else { 0 };
        Some(Window {
            release_block: block,
            released,
            limit: released.saturating_add(length),
            limit_block: block.saturating_add(blocks),
            expires: now.redis.saturating_add(left),
            day,
            state: if open < self.max_windows { WindowState::Open } else { WindowState::Waiting },
        })
    }
}
