//! The rules of the collector: following a chain through reorganisations, and arranging submissions into batches.

mod batches;
mod chain_state;

pub use batches::{Arrangement, BadSubmission, Batch, Submission};
pub use chain_state::{
    AtRelease, Before, Beginning, Clocks, Deeds, Followed, Following, Handed, Market, Note, Old, Refused,
    Releases, Rules, Stretch, TooDeep,
};
