//! The problems that the collector's actors report and that fail no step.

use domain::chain::ContractAddress;
use errors::{Kind, Operation};
use evm::ChainError;
use store_redis::ErrorKind;

use crate::{
    env::report::{Place, Report},
    operations::{AHEAD, FOLLOW_CHAIN, QUERY_CONTRACTS, READ_EVENTS, VIEW},
};

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
}

impl Report for CollectorProblem {
    fn operation(&self) -> Operation {
        match self {
            Self::StartBlockAhead { .. } | Self::ReleaseMissing { .. } => FOLLOW_CHAIN,
            Self::View(_) | Self::LengthUnknown { .. } | Self::DayUnknown { .. } => QUERY_CONTRACTS,
            Self::BadLogs { .. } => READ_EVENTS,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::StartBlockAhead { .. } => AHEAD,
            Self::View(_) | Self::LengthUnknown { .. } | Self::DayUnknown { .. } => VIEW,
            Self::BadLogs { .. } | Self::ReleaseMissing { .. } => ErrorKind::Malformed.row(),
        }
    }

    fn subject(&self) -> String {
        self.place().market.map(|market| market.to_string()).unwrap_or_default()
    }

    fn place(&self) -> Place {
        let nowhere = Place::default();
        match *self {
            Self::LengthUnknown { market, .. } => Place { market: Some(market), ..nowhere },
            Self::DayUnknown { market, block, .. } => {
                Place { market: Some(market), block: Some(block), ..nowhere }
            }
            Self::StartBlockAhead { first: block, .. }
            | Self::ReleaseMissing { block, .. }
            | Self::BadLogs { block, .. } => Place { block: Some(block), ..nowhere },
            Self::View(_) => nowhere,
        }
    }
}
