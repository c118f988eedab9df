//! What accepting blocks, undoing them and closing windows report.

use serde::{Deserialize, Serialize};

use crate::chain::{ContractAddress, Hash, MarketEvent, Window};

/// A submitted batch that is handed to the attestor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmittedBatch {
    /// The market.
    pub market: ContractAddress,
    /// The epoch.
    pub epoch: u64,
    /// The content id of the batch.
    pub batch_cid: String,
}

/// A submitted batch that the chain has finalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalizedBatch {
    /// The market.
    pub market: ContractAddress,
    /// The epoch.
    pub epoch: u64,
    /// The hash of its content id.
    pub batch: Hash,
}

/// A report of something that happened. The state has changed already; a note causes no further change of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// An epoch was released; its window is open, or waits until another one closes.
    Released {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// Its window.
        window: Window,
    },
    /// A window that a predecessor opened is taken over.
    TakenUp {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// Its window.
        window: Window,
    },
    /// The contract has told how long the window of an epoch lasts.
    Measured {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// Its window.
        window: Window,
    },
    /// An epoch was released whose id is too far ahead to be believed: nothing changed.
    Implausible {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
    },
    /// A market's day is too far ahead of its last one to be believed: nothing changed.
    ImplausibleDay {
        /// The market.
        market: ContractAddress,
        /// The day.
        day: u64,
    },
    /// An epoch was released in an earlier day than the one before: the later day was wrong, and its end will be told anew.
    DayCorrected {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// The day of the epoch before.
        from: u64,
        /// Its day.
        to: u64,
    },
    /// An epoch was released once more: nothing changed.
    ReleasedAgain {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
    },
    /// The submissions of an epoch have expired before it was found, or before the length of its window was known: it gets no batches.
    Expired {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
    },
    /// The submissions of an epoch have expired long ago, and no tracker has made its batches: its market seems to have left.
    Abandoned {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
    },
    /// A window closed: its batches are due.
    Closed {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
        /// The last block that counts.
        block: u64,
        /// No block came; the clock closed it.
        by_clock: bool,
    },
    /// A batch was submitted: it goes to the attestor.
    Submitted(SubmittedBatch),
    /// A batch was finalised.
    Finalized {
        /// In which block.
        block: u64,
        /// The batch.
        batch: FinalizedBatch,
    },
    /// Another event, which has no effect here.
    Other {
        /// In which block.
        block: u64,
        /// The event.
        event: MarketEvent,
    },
    /// A dropped block had released this epoch or closed its window; its batches are already handed over, and stay.
    StaysHandedOver {
        /// The market.
        market: ContractAddress,
        /// The epoch.
        epoch: u64,
    },
    /// A dropped block had the first release in a new day, and an epoch was handed over since that made the rewards of the day before due:
    /// what the relayer is told of it stays.
    StaysRolledOver {
        /// The market.
        market: ContractAddress,
        /// The epoch that was released first in the new day.
        epoch: u64,
    },
    /// A dropped block had this batch; it was handed to the attestor already, and stays.
    StaysSubmitted(SubmittedBatch),
}
