//! The rules of the collector: following a chain through reorganisations, arranging submissions into batches, and what
//! the relayer is told of them and of rewards.

mod batches;
mod chain_state;
mod relay;
mod rewards;

pub use batches::{Arrangement, BadSubmission, Batch, Submission};
pub use chain_state::{
    AtRelease, ChainState, Clocks, Day, Effect, EventsOnly, FinalizedBatch, Followed, Market, MarketBefore,
    Measured, Note, Refused, Releases, Rules, Segment, SubmittedBatch, TakeOver, TooDeep, Transition,
    UndoEntry,
};
pub use relay::{RelayCall, Verdict};
pub use rewards::{BUFFER_EPOCHS, RewardPlan, RewardRules, Rollover};
