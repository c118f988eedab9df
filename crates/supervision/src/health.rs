//! The health record of an actor, over all its incarnations: the source of the health page, the metrics and the demo.

use std::time::Duration;

use serde::Serialize;

use crate::{
    mailbox::MailboxStats,
    progress::Activity,
    state::{ExitKind, State},
};

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
    /// The backtrace of a panic, where it was asked for: [`Tree::crashes`](crate::Tree::crashes). Health records are without it,
    /// since its symbols take long to resolve; serialised records too, since it is long.
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
    pub exits: [u64; ExitKind::COUNT],
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
        self.exits.get(kind.index()).copied().unwrap_or(0)
    }

    /// The number of incarnations after the first.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.generation.saturating_sub(1)
    }
}

fn by_kind<S: serde::Serializer>(exits: &[u64; ExitKind::COUNT], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(ExitKind::ALL.iter().map(|kind| kind.as_str()).zip(exits))
}

fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}
