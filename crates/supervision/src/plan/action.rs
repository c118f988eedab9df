//! The words between a plan and the supervisor that carries it out.

use std::time::Duration;

/// A child by its number in the start order.
pub(crate) type Index = usize;

/// A reminder that the plan asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The pause before a restart is over.
    Restart,
    /// The child took too long to become ready; the next sibling does not wait longer.
    StartOverdue,
    /// The child has run long enough to count as healthy.
    Healthy,
    /// The child took too long to stop.
    StopOverdue,
    /// The child did not end even when it was killed.
    KillOverdue,
    /// A mandatory child may have been degraded for too long.
    GiveUp,
}

/// A task for the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start an incarnation.
    Spawn(Index),
    /// Remind the plan after `after`.
    Arm { child: Index, timer: Timer, token: u64, after: Duration },
    /// Ask the child to stop for good.
    Stop(Index),
    /// Ask the child to stop because a sibling before it has failed; it will be started again.
    Pause(Index),
    /// Kill the child.
    Kill(Index),
    /// An ordered start is finished: the first one, or one after a failure.
    Started,
    /// A mandatory child has been degraded for too long.
    GiveUp(Index),
    /// A child has exceeded its restart limit and its policy lets its supervisor fail. The stop of the others follows.
    Escalate(Index),
    /// A leaving child has ended, or could not be ended.
    Gone(Index),
    /// Every child has ended.
    Finished,
}

/// How long a killed child has to end before the stop continues without it.
pub(crate) const KILL_GRACE: Duration = Duration::from_millis(500);
