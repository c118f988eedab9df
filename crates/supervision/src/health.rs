//! What is known of each actor: one record over all its incarnations. The same record feeds the health page,
//! the metrics and the demo.

use std::time::Duration;

use serde::Serialize;

use crate::{mailbox::MailboxStats, progress::Activity};

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its turn to start has not come, or has not come again since a sibling that it depends on fell.
    #[default]
    Waiting,
    /// `pre_start` runs, or its predecessor has not quite ended.
    Starting,
    /// It runs.
    Running,
    /// It crashed and waits for its restart.
    BackingOff,
    /// It exceeded its restart limit and is retried slowly.
    Degraded,
    /// It was asked to stop.
    Stopping,
    /// It ended and will not come back.
    Stopped,
    /// It did not stop, not even when killed: it never yields.
    Abandoned,
}

/// Why an incarnation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitKind {
    /// It returned without having been asked to.
    Finished,
    /// It was asked to stop, and did.
    Stopped,
    /// It returned an error.
    Failed,
    /// It panicked.
    Panicked,
    /// It had work and made no progress, and was replaced.
    Stalled,
    /// It did not stop within its deadline, or its supervisor died.
    Killed,
    /// It was asked to stop because a sibling that it depends on had fallen, and did. It is started again.
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
    /// Identifies the report, and its backtrace, within the actor.
    pub id: u64,
    /// Wall time, seconds since the Unix epoch.
    pub at: f64,
    /// The incarnation that crashed.
    pub generation: u64,
    /// How it ended.
    pub kind: ExitKind,
    /// The panic's message, or the error and what caused it.
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
    /// Its place in the tree, as in `markets/0xabc/aggregator`.
    pub path: String,
    /// Whether it supervises others.
    pub supervisor: bool,
    /// Where it is in its life.
    pub state: State,
    /// Whether it counts as degraded: beyond its intensity, and not yet healthy again.
    pub degraded: bool,
    /// How many incarnations there have been.
    pub generation: u64,
    /// How many incarnations ended in each way, in the order of [`ExitKind::ALL`]; serialised as an object by their names.
    #[serde(serialize_with = "by_kind")]
    pub exits: [u64; 7],
    /// The last crash.
    pub last_crash: Option<Crash>,
    /// What it does.
    pub activity: Activity,
    /// A poll of it has been running for so long that it seems never to yield.
    pub wedged: bool,
    /// Time since its last sign of progress.
    #[serde(serialize_with = "seconds")]
    pub quiet: Duration,
    /// Its mailbox, where it has one.
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

    /// How many incarnations followed another one.
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
