//! What a tree tells its owner: how it ended, what a change came to, and why something was refused.

use std::time::Duration;

use crate::edges::WaitingCycle;

/// How a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was asked to stop, and did.
    Stopped,
    /// A mandatory actor stayed degraded for too long.
    GaveUp {
        /// The actor.
        path: String,
        /// Its last crash.
        reason: String,
    },
    /// The root supervisor itself crashed or was killed.
    RootEnded {
        /// What is known of it.
        reason: String,
    },
}

/// What a stop came to.
#[derive(Clone, Debug)]
pub struct StopReport {
    /// How the tree ended.
    pub outcome: Outcome,
    /// Actors that did not end, not even when killed.
    pub abandoned: Vec<String>,
    /// Incarnations that are still there; 0 when nothing is left behind.
    pub left_behind: usize,
    /// How long it took.
    pub took: Duration,
}

/// A description of children that can't become a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDescription {
    /// Two children of one supervisor have this path.
    #[error("two children have the path {0}: give each child of a supervisor its own name")]
    Duplicate(String),
    /// A name is empty, or has a slash, which separates the names of a path.
    #[error("`{0}` is no name of a child: it must not be empty or have a slash")]
    BadName(String),
    /// Two children read one mailbox.
    #[error("{first} and {second} read the same mailbox: give each actor its own")]
    SharedMailbox {
        /// The path of the first.
        first: String,
        /// The path of the second.
        second: String,
    },
}

/// Why a tree did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its children can't become a tree.
    #[error(transparent)]
    Description(#[from] BadDescription),
    /// Its edges could bring it to a standstill.
    #[error(transparent)]
    Cycle(#[from] WaitingCycle),
    /// The root supervisor could not be spawned.
    #[error("the root supervisor could not be spawned")]
    Spawn(#[from] ractor::SpawnErr),
}

/// How a member left a running tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// It, and those below it, that did not stop within their deadline and were killed.
    pub killed: Vec<String>,
}

/// Why a member of a running tree could not be added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no supervisor with this path.
    #[error("{0} is no supervisor of this tree: a path such as `markets` is expected, or `root`")]
    NoSupervisor(String),
    /// A member with this path is there already.
    #[error("{0} is there already: remove it first, or choose another name")]
    Taken(String),
    /// What is to be added can't become a part of the tree.
    #[error(transparent)]
    Description(#[from] BadDescription),
    /// The supervisor has ended and will not come back: nothing below it can run.
    #[error(
        "{0} has ended for good, so nothing can be added there: restart the process, or add it elsewhere"
    )]
    Down(String),
    /// A member of this path was removed, and its last incarnation still holds its thread.
    #[error("{0} was removed, but its last incarnation never yields and still runs: restart the process")]
    StillRuns(String),
    /// There is no member with this path.
    #[error("there is no {0} in this tree")]
    Unknown(String),
    /// The tree is being stopped, or the supervisor is being removed: what is added now would never run.
    #[error("{0} is being stopped: nothing can be added there any more")]
    Stopping(String),
    /// With it, edges that wait would form a cycle.
    #[error(transparent)]
    Cycle(#[from] WaitingCycle),
    /// The tree has ended, or ended meanwhile.
    #[error("the tree has ended, so nothing in it can be changed")]
    Ended,
    /// It holds its thread: it did not end, not even when it was killed.
    #[error("{0} was taken out of the tree, but it never yields and could not be ended")]
    Abandoned(String),
}
