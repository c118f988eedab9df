//! The words for what an actor is doing and how an incarnation ended.

use serde::Serialize;

/// The state of an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It waits for siblings before it in the start order, at the start or after one of them ended.
    #[default]
    Waiting,
    /// `pre_start` runs, or the incarnation waits for the end of its predecessor.
    Starting,
    /// It runs.
    Running,
    /// It crashed and waits for its restart.
    BackingOff,
    /// It exceeded its restart limit and is retried slowly.
    Degraded,
    /// It was asked to stop.
    Stopping,
    /// It ended for good.
    Stopped,
    /// It did not end even when it was killed, since it does not yield.
    Abandoned,
}

/// Why an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitKind {
    /// It returned by itself.
    Finished,
    /// It was asked to stop, and did.
    Stopped,
    /// It returned an error.
    Failed,
    /// It returned an [`Unavailable`](crate::Unavailable) error: something that it depends on is away.
    Unavailable,
    /// It panicked.
    Panicked,
    /// It had work, made no progress, and was killed by the watch.
    Stalled,
    /// It was killed: it did not stop within its deadline, its supervisor died, or an operator killed it.
    Killed,
    /// It was stopped because a sibling that it depends on had ended. It is started again.
    Sibling,
}

impl ExitKind {
    /// The number of kinds.
    pub(crate) const COUNT: usize = 8;

    /// Every kind, in the order of [`ActorHealth::exits`](crate::ActorHealth::exits).
    pub const ALL: [Self; Self::COUNT] = [
        Self::Finished,
        Self::Stopped,
        Self::Failed,
        Self::Unavailable,
        Self::Panicked,
        Self::Stalled,
        Self::Killed,
        Self::Sibling,
    ];

    /// The name that metrics and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::Panicked => "panicked",
            Self::Stalled => "stalled",
            Self::Killed => "killed",
            Self::Sibling => "sibling",
        }
    }

    /// Whether the incarnation ended by a fault, and not as somebody wanted.
    #[must_use]
    pub fn is_crash(self) -> bool {
        !matches!(self, Self::Finished | Self::Stopped | Self::Sibling)
    }

    /// Its place in a list of counters by kind.
    pub(crate) fn index(self) -> usize {
        // The declaration has the order of `ALL`, which a test checks.
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_exit_has_its_place_in_the_list_of_all() {
        for (index, kind) in ExitKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), index, "{kind:?}");
        }
    }
}
