//! Failure points: named places in the code where a test injects a failure. An operator can use them too, in a build that
//! has them.
//!
//! Each point is a row of a table beside its actors. The code passes the row and not a name, so no point can be missing from
//! the table. Without the feature `failure-points` they compile to nothing.

use supervision::fail::{self, InjectedFailure};

/// A failure point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailurePoint {
    /// Its name, as in `aggregator::before_read`.
    pub name: &'static str,
    /// The actor whose code passes it.
    pub actor: &'static str,
    /// The state of the actor's work at this point.
    pub sentence: &'static str,
}

impl FailurePoint {
    pub(crate) const fn new(name: &'static str, actor: &'static str, sentence: &'static str) -> Self {
        Self { name, actor, sentence }
    }

    /// Passes the point. When it is armed, its fault happens here.
    ///
    /// # Errors
    /// [`InjectedFailure`] when it is armed with an error.
    pub(crate) async fn pass(&self) -> Result<(), InjectedFailure> {
        fail::point(self.name).await
    }
}
