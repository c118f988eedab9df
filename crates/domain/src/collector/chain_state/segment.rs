//! The segments that the chain state accepts.

use super::{Clocks, Releases};
use crate::chain::{BlockRef, Hash, MarketEvent};

/// A segment: consecutive blocks with their events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// The blocks, in ascending order; the first one follows the last accepted one.
    pub blocks: Vec<BlockRef>,
    /// Set for an events-only segment, of which `blocks` holds only the last block.
    pub events_only: Option<EventsOnly>,
    /// The events of all blocks with the blocks' numbers, in the chain's order.
    pub events: Vec<(u64, MarketEvent)>,
    /// What the contracts said at the blocks that released epochs, as far as it is known.
    pub releases: Releases,
    /// When it is accepted, by which expired epochs are recognised.
    pub now: Clocks,
}

/// The start of an events-only segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsOnly {
    /// The number of its first block.
    pub first: u64,
    /// The hash of the block before it.
    pub parent: Hash,
}
