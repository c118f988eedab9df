//! Which actor's code runs: how sends and failure points find the actor that they belong to, without being handed it.

use std::sync::Arc;

use tokio::task::futures::TaskLocalFuture;

use crate::{env::Env, progress::Progress};

tokio::task_local! {
    static CURRENT: Arc<Identity>;
}

/// An actor as the code that it runs knows it.
pub(crate) struct Identity {
    /// Its path in the tree.
    pub(crate) path: Arc<str>,
    /// Its own, or that of the sub-task which runs.
    pub(crate) progress: Arc<Progress>,
    pub(crate) env: Arc<Env>,
}

/// Runs `life` as the code of `actor`.
pub(crate) fn scope<F: Future>(actor: Arc<Identity>, life: F) -> TaskLocalFuture<Arc<Identity>, F> {
    CURRENT.scope(actor, life)
}

/// The running actor; outside of one `None`.
pub(crate) fn actor() -> Option<Arc<Identity>> {
    CURRENT.try_with(Arc::clone).ok()
}

/// Marks the running actor as blocked on an edge until the guard is dropped.
pub(crate) fn blocked() -> Blocked {
    Blocked(actor().map(|actor| {
        let incarnation = actor.progress.blocked();
        (actor, incarnation)
    }))
}

/// The running actor waits on an edge.
pub(crate) struct Blocked(Option<(Arc<Identity>, u32)>);

impl Drop for Blocked {
    fn drop(&mut self) {
        if let Some((actor, incarnation)) = &self.0 {
            actor.progress.unblocked(*incarnation);
        }
    }
}

/// The progress of the code that runs, which is that of a sub-task in a sub-task of `actor`.
pub(crate) fn progress(actor: &Identity) -> Arc<Progress> {
    let of_task =
        CURRENT.try_with(|current| Arc::ptr_eq(&current.path, &actor.path).then(|| current.progress.clone()));
    of_task.ok().flatten().unwrap_or_else(|| actor.progress.clone())
}
