//! The errors that the collector's actors report in addition to those of the stores.

use std::time::Duration;

use domain::{
    chain::ContractAddress,
    collector::{Refused, TooDeep},
};
use errors::{Kind, Operation, rounded};
use evm::ChainError;
use store_redis::{ErrorKind, StoreError};
use supervision::{DeadlineExceeded, fail};

use crate::{
    env::report::Report,
    operations::{
        AHEAD, FOLLOW_CHAIN, INJECTED, NODE, PREPARE_BATCHES, QUERY_CONTRACTS, READ_EVENTS, REORGANISED,
        TOO_DEEP, VIEW,
    },
};

/// Why a step of the block fetcher failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// Redis failed: the step is retried.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes failed: the step is retried.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Chain(#[from] ChainError),
    /// The budget of the step ran out.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Deadline(#[from] DeadlineExceeded),
    /// A reorganisation is deeper than the undo log.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    TooDeep(#[from] TooDeep),
    /// The nodes gave blocks that do not follow the last accepted one: they are read again.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Refused(#[from] Refused),
    /// A failure point was armed.
    #[error("{0}")]
    Injected(#[from] fail::InjectedFailure),
}

impl StepError {
    /// Whether the actor has to crash, because waiting can't help.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::TooDeep(_) | Self::Injected(_) | Self::Chain(ChainError::ReorganisedTooDeep { .. })
        )
    }
}

impl Report for StepError {
    fn operation(&self) -> Operation {
        match self {
            Self::Store(error) => error.operation,
            _ => FOLLOW_CHAIN,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind.row(),
            Self::Chain(_) => NODE,
            Self::Deadline(_) => ErrorKind::Timeout.row(),
            Self::TooDeep(_) => TOO_DEEP,
            Self::Refused(_) => REORGANISED,
            Self::Injected(_) => INJECTED,
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::Store(error) => error.subject(),
            _ => String::new(),
        }
    }

    fn needs_operator(&self) -> bool {
        match self {
            Self::Store(error) => error.needs_operator(),
            Self::Chain(error) => error.is_lasting(),
            other => other.is_fatal(),
        }
    }
}

/// A problem of the collector that an operator should see.
#[derive(Debug, thiserror::Error)]
pub enum CollectorProblem {
    /// The first block to follow does not exist yet.
    #[error(
        "{}: block {first}: it does not exist yet, the newest block is {newest}; the collector waits for it",
        FOLLOW_CHAIN
    )]
    StartBlockAhead {
        /// The first block to follow.
        first: u64,
        /// The newest block of the chain.
        newest: u64,
    },
    /// A contract gave no usable value.
    #[error("{step}: {0}", step = QUERY_CONTRACTS)]
    View(#[from] ChainError),
    /// The length of a market's windows has never been read.
    #[error(
        "{}: market {market}: the length of its submission windows is not known, so its windows wait: {cause}; check its address",
        QUERY_CONTRACTS
    )]
    LengthUnknown {
        /// The market.
        market: ContractAddress,
        /// Why it can't be read.
        #[source]
        cause: ChainError,
    },
    /// The day of a market is unknown.
    #[error(
        "{}: market {market}: its day after block {block} is unknown, so submissions of its open windows are not counted for slots",
        QUERY_CONTRACTS
    )]
    DayUnknown {
        /// The market.
        market: ContractAddress,
        /// The last block before the market is followed.
        block: u64,
        /// The cause; `None` when no node keeps the state of so old a block.
        #[source]
        cause: Option<ChainError>,
    },
    /// A predecessor's markers whose release blocks no node has.
    #[error(
        "{}: block {block}: no node has it, nor {} others that released marked epochs; these epochs are not taken over",
        FOLLOW_CHAIN,
        count - 1
    )]
    ReleaseMissing {
        /// The newest of the blocks.
        block: u64,
        /// The number of blocks.
        count: usize,
    },
    /// Logs that can't be read as events.
    #[error("{}: block {block} or later: {count} logs can't be read and are set aside", READ_EVENTS)]
    BadLogs {
        /// The first block of the reading.
        block: u64,
        /// The number of logs.
        count: usize,
    },
    /// All workers were busy for too long.
    #[error("{}: market {market}: no worker became free within {}", PREPARE_BATCHES, rounded(*waited))]
    NoWorker {
        /// The market.
        market: ContractAddress,
        /// How long the market waited.
        waited: Duration,
    },
    /// The preparation of a market took too long.
    #[error("{}: market {market}: {cause}", PREPARE_BATCHES)]
    PreparationLate {
        /// The market.
        market: ContractAddress,
        /// The step that ran out of time.
        #[source]
        cause: DeadlineExceeded,
    },
}

impl Report for CollectorProblem {
    fn operation(&self) -> Operation {
        match self {
            Self::StartBlockAhead { .. } | Self::ReleaseMissing { .. } => FOLLOW_CHAIN,
            Self::View(_) | Self::LengthUnknown { .. } | Self::DayUnknown { .. } => QUERY_CONTRACTS,
            Self::BadLogs { .. } => READ_EVENTS,
            Self::NoWorker { .. } | Self::PreparationLate { .. } => PREPARE_BATCHES,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::StartBlockAhead { .. } => AHEAD,
            Self::View(_) | Self::LengthUnknown { .. } | Self::DayUnknown { .. } => VIEW,
            Self::BadLogs { .. } | Self::ReleaseMissing { .. } => ErrorKind::Malformed.row(),
            Self::NoWorker { .. } | Self::PreparationLate { .. } => ErrorKind::Timeout.row(),
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::LengthUnknown { market, .. }
            | Self::DayUnknown { market, .. }
            | Self::NoWorker { market, .. }
            | Self::PreparationLate { market, .. } => market.to_string(),
            Self::StartBlockAhead { .. }
            | Self::ReleaseMissing { .. }
            | Self::View(_)
            | Self::BadLogs { .. } => String::new(),
        }
    }
}
