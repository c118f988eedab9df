//! The chain subtree: one block fetcher, a batch preparer for each market, and a cleaner.
//!
//! ```text
//! node → block fetcher → effects and checkpoint, in one step → "a window is closed" → batch preparer → batches, once
//! ```
//!
//! The fetcher alone moves the checkpoint, the preparers alone hand over; both compare and set, so a second of either by
//! mistake does no harm. What they tell each other only wakes: everything stands in Redis.

mod batch_preparer;
mod beginning;
mod block_fetcher;
mod book;
mod budgets;
mod cleaner;
mod old_blocks;
mod progress;
mod views;

use std::{fmt, num::NonZeroUsize, str::FromStr, sync::Arc, time::Duration};

use chain::Source;
use domain::chain::{ContractAddress, Rules};
use serde::{Deserialize, Serialize};
use store::chain::ChainStore;
use supervision::Address;
use tokio::sync::Semaphore;

pub use batch_preparer::BatchPreparer;
pub use block_fetcher::BlockFetcher;
pub use budgets::Budgets;
pub use cleaner::Cleaner;
pub use progress::{Cleaned, FollowState, Prepared, Progress};
pub(crate) use progress::{faults, nodes};

use crate::{messages::Look, notifier::Notice, services::Services};

/// What readiness knows the chain as, and what is followed of it.
pub const CHAIN: &str = "chain";
/// See [`CHAIN`].
pub const BLOCKS: &str = "blocks";

/// Further behind than this, blocks are fetched in large parts.
const FAR_BEHIND: u64 = 16;

/// What the actors of the chain work with. Clones share everything.
#[derive(Clone)]
pub struct FollowServices {
    /// Redis, the metrics, the status.
    pub services: Services,
    /// The chain's side in Redis, of whatever chain.
    pub store: ChainStore,
    /// The chain.
    pub source: Source,
    /// How far it was followed.
    pub progress: Arc<Progress>,
    /// What is followed, and how.
    pub settings: Arc<FollowSettings>,
    /// Whoever tells others.
    pub notifier: Address<Notice>,
    /// At most so many markets are prepared at once.
    pub workers: Arc<Semaphore>,
}

impl FollowServices {
    /// The chain's side of the chain that the nodes are of, once one has told its id.
    pub fn of_chain(&self) -> Option<ChainStore> {
        self.source.chain_id().map(|id| self.store.of_chain(id))
    }

    /// What nodes did wrong, and logs that can't be read: how often, by kind.
    pub fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        faults(self.source.counters())
    }
}

/// What is followed, and how.
#[derive(Clone, Debug)]
pub struct FollowSettings {
    /// Where to begin without a checkpoint.
    pub start: StartBlock,
    /// The markets, each as the configuration spells it.
    pub markets: Vec<(ContractAddress, String)>,
    /// What is gone by, but for the lengths of windows, which the contracts tell.
    pub rules: Rules,
    /// Blocks older than this are read by their events alone: their hashes would have expired.
    pub old_after: Duration,
    /// How many projects a batch has at most.
    pub batch_size: NonZeroUsize,
    /// How long each step may take.
    pub budgets: Budgets,
    /// How often preparers look for closed windows when nobody wakes them.
    pub prepare_every: Duration,
    /// How often the contracts are asked again.
    pub refresh_every: Duration,
    /// How often what is over is removed.
    pub clean_every: Duration,
}

/// A block: `latest`, `latest - N`, or its number. Where to begin without a checkpoint, above all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StartBlock {
    /// So many blocks before the newest one.
    Latest {
        /// How many blocks before it.
        back: u64,
    },
    /// With this block.
    Number(u64),
}

/// A text that names no block to begin with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no block to begin with: give `latest`, `latest - 1000`, or a block's number")]
pub struct BadStartBlock {
    text: String,
}

impl FromStr for StartBlock {
    type Err = BadStartBlock;
    fn from_str(text: &str) -> Result<Self, BadStartBlock> {
        // No sign, as numbers of blocks have none.
        let number = |text: &str| {
            let digits = text.trim();
            digits.bytes().all(|digit| digit.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let found = match text.trim().strip_prefix("latest") {
            Some("") => Some(Self::Latest { back: 0 }),
            Some(rest) => rest.trim().strip_prefix('-').and_then(number).map(|back| Self::Latest { back }),
            None => number(text).map(Self::Number),
        };
        found.ok_or_else(|| BadStartBlock { text: text.chars().take(100).collect() })
    }
}

impl TryFrom<String> for StartBlock {
    type Error = BadStartBlock;
    fn try_from(text: String) -> Result<Self, BadStartBlock> {
        text.parse()
    }
}

impl StartBlock {
    /// The block's number, where the newest one has this number.
    #[must_use]
    pub fn number(self, head: u64) -> u64 {
        match self {
            Self::Latest { back } => head.saturating_sub(back),
            Self::Number(number) => number,
        }
    }
}

impl fmt::Display for StartBlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest { back: 0 } => f.write_str("latest"),
            Self::Latest { back } => write!(f, "latest - {back}"),
            Self::Number(number) => write!(f, "{number}"),
        }
    }
}

impl From<StartBlock> for String {
    fn from(start: StartBlock) -> Self {
        start.to_string()
    }
}

/// A market's edge to its batch preparer.
#[derive(Clone)]
pub struct PreparerEdge {
    /// The market.
    pub market: ContractAddress,
    /// "A window is closed."
    pub preparer: Address<Look>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_to_begin_with_is_the_newest_one_some_before_it_or_a_number() {
        for (text, start) in [
            ("latest", StartBlock::Latest { back: 0 }),
            (" latest - 1000 ", StartBlock::Latest { back: 1_000 }),
            ("latest-7", StartBlock::Latest { back: 7 }),
            ("0", StartBlock::Number(0)),
            ("18446744073709551615", StartBlock::Number(u64::MAX)),
        ] {
            assert_eq!(text.parse(), Ok(start), "{text}");
            assert_eq!(start.to_string().parse(), Ok(start), "{text}");
        }
        for text in
            ["", "newest", "latest + 3", "latest -", "latest - -3", "-1", "+1", "0x10", "1.5", "latest3"]
        {
            assert!(text.parse::<StartBlock>().is_err(), "{text}");
        }
    }
}
