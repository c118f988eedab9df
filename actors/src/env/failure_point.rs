//! Failure points: named places at which a test, or an operator of a build that has them, makes an actor fail.
//!
//! Each is a row of a table beside its actors; the code passes a row, so no point is unknown. Without the feature
//! `failure-points` they compile to nothing.

use supervision::fail::{self, InjectedFailure};

/// A failure point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePoint {
    /// Its name, as in `aggregator::before_read`.
    pub name: &'static str,
    /// The actor that passes it.
    pub actor: &'static str,
    /// Where that is.
    pub sentence: &'static str,
}

impl FailurePoint {
    pub(crate) const fn new(name: &'static str, actor: &'static str, sentence: &'static str) -> Self {
        Self { name, actor, sentence }
    }

    /// Passes the point: it does what the point is armed with.
    ///
    /// # Errors
    /// [`InjectedFailure`] when it is armed with an error.
    pub(crate) async fn pass(&self) -> Result<(), InjectedFailure> {
        fail::point(self.name).await
    }
}
