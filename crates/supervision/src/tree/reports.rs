//! The reports of a tree to its owner: how it ended, the outcome of a change, and the errors.

use std::time::Duration;

use crate::{child::BadDescription, edges::WaitingCycle, exit::Failure};

/// How a tree ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It stopped as asked.
    Stopped,
    /// A mandatory actor stayed degraded for too long, or a child of the root exceeded its restart limit and its policy is
    /// [`OnLimit::Escalate`](crate::OnLimit::Escalate).
    GaveUp {
        /// The actor.
        path: String,
        /// Its last crash.
        reason: String,
    },
    /// The root supervisor itself crashed or was killed.
    RootEnded {
        /// Why.
        reason: String,
    },
}

/// The outcome of a stop.
#[derive(Clone, Debug)]
pub struct StopReport {
    /// How the tree ended.
    pub outcome: Outcome,
    /// The actors that did not end even when they were killed.
    pub abandoned: Vec<String>,
    /// The number of incarnations that have not ended.
    pub left_behind: usize,
    /// How long it took.
    pub took: Duration,
}

/// Why a tree did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its children can't become a tree.
    #[error(transparent)]
    Description(#[from] BadDescription),
    /// Its waiting edges form a cycle.
    #[error(transparent)]
    Cycle(#[from] WaitingCycle),
    /// The root supervisor could not be spawned.
    #[error("the root supervisor could not be spawned")]
    Spawn(#[source] Failure),
}

/// The ordered start of a tree is over, and not every actor became ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStarted {
    /// Actors failed before they were ready, or took longer than their policy allows. They are restarted, or still start.
    #[error("{}", .0.iter().map(|(path, why)| format!("{path}: {why}")).collect::<Vec<_>>().join("; "))]
    Failed(Vec<(String, String)>),
    /// The tree ended before its start was over.
    #[error("the tree ended before all of its actors were started")]
    Ended,
}

/// How a member left a running tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// The removed actors that did not stop within their deadlines and were killed.
    pub killed: Vec<String>,
}

/// Why a member of a running tree could not be added or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// There is no supervisor with this path.
    #[error("{0} is no supervisor of this tree: expected a path such as `markets`, or `root`")]
    NoSupervisor(String),
    /// A member with this path exists already.
    #[error("{0} exists already: remove it first, or choose another name")]
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
    /// The tree is being stopped, or the supervisor is being removed: a new member would never run.
    #[error("{0} is being stopped: no member can be added")]
    Stopping(String),
    /// With the new member, waiting edges would form a cycle.
    #[error(transparent)]
    Cycle(#[from] WaitingCycle),
    /// The tree has ended, or ended meanwhile.
    #[error("the tree has ended, so nothing in it can be changed")]
    Ended,
    /// It does not yield its thread, and did not end even when it was killed.
    #[error("{0} was removed from the tree, but it does not yield and could not be ended")]
    Abandoned(String),
}
