//! Errors that an actor reports and survives, and the one line in which an operator reads them.

use std::error::Error;

use errors::{Kind, Operation, one_line};
use store_redis::StoreError;

/// What a person should do about an error. The program at the edge hands it down, since it knows the settings.
pub type Remedy = fn(&(dyn Error + 'static)) -> Option<String>;

/// An error that an actor reports and survives.
pub(crate) trait Report: Error + 'static {
    /// What was attempted.
    fn operation(&self) -> Operation;

    /// How it failed.
    fn kind(&self) -> Kind;

    /// What it is about. Each subject of an operation and a kind has one log line a minute.
    fn subject(&self) -> String;

    /// Whether waiting can't help: it is logged as an error then, else as a warning.
    fn needs_operator(&self) -> bool {
        false
    }
}

impl Report for StoreError {
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
        !self.kind.is_outage()
    }
}

/// An error that ends an actor, with what a person should do: it is shown in the actor's crash.
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

/// Operation, object, cause and remedy.
pub(crate) fn line(error: &(dyn Error + 'static), remedy: Remedy) -> String {
    let line = one_line(error);
    match remedy(error) {
        Some(remedy) => format!("{line}; {remedy}"),
        None => line,
    }
}
