//! Errors that an actor reports and survives, and their log line: operation, object, kind, cause, remedy.

use std::{error::Error, fmt};

use domain::chain::ContractAddress;
use errors::{Kind, Operation, one_line};
use serde::{Deserialize, Serialize};
use store_campaigns::DatabaseError;
use store_peers::HistoryError;
use store_redis::StoreError;

/// Finds the remedy for an error. The program at the edge passes it in, because only the edge knows the settings.
pub type Remedy = fn(&(dyn Error + 'static)) -> Option<String>;

/// Where in the chain something happened, as far as it is known. Its text stands before that of a cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The market.
    pub market: Option<ContractAddress>,
    /// The epoch.
    pub epoch: Option<u64>,
    /// The number of the block.
    pub block: Option<u64>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(market) = self.market {
            write!(f, "market {market}: ")?;
        }
        if let Some(epoch) = self.epoch {
            write!(f, "epoch {epoch}: ")?;
        }
        match self.block {
            Some(block) => write!(f, "block {block}: "),
            None => Ok(()),
        }
    }
}

/// An error that an actor reports and survives.
pub(crate) trait Report: Error + 'static {
    /// What was attempted.
    fn operation(&self) -> Operation;

    /// How it failed.
    fn kind(&self) -> Kind;

    /// Its subject. The log throttle admits one line a minute for each operation, kind and subject.
    fn subject(&self) -> String;

    /// Where in the chain it happened.
    fn place(&self) -> Place {
        Place::default()
    }

    /// Whether an operator has to act. Then it is logged as an error, else as a warning.
    fn needs_operator(&self) -> bool {
        false
    }
}

/// The errors of stores are alike: an operation, an object, a kind that is an outage or none.
macro_rules! report_as_stores_do {
    ($($error:ty),+) => {$(
        impl Report for $error {
            fn operation(&self) -> Operation {
                self.operation
            }

            fn kind(&self) -> Kind {
                self.kind.row()
            }

            fn subject(&self) -> String {
                self.object.clone()
            }

            fn needs_operator(&self) -> bool {
                // Outages end by themselves; every other kind comes back with each attempt until an operator acts.
                !self.kind.is_outage()
            }
        }
    )+};
}

report_as_stores_do!(StoreError, HistoryError, DatabaseError);

/// An error that ends an actor, with its remedy. The actor's crash record shows its text.
#[derive(Debug, thiserror::Error)]
#[error("{line}")]
pub(crate) struct Advised {
    line: String,
    #[source]
    cause: Box<dyn Error + Send + Sync>,
}

impl Advised {
    pub(crate) fn new(cause: impl Error + Send + Sync + 'static, remedy: Remedy) -> Self {
        Self { line: line(&cause, remedy), cause: cause.into() }
    }
}

/// The log line of an error: operation, object, kind, cause, remedy.
pub(crate) fn line(error: &(dyn Error + 'static), remedy: Remedy) -> String {
    let line = one_line(error);
    match remedy(error) {
        Some(remedy) => format!("{line}; {remedy}"),
        None => line,
    }
}
