//! The rules of the collector: following a chain through reorganisations, and arranging submissions into batches.

mod batches;
mod chain_state;

pub use batches::{Arrangement, BadSubmission, Batch, Submission};
pub use chain_state::{
    AtRelease, ChainState, Clocks, Effect, EventsOnly, FinalizedBatch, Followed, Market, MarketBefore,
    Measured, Note, Refused, Releases, Rules, Segment, SubmittedBatch, TakeOver, TooDeep, Transition,
    UndoEntry,
};
