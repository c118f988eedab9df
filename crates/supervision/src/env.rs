//! What all actors of one tree share: its clock, its chance, its restart permits, its failure points, and who listens to its
//! changes. It knows no actor.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::sync::{Semaphore, watch};

use crate::{
    Clock,
    changes::Changes,
    policy::Chance,
    progress::Pulse,
    sync::{Mutex, lock},
};

pub(crate) struct Env {
    /// The number of the tree, which no other one in this process has.
    pub(crate) tree: u64,
    pub(crate) clock: Clock,
    /// The time with which marks of progress are stamped.
    pub(crate) pulse: Arc<Pulse>,
    /// The number of incarnations that have begun and not ended.
    pub(crate) live: watch::Sender<usize>,
    /// The restart permits.
    pub(crate) restarts: Arc<Semaphore>,
    /// Those who listen to changes of states.
    pub(crate) changes: Changes,
    /// Why the tree has to end, once that is decided.
    pub(crate) verdict: watch::Sender<Option<Verdict>>,
    chance: Mutex<Chance>,
    #[cfg(feature = "failure-points")]
    pub(crate) failure_points: crate::fail::FailurePoints,
}

/// The reason for which a tree gives up.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The path of the actor without which the tree is useless.
    pub(crate) path: String,
    pub(crate) reason: String,
}

impl Env {
    /// `restarts`: the most actors that restart at the same time. `seed` determines every random choice.
    pub(crate) fn new(clock: Clock, restarts: usize, seed: u64) -> Arc<Self> {
        static LAST: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self {
            tree: LAST.fetch_add(1, Relaxed) + 1,
            pulse: Pulse::new(clock.awake_nanos()),
            live: watch::Sender::new(0),
            restarts: Arc::new(Semaphore::new(restarts.clamp(1, Semaphore::MAX_PERMITS))),
            changes: Changes::new(),
            verdict: watch::Sender::new(None),
            chance: Mutex::new(Chance::new(seed)),
            #[cfg(feature = "failure-points")]
            failure_points: crate::fail::FailurePoints::default(),
            clock,
        })
    }

    /// A source of chance of its own for one part of the tree.
    pub(crate) fn chance(&self) -> Chance {
        Chance::new(lock(&self.chance).number())
    }

    /// Ends the tree, since the actor `path` stays down. The first verdict stays.
    pub(crate) fn give_up(&self, path: &str, reason: &str) {
        self.verdict.send_if_modified(|verdict| {
            let is_first = verdict.is_none();
            verdict.get_or_insert_with(|| Verdict { path: path.to_owned(), reason: reason.to_owned() });
            is_first
        });
    }
}
