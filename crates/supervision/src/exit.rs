//! How an incarnation ended, and whether what it was handling is charged for it.

use std::error::Error;

use crate::{crash::Panicked, state::ExitKind, text::clipped};

/// The error with which an actor ends.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Something that the actor depends on is away: a server, a disk, a network.
///
/// An actor that ends with this error, or with one that has it among its sources, is restarted after its backoff. Nothing that
/// it had in flight is charged, and the restart does not count against its limit: an outage is neither the message's fault nor
/// the actor's.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct Unavailable(Failure);

impl Unavailable {
    /// Marks `error` as an outage.
    #[must_use]
    pub fn new(error: impl Into<Failure>) -> Self {
        Self(error.into())
    }
}

/// The most causes of an error that are read.
const MOST_CAUSES: usize = 64;

/// The exit of an incarnation: its kind, and the reason.
#[derive(Debug)]
pub(crate) struct Exit {
    pub(crate) kind: ExitKind,
    pub(crate) message: String,
    pub(crate) panicked: Option<Box<Panicked>>,
}

impl Exit {
    pub(crate) fn new(kind: ExitKind, message: impl Into<String>) -> Self {
        Self { kind, message: clipped(message.into()), panicked: None }
    }

    pub(crate) fn panicked(panicked: Box<Panicked>) -> Self {
        let exit = Self::new(ExitKind::Panicked, panicked.message.clone());
        Self { panicked: Some(panicked), ..exit }
    }

    pub(crate) fn failed(error: &Failure) -> Self {
        let mut message = error.to_string();
        let mut kind = if error.is::<Unavailable>() { ExitKind::Unavailable } else { ExitKind::Failed };
        let mut source = error.source();
        // An error can be its own cause.
        for _ in 0..MOST_CAUSES {
            let Some(cause) = source else { break };
            let text = cause.to_string();
            // Some errors repeat their cause in their own text.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            if cause.is::<Unavailable>() {
                kind = ExitKind::Unavailable;
            }
            source = cause.source();
        }
        Self::new(kind, message)
    }

    /// Why a message in flight is charged for this exit; `None` where the exit is not the message's fault.
    pub(crate) fn charge(&self) -> Option<String> {
        let is_fault = matches!(self.kind, ExitKind::Failed | ExitKind::Panicked | ExitKind::Finished);
        is_fault.then(|| format!("its actor {}: {}", self.kind.as_str(), self.message))
    }
}
