//! The error of a step of the collector: what was attempted, where in the chain, and why it failed.

use std::{error::Error, fmt, time::Duration};

use domain::collector::{Refused, TooDeep, Verdict};
use errors::{Kind, Operation, rounded};
use evm::ChainError;
use relay_client::CallError;
use store_redis::{ErrorKind, StoreError};
use supervision::{DeadlineExceeded, fail::InjectedFailure};

use crate::{
    env::report::{Place, Report},
    operations::{INJECTED, NODE, RELAYER, REORGANISED, TOO_DEEP, VIEW},
};

/// Why a step of the block fetcher, of a batch preparer or of a relayer failed.
#[derive(Debug)]
pub(super) struct StepError {
    /// What was attempted.
    pub(super) operation: Operation,
    /// At which block, or for which market and epoch.
    pub(super) place: Place,
    /// Why it failed.
    pub(super) cause: Cause,
}

/// The cause of a failed step.
#[derive(Debug, thiserror::Error)]
pub(super) enum Cause {
    /// Redis failed: the step is retried.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes failed: the step is retried.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The budget of the step ran out.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),
    /// No worker became free in time.
    #[error(transparent)]
    NoWorker(#[from] NoWorker),
    /// A reorganisation is deeper than the undo log.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
    /// The nodes gave blocks that do not follow the last accepted one: they are read again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The relayer did not accept a call.
    #[error(transparent)]
    Relayer(#[from] CallError),
    /// The number of nodes is not known.
    #[error(transparent)]
    NoNodeCount(#[from] NoNodeCount),
    /// A failure point was armed.
    #[error(transparent)]
    Injected(#[from] InjectedFailure),
}

/// Nobody has written how many nodes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "TotalNodesCount has no number of nodes, so the slots are not known; check whether the contract answers, and who else writes that key"
)]
pub struct NoNodeCount;

/// All workers were busy for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no worker became free within {}", rounded(*waited))]
pub struct NoWorker {
    /// How long one was waited for.
    pub waited: Duration,
}

impl Cause {
    fn error(&self) -> &(dyn Error + 'static) {
        match self {
            Self::Store(error) => error,
            Self::Chain(error) => error,
            Self::Deadline(error) => error,
            Self::NoWorker(error) => error,
            Self::TooDeep(error) => error,
            Self::Refused(error) => error,
            Self::Relayer(error) => error,
            Self::NoNodeCount(error) => error,
            Self::Injected(error) => error,
        }
    }

    /// Whether the actor has to crash, because waiting can't help.
    pub(super) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::TooDeep(_) | Self::Injected(_) | Self::Chain(ChainError::ReorganisedTooDeep { .. })
        )
    }

    /// Whether it concerns the keys or the size of one epoch, and not the server or the actor.
    pub(super) fn is_of_epoch(&self) -> bool {
        match self {
            Self::Store(error) => matches!(
                error.kind,
                ErrorKind::WrongType | ErrorKind::Malformed | ErrorKind::Denied | ErrorKind::TooLarge
            ),
            Self::Deadline(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.operation, self.place, self.cause)
    }
}

impl Error for StepError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(self.cause.error())
    }
}

impl Report for StepError {
    fn operation(&self) -> Operation {
        match &self.cause {
            Cause::Store(error) => error.operation,
            _ => self.operation,
        }
    }

    fn kind(&self) -> Kind {
        match &self.cause {
            Cause::Store(error) => error.kind.row(),
            Cause::Chain(_) => NODE,
            Cause::Deadline(_) | Cause::NoWorker(_) => ErrorKind::Timeout.row(),
            Cause::TooDeep(_) => TOO_DEEP,
            Cause::Refused(_) => REORGANISED,
            Cause::Relayer(_) => RELAYER,
            Cause::NoNodeCount(_) => VIEW,
            Cause::Injected(_) => INJECTED,
        }
    }

    fn subject(&self) -> String {
        // Not the block: an outage would have a line for each.
        let market = self.place.market.map(|market| market.to_string()).unwrap_or_default();
        match &self.cause {
            Cause::Store(error) => market + &error.subject(),
            _ => market,
        }
    }

    fn place(&self) -> Place {
        self.place
    }

    fn needs_operator(&self) -> bool {
        match &self.cause {
            Cause::Store(error) => error.needs_operator(),
            Cause::Chain(error) => error.is_lasting(),
            Cause::Relayer(error) => matches!(error.verdict(), Verdict::Denied | Verdict::Refused),
            other => other.is_fatal(),
        }
    }
}

#[cfg(test)]
mod tests {
    use domain::chain::ContractAddress;

    use super::*;
    use crate::operations::{FOLLOW_CHAIN, PREPARE_BATCHES};

    #[test]
    fn an_error_names_operation_place_and_cause_and_keeps_the_cause() {
        let place = Place { block: Some(7), ..Place::default() };
        let cause = Cause::from(TooDeep { from: 9, to: 2, depth: 5 });
        let error = StepError { operation: FOLLOW_CHAIN, place, cause };
        assert_eq!(
            errors::one_line(&error),
            "follow the chain: block 7: cannot roll back from block 9 to block 2: at most 5 blocks can be undone"
        );
        assert!(error.source().is_some_and(|cause| cause.is::<TooDeep>()));
        let market = ContractAddress([7; 20]);
        let place = Place { market: Some(market), epoch: Some(3), ..Place::default() };
        let cause = Cause::from(NoWorker { waited: Duration::from_secs(5) });
        let error = StepError { operation: PREPARE_BATCHES, place, cause };
        assert_eq!(
            errors::one_line(&error),
            format!("prepare the batches: market {market}: epoch 3: no worker became free within 5s")
        );
        assert_eq!((error.subject(), error.kind()), (market.to_string(), ErrorKind::Timeout.row()));
    }
}
