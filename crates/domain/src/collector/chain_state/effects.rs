//! What a transition of the chain state writes.

use std::collections::BTreeMap;

use super::{Day, FinalizedBatch, Followed, SubmittedBatch, UndoEntry};
use crate::{
    chain::{BlockRef, ContractAddress, EpochSet, Window},
    collector::{Batch, RelayCall, RewardPlan, Rollover},
};

/// A write. Applied to the stored state before a transition, its effects give the state after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// This is the last accepted block.
    Checkpoint(BlockRef),
    /// The hash of an accepted block can be asked for by its number.
    BlockHash(BlockRef),
    /// The undo log has this entry for an accepted block, instead of an earlier one.
    Logged(UndoEntry),
    /// The block of this number is too old to be undone: its entry leaves the undo log.
    Unlogged(u64),
    /// The block of this number was dropped: its hash and its entry in the undo log go.
    Dropped(u64),
    /// These are the orphaned deliveries.
    Orphaned(Vec<SubmittedBatch>),
    /// These are the followed markets.
    Followed(BTreeMap<ContractAddress, Followed>),
    /// A window is new, changed, or gone.
    Window {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// The window; `None` when it is gone.
        window: Option<Window>,
        /// Whether others have seen it, see [`Window::is_marked`].
        was_marked: bool,
    },
    /// These epochs of a market are finished.
    Done {
        /// The market.
        market: ContractAddress,
        /// All of them.
        done: EpochSet,
    },
    /// This is the highest epoch of a market that was released.
    Current {
        /// The market.
        market: ContractAddress,
        /// The epoch, if there is one.
        epoch: Option<u64>,
    },
    /// This is the day of a market.
    Day {
        /// The market.
        market: ContractAddress,
        /// The day, if it is known.
        day: Option<Day>,
        /// The day of the epoch that was released last, if it is known.
        last_day: Option<u64>,
        /// For how many seconds others may take it for the present day; `None` if it is over.
        lives: Option<u64>,
    },
    /// A change of day is new, or gone with its block.
    Rollover {
        /// The market.
        market: ContractAddress,
        /// The epoch that was released first in the new day.
        epoch: u64,
        /// The change; `None` when it is gone.
        rollover: Option<Rollover>,
    },
    /// The rewards of the day before a change of day are due.
    RolledOver {
        /// The market.
        market: ContractAddress,
        /// The epoch that was released first in the new day.
        epoch: u64,
        /// The change.
        rollover: Rollover,
    },
    /// The relayer is to be told of rewards, once their numbers are read.
    Plan {
        /// The market.
        market: ContractAddress,
        /// What it is told.
        plan: RewardPlan,
    },
    /// A submitted batch goes to the attestor.
    Attest(SubmittedBatch),
    /// The chain has finalised a batch.
    Finalized(FinalizedBatch),
    /// The block that finalised a batch was dropped.
    NotFinalized(FinalizedBatch),
    /// An epoch has ended: its window goes, and its details stay for a while.
    Ended {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// Its window.
        window: Window,
        /// The hashes of the blocks at which something was submitted for it: by them the cleaner finds the submissions.
        submitted_at: Vec<String>,
    },
    /// A market was removed: nothing more of it is cleaned up.
    Removed {
        /// The market.
        market: ContractAddress,
    },
    /// The batches of an epoch go to the finalizers. They must not have got them before.
    Batches {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// The batches, the first one is number 1.
        batches: Vec<Batch>,
    },
    /// Slots have this many submissions more in a day.
    SlotCounts {
        /// The market.
        market: ContractAddress,
        /// The day.
        day: u64,
        /// The numbers by slots.
        slots: BTreeMap<u64, u64>,
    },
    /// The relayer is to be told this, after all that it was told of the market before.
    Relay {
        /// The market.
        market: ContractAddress,
        /// What it is told.
        call: RelayCall,
    },
}

impl Effect {
    /// The market whose hand-overs follow from what it changes: windows, finished epochs, changes of day.
    #[must_use]
    pub fn of_hand_overs(&self) -> Option<ContractAddress> {
        match self {
            Self::Window { market, .. }
            | Self::Done { market, .. }
            | Self::Ended { market, .. }
            | Self::Rollover { market, .. } => Some(*market),
            _ => None,
        }
    }
}
