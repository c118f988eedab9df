//! The changes of the actors' states, as a stream for those that subscribe: nobody has to poll the health records.
//!
//! Promises: a subscriber gets every change after its subscription, in order, or the number of those that it missed
//! because it was too slow. A slow subscriber delays no actor.

use std::sync::Arc;

use tokio::sync::broadcast::{self, error::RecvError};

use crate::{
    state::{ExitKind, State},
    sync::{Mutex, lock},
};

/// How many changes wait for a slow subscriber; older ones are missed, and counted.
const KEPT: usize = 1024;

/// A change of one actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The path of the actor.
    pub path: Arc<str>,
    /// The incarnation that it is about, from 1; 0 before the first.
    pub generation: u64,
    /// What has changed.
    pub what: What,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its state.
    State {
        /// The state now.
        state: State,
        /// Whether it exceeded its restart limit and is not healthy again.
        degraded: bool,
    },
    /// The incarnation has ended.
    Ended(ExitKind),
}

/// A message of a [`Subscription`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A change.
    Changed(Change),
    /// This many changes were missed: read the health records again.
    Missed(u64),
}

/// The changes of a tree from the moment of the subscription on.
pub struct Subscription(broadcast::Receiver<Change>);

impl Subscription {
    /// The next change; `None` when the tree is gone.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(change) => Some(Notice::Changed(change)),
            Err(RecvError::Lagged(missed)) => Some(Notice::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// Waits until an incarnation of the actor at `path` ends, and returns how. `None` when that can't be known: changes were
    /// missed, or the tree is gone. Subscribe before you ask whether the actor runs.
    pub async fn ended(&mut self, path: &str) -> Option<ExitKind> {
        loop {
            match self.next().await? {
                Notice::Changed(Change { path: of, what: What::Ended(kind), .. }) if &*of == path => {
                    return Some(kind);
                }
                Notice::Changed(_) => {}
                Notice::Missed(_) => return None,
            }
        }
    }
}

/// Where changes are published, until the tree has ended: contexts of it may exist for longer.
pub(crate) struct Changes(Mutex<Option<broadcast::Sender<Change>>>);

impl Changes {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(KEPT))))
    }

    pub(crate) fn subscribe(&self) -> Subscription {
        let ended = || broadcast::channel(1).1;
        Subscription(lock(&self.0).as_ref().map_or_else(ended, broadcast::Sender::subscribe))
    }

    pub(crate) fn tell(&self, path: &Arc<str>, generation: u64, what: What) {
        // Usually nobody listens.
        if let Some(sender) = lock(&self.0).as_ref().filter(|sender| sender.receiver_count() > 0) {
            // Refused only when the last subscriber has just gone.
            let _ = sender.send(Change { path: path.clone(), generation, what });
        }
    }

    /// The tree has ended, and nothing changes any more.
    pub(crate) fn end(&self) {
        *lock(&self.0) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_another_actor_is_not_that_of_the_one_that_is_waited_for() {
        let (changes, other, path): (_, Arc<str>, Arc<str>) = (Changes::new(), "a".into(), "b".into());
        let mut subscription = changes.subscribe();
        changes.tell(&other, 1, What::Ended(ExitKind::Failed));
        changes.tell(&path, 1, What::Ended(ExitKind::Panicked));
        assert_eq!(subscription.ended("b").await, Some(ExitKind::Panicked));
    }
}
