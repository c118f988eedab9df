//! Why a step of the block fetcher ended without its effect.

use domain::collector::{Refused, TooDeep};
use evm::ChainError;
use store_redis::StoreError;
use supervision::{DeadlineExceeded, fail};

/// Why a step ended without its effect.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// Redis is at fault: the step is tried again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes are at fault: the same.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// It took too long.
    #[error(transparent)]
    Deadline(#[from] DeadlineExceeded),
    /// The chain goes another way since longer than may be undone.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
    /// The chain gave blocks that do not stand on the last accepted one. It is asked again.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A failure that was asked for.
    #[error("{0}")]
    Injected(#[from] fail::InjectedFailure),
}

impl StepError {
    /// The kind, as a label of metrics.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Store(error) => error.kind.as_str(),
            Self::Chain(_) => "node",
            Self::Deadline(_) => "timeout",
            Self::TooDeep(_) => "too_deep",
            Self::Refused(_) => "reorganised",
            Self::Injected(_) => "injected",
        }
    }
}
