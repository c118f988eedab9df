//! The notifier: writes events that operators should see to the log, and passes them on to the alerts, where there are any.
//!
//! It touches nothing else. The lines of each kind are limited, since a backfill can produce thousands. Its edges drop the
//! oldest notice when the mailbox is full, so no decision may depend on a notice.

use domain::{
    chain::ChainEvent,
    collector::{FinalizedBatch, Note},
};
use serde::{Deserialize, Serialize};
use supervision::{Actor, Address, Context, Failure, Inbox, Message};

use crate::env::{
    log_throttle::{LogThrottle, field},
    report::Place,
};

/// The most log lines of one kind a minute.
const LINES: u32 = 20;

/// The severity of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Normal operation; logged at DEBUG.
    Low,
    /// An operator should check it; logged at WARN.
    Medium,
    /// Data was lost, or may be; logged at ERROR.
    High,
}

/// An event that operators should see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Its kind, such as `epoch_expired`.
    pub kind: String,
    /// Its severity.
    pub severity: Severity,
    /// Where in the chain.
    pub place: Place,
    /// What happened to which object, and what to do about it.
    pub text: String,
}

impl Notice {
    /// A notice of this kind.
    #[must_use]
    pub fn new(kind: &str, severity: Severity, place: Place, text: String) -> Self {
        Self { kind: kind.to_owned(), severity, place, text }
    }

    /// The notice of a note of the chain.
    #[must_use]
    pub fn of(note: &Note) -> Self {
        let (kind, severity) = kind_of(note);
        Self::new(kind, severity, place_of(note), text_of(note))
    }
}

fn kind_of(note: &Note) -> (&'static str, Severity) {
    use Severity::{High, Low, Medium};
    match note {
        Note::Released { .. } => ("epoch_released", Low),
        Note::TakenUp { .. } => ("epoch_taken_up", Low),
        Note::Measured { .. } => ("window_measured", Low),
        Note::ReleasedAgain { .. } => ("epoch_released_again", Low),
        Note::Implausible { .. } => ("epoch_implausible", High),
        Note::ImplausibleDay { .. } => ("day_implausible", High),
        Note::DayCorrected { .. } => ("day_corrected", High),
        Note::Expired { .. } => ("epoch_expired", High),
        Note::Abandoned { .. } => ("epoch_abandoned", Medium),
        Note::Closed { by_clock: false, .. } => ("window_closed", Low),
        Note::Closed { by_clock: true, .. } => ("window_closed_by_clock", Medium),
        Note::Submitted(_) => ("batch_submitted", Low),
        Note::StaysHandedOver { .. } => ("epoch_dropped", High),
        Note::StaysSubmitted(_) => ("batch_dropped", Medium),
        Note::StaysRolledOver { .. } => ("day_dropped", Medium),
        Note::Finalized { .. } => ("batch_finalized", Low),
        Note::Other { event, .. } => match event.event {
            ChainEvent::DayStarted { .. } => ("day_started", Low),
            _ => ("event", Low),
        },
    }
}

fn place_of(note: &Note) -> Place {
    let (market, epoch, block) = match note {
        Note::Released { market, epoch, window }
        | Note::TakenUp { market, epoch, window }
        | Note::Measured { market, epoch, window } => (market, Some(*epoch), Some(window.release_block)),
        Note::ReleasedAgain { market, epoch }
        | Note::Implausible { market, epoch }
        | Note::Expired { market, epoch }
        | Note::Abandoned { market, epoch }
        | Note::StaysHandedOver { market, epoch }
        | Note::DayCorrected { market, epoch, .. }
        | Note::StaysRolledOver { market, epoch } => (market, Some(*epoch), None),
        Note::ImplausibleDay { market, .. } => (market, None, None),
        Note::Closed { market, epoch, block, .. } => (market, Some(*epoch), Some(*block)),
        Note::Submitted(batch) | Note::StaysSubmitted(batch) => (&batch.market, Some(batch.epoch), None),
        Note::Finalized { block, batch } => (&batch.market, Some(batch.epoch), Some(*block)),
        Note::Other { block, event } => (&event.market, None, Some(*block)),
    };
    Place { market: Some(*market), epoch, block }
}

fn text_of(note: &Note) -> String {
    match note {
        Note::Released { market, epoch, window } if window.length().is_none() => format!(
            "epoch {epoch} of market {market} accepts submissions; how long is not known yet, so its window waits for that"
        ),
        Note::Released { market, epoch, window } | Note::Measured { market, epoch, window } => {
            format!("epoch {epoch} of market {market} accepts submissions until {}", window.limit)
        }
        Note::TakenUp { market, epoch, window } => format!(
            "the window of epoch {epoch} of market {market}, which another program opened, is taken over; it accepts \
             submissions until {}",
            window.limit
        ),
        Note::ReleasedAgain { market, epoch } => {
            format!("epoch {epoch} of market {market} was released again; nothing changed")
        }
        Note::Implausible { market, epoch } => format!(
            "the release of epoch {epoch} of market {market} is set aside: its id is too far ahead of the others; check the nodes and \
             the contract"
        ),
        Note::ImplausibleDay { .. } | Note::DayCorrected { .. } | Note::StaysRolledOver { .. } => {
            text_of_day(note)
        }
        Note::Expired { market, epoch } => format!(
            "the submissions of epoch {epoch} of market {market} expired before its batches could be made; it gets none"
        ),
        Note::Abandoned { market, epoch } => format!(
            "no tracker has made the batches of epoch {epoch} of market {market}, and its submissions have expired; if the \
             market has left for good, remove it by `state-tracker ledger remove {market}`"
        ),
        Note::Closed { market, epoch, block, by_clock: false } => {
            format!("epoch {epoch} of market {market} accepted submissions up to block {block}")
        }
        Note::Closed { market, epoch, block, by_clock: true } => format!(
            "no block came to close the window of epoch {epoch} of market {market}, so the clock closed it with \
             block {block}; check whether the chain has stopped"
        ),
        Note::Submitted(batch) => {
            let (market, epoch, cid) = (batch.market, batch.epoch, &batch.batch_cid);
            format!("batch {cid} of epoch {epoch} of market {market} was submitted")
        }
        Note::StaysHandedOver { market, epoch } => format!(
            "a reorganisation dropped the release of epoch {epoch} of market {market} after its window had closed; its \
             batches stay delivered"
        ),
        Note::StaysSubmitted(batch) => {
            let (market, epoch, cid) = (batch.market, batch.epoch, &batch.batch_cid);
            format!(
                "a reorganisation dropped batch {cid} of epoch {epoch} of market {market} after it had been queued for \
                 the attestor; it stays queued"
            )
        }
        Note::Finalized { block, batch: FinalizedBatch { market, epoch, batch } } => format!(
            "a batch of epoch {epoch} of market {market}, whose content id has the hash {batch}, is final with block {block}"
        ),
        Note::Other { block, event } => match event.event {
            ChainEvent::DayStarted { day, .. } => {
                format!("day {day} of market {} began at block {block}", event.market)
            }
            ref other => format!("{} of market {} at block {block}", other.name(), event.market),
        },
    }
}

/// What is told of a market's days.
fn text_of_day(note: &Note) -> String {
    match note {
        Note::ImplausibleDay { market, day } => format!(
            "day {day} of market {market} is set aside: it is too far ahead of the last one; check the nodes and the contract"
        ),
        Note::DayCorrected { market, epoch, from, to } => format!(
            "epoch {epoch} of market {market} was released in day {to}, and the one before in day {from}: a node has told a wrong day; the \
             rewards of day {to} are told again when it ends"
        ),
        Note::StaysRolledOver { market, epoch } => format!(
            "a reorganisation dropped the change of day of market {market} that epoch {epoch} showed, after the rewards of \
             the day before were due; what the relayer was told of them stays, and they are told again when that day ends"
        ),
        _ => String::new(),
    }
}

impl Message for Notice {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.kind.len() + self.text.len()
    }
}

/// The actor.
#[derive(Default)]
pub struct Notifier {
    alerts: Option<Address<Notice>>,
}

impl Notifier {
    /// A notifier that passes notices on to the alerts.
    #[must_use]
    pub fn passing_on(alerts: Option<Address<Notice>>) -> Self {
        Self { alerts }
    }
}

impl Actor for Notifier {
    type Message = Notice;

    async fn run(&mut self, cx: &Context, inbox: &mut Inbox<Notice>) -> Result<(), Failure> {
        // By kind and not by text, since every notice of an epoch has another text.
        let lines = LogThrottle::allowing(LINES, cx.clock());
        while let Some(notice) = inbox.recv().await {
            if let Some(alerts) = &self.alerts {
                // The edge drops the oldest notice, so this is refused only while the alerts are being stopped.
                let _ = alerts.try_send((*notice).clone());
            }
            let Notice { kind, severity, place: Place { market, epoch, block }, text } = &*notice;
            let market = market.map(|market| market.to_string());
            match (severity, lines.admit(kind)) {
                // Not limited by the throttle: DEBUG is off in operation.
                (Severity::Low, _) => tracing::debug!(kind, market, epoch, block, "{text}"),
                (_, None) => {}
                (Severity::Medium, Some(suppressed)) => {
                    tracing::warn!(kind, market, epoch, block, suppressed = field(suppressed), "{text}")
                }
                (Severity::High, Some(suppressed)) => {
                    tracing::error!(kind, market, epoch, block, suppressed = field(suppressed), "{text}")
                }
            }
            notice.ack();
        }
        Ok(())
    }
}
