//! The health record of an actor, over all its incarnations: the source of the health page, the metrics and the demo.

use std::time::Duration;

use serde::Serialize;

use crate::{mailbox::MailboxStats, progress::Activity};

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
    /// Every kind, in the order of [`ActorHealth::exits`].
    pub const ALL: [Self; 7] = [
        Self::Finished,
        Self::Stopped,
        Self::Failed,
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
            Self::Panicked => "panicked",
            Self::Stalled => "stalled",
            Self::Killed => "killed",
            Self::Sibling => "sibling",
        }
    }
}

/// One crash of one incarnation.
#[derive(Clone, Debug, Serialize)]
pub struct Crash {
    /// The number of the crash within the actor.
    pub id: u64,
    /// Wall time, seconds since the Unix epoch.
    pub at: f64,
    /// The incarnation that crashed.
    pub generation: u64,
    /// How it ended.
    pub kind: ExitKind,
    /// The message of the panic, or the error with its causes.
    pub message: String,
    /// File and line of a panic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The backtrace of a panic. Left out of serialised records: it is long.
    #[serde(skip)]
    pub backtrace: Option<String>,
}

/// The record of one actor.
#[derive(Clone, Debug, Serialize)]
pub struct ActorHealth {
    /// Its path in the tree, such as `markets/0xabc/aggregator`.
    pub path: String,
    /// Whether it is a supervisor.
    pub supervisor: bool,
    /// Its state.
    pub state: State,
    /// Whether it exceeded its restart limit and is not healthy again.
    pub degraded: bool,
    /// The number of its incarnations so far, which is the number of the present one.
    pub generation: u64,
    /// How many incarnations ended in each way, in the order of [`ExitKind::ALL`]; serialised as an object by their names.
    #[serde(serialize_with = "by_kind")]
    pub exits: [u64; 7],
    /// The last crash.
    pub last_crash: Option<Crash>,
    /// Its activity.
    pub activity: Activity,
    /// Whether it is wedged: its running poll has lasted so long that it may never yield.
    pub wedged: bool,
    /// Time since its last sign of progress.
    #[serde(serialize_with = "seconds")]
    pub quiet: Duration,
    /// The counts of its mailbox, if it has one.
    pub mailbox: Option<MailboxStats>,
}

impl ActorHealth {
    /// How many incarnations ended in this way.
    #[must_use]
    pub fn exits(&self, kind: ExitKind) -> u64 {
        ExitKind::ALL
            .iter()
            .zip(self.exits)
            .find_map(|(&known, count)| (known == kind).then_some(count))
            .unwrap_or(0)
    }

    /// The number of incarnations after the first.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.generation.saturating_sub(1)
    }
}

fn by_kind<S: serde::Serializer>(exits: &[u64; 7], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ExitKind::ALL.iter().map(|kind| kind.as_str()).zip(exits))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
