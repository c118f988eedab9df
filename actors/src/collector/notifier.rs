//! The notifier: tells people what they should know of. Today it writes it to the log.
//!
//! Touches nothing else. Many of one kind become a few lines, for a chain that is followed from far back tells of
//! thousands. What it is told is for people alone: an edge to it drops the oldest, and nothing is decided by it.

use domain::{chain::ChainEvent, collector::Note};
use serde::{Deserialize, Serialize};
use supervision::{Actor, Context, Failure, Message};

use crate::env::log_throttle::{LogThrottle, field};

/// How many lines there may be a minute of one kind.
const LINES: u32 = 20;

/// How grave it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It belongs to the day's work.
    Low,
    /// Somebody should look at it.
    Medium,
    /// Something was lost, or is about to be.
    High,
}

/// Something that people should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What it is about, as in `epoch_expired`.
    pub kind: String,
    /// How grave it is.
    pub severity: Severity,
    /// What happened, to what, and what to do about it.
    pub text: String,
}

impl Notice {
    /// A notice of this kind.
    #[must_use]
    pub fn new(kind: &str, severity: Severity, text: String) -> Self {
        Self { kind: kind.to_owned(), severity, text }
    }

    /// What a note of the chain means to people.
    #[must_use]
    pub fn of(note: &Note) -> Self {
        use Severity::{High, Low, Medium};
        let (kind, severity, text) = match note {
            Note::Released { market, epoch, window } => {
                let until = window.limit;
                (
                    "epoch_released",
                    Low,
                    format!("epoch {epoch} of market {market} takes submissions until {until}"),
                )
            }
            Note::TakenUp { market, epoch, window } => (
                "epoch_taken_up",
                Low,
                format!(
                    "the window of epoch {epoch} of market {market}, which another program had opened, is taken up: it takes submissions until {}",
                    window.limit
                ),
            ),
            Note::ReleasedAgain { market, epoch } => (
                "epoch_released_again",
                Low,
                format!("epoch {epoch} of market {market} was released once more: nothing changed"),
            ),
            Note::Expired { market, epoch } => (
                "epoch_expired",
                High,
                format!(
                    "epoch {epoch} of market {market} was met too late: what was submitted is gone, it gets no batches"
                ),
            ),
            Note::Closed { market, epoch, block, by_clock: false } => (
                "window_closed",
                Low,
                format!("epoch {epoch} of market {market} took submissions up to block {block}"),
            ),
            Note::Closed { market, epoch, block, by_clock: true } => (
                "window_closed_by_clock",
                Medium,
                format!(
                    "no block came that would end epoch {epoch} of market {market}: it ends with block {block}; see whether the chain stands still"
                ),
            ),
            Note::Submitted(handed) => {
                let (market, epoch, cid) = (handed.market, handed.epoch, &handed.batch_cid);
                (
                    "batch_submitted",
                    Low,
                    format!("batch {cid} of epoch {epoch} of market {market} was submitted"),
                )
            }
            Note::StaysHandedOver { market, epoch } => (
                "epoch_dropped",
                High,
                format!(
                    "a reorganisation dropped the release of epoch {epoch} of market {market}, which is over already: its batches stay where they are"
                ),
            ),
            Note::StaysSubmitted(handed) => {
                let (market, epoch, cid) = (handed.market, handed.epoch, &handed.batch_cid);
                (
                    "batch_dropped",
                    Medium,
                    format!(
                        "a reorganisation dropped batch {cid} of epoch {epoch} of market {market}: what the attestor was told stays"
                    ),
                )
            }
            Note::Other { block, event } => match event.event {
                ChainEvent::DayStarted { day, .. } => (
                    "day_started",
                    Low,
                    format!("day {day} of market {} began at block {block}", event.market),
                ),
                ref other => {
                    ("event", Low, format!("{} of market {} at block {block}", other.name(), event.market))
                }
            },
        };
        Self::new(kind, severity, text)
    }
}

impl Message for Notice {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.kind.len() + self.text.len()
    }
}

/// The actor.
#[derive(Default)]
pub struct Notifier;

impl Actor for Notifier {
    type Message = Notice;

    async fn run(&mut self, cx: &mut Context<Notice>) -> Result<(), Failure> {
        let lines = LogThrottle::allowing(LINES, cx.clock());
        while let Some(notice) = cx.recv().await {
            let Notice { kind, severity, text } = &*notice;
            match (severity, lines.admit(kind)) {
                (Severity::Low, _) => tracing::debug!(kind, "{text}"),
                (_, None) => {}
                (Severity::Medium, Some(suppressed)) => {
                    tracing::warn!(kind, suppressed = field(suppressed), "{text}")
                }
                (Severity::High, Some(suppressed)) => {
                    tracing::error!(kind, suppressed = field(suppressed), "{text}")
                }
            }
            notice.settle();
        }
        Ok(())
    }
}
