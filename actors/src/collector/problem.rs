//! What the collector's actors report beside the errors of Redis.

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

/// Why a step of the block fetcher ended without its effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// Redis is at fault: the step is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes are at fault: the same.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Chain(#[from] ChainError),
    /// It took too long.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Deadline(#[from] DeadlineExceeded),
    /// The chain has been on another branch for longer than may be undone.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    TooDeep(#[from] TooDeep),
    /// The chain gave blocks that do not follow the last accepted one. It is asked again.
    #[error("{step}: {0}", step = FOLLOW_CHAIN)]
    Refused(#[from] Refused),
    /// A failure that was asked for.
    #[error("{0}")]
    Injected(#[from] fail::InjectedFailure),
}

impl StepError {
    /// Whether the actor has to end: what is wrong with the chain or with this program is no matter of waiting.
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

/// What an operator should know of the collector.
#[derive(Debug, thiserror::Error)]
pub enum CollectorProblem {
    /// The first block to follow is still to come.
    #[error("{}: block {first}: the newest block is {newest}, so this one is waited for", FOLLOW_CHAIN)]
    StartBlockAhead {
        /// The first block to follow.
        first: u64,
        /// The newest block of the chain.
        newest: u64,
    },
    /// A contract gave no value.
    #[error("{step}: {0}", step = QUERY_CONTRACTS)]
    View(#[from] ChainError),
    /// It is not known on which day of a market its epochs are released.
    #[error(
        "{}: market {market}: its day after block {block} is not known, so submissions are not counted to slots until the next day",
        QUERY_CONTRACTS
    )]
    DayUnknown {
        /// The market.
        market: ContractAddress,
        /// The last block before it is followed.
        block: u64,
        /// Why; `None` where no node keeps the state of so old a block.
        #[source]
        cause: Option<ChainError>,
    },
    /// Logs that can't be read as events.
    #[error("{}: block {block} or later: {count} logs can't be read and are set aside", READ_EVENTS)]
    BadLogs {
        /// The first block that was read.
        block: u64,
        /// How many.
        count: usize,
    },
    /// Too many markets are prepared at once.
    #[error("{}: market {market}: no worker became free within {}", PREPARE_BATCHES, rounded(*waited))]
    NoWorker {
        /// The market.
        market: ContractAddress,
        /// How long one was waited for.
        waited: Duration,
    },
    /// The preparation of a market took too long.
    #[error("{}: market {market}: {cause}", PREPARE_BATCHES)]
    PreparationLate {
        /// The market.
        market: ContractAddress,
        /// What took too long.
        #[source]
        cause: DeadlineExceeded,
    },
}

impl Report for CollectorProblem {
    fn operation(&self) -> Operation {
        match self {
            Self::StartBlockAhead { .. } => FOLLOW_CHAIN,
            Self::View(_) | Self::DayUnknown { .. } => QUERY_CONTRACTS,
            Self::BadLogs { .. } => READ_EVENTS,
            Self::NoWorker { .. } | Self::PreparationLate { .. } => PREPARE_BATCHES,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::StartBlockAhead { .. } => AHEAD,
            Self::View(_) | Self::DayUnknown { .. } => VIEW,
            Self::BadLogs { .. } => ErrorKind::Malformed.row(),
            Self::NoWorker { .. } | Self::PreparationLate { .. } => ErrorKind::Timeout.row(),
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::DayUnknown { market, .. }
            | Self::NoWorker { market, .. }
            | Self::PreparationLate { market, .. } => market.to_string(),
            Self::StartBlockAhead { .. } | Self::View(_) | Self::BadLogs { .. } => String::new(),
        }
    }
}
