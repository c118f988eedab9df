//! What was received, and what was not taken, by reason.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use domain::peers::Refused;
use peer_snapshots::{MessageKind, Reason};
use ports::HandshakeError;
use sri_client::PollFault;

/// Why a line was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LineFault {
    /// It is no message.
    Unreadable(Reason),
    /// It is longer than the limit.
    TooLong,
    /// Its picture is older than the one that is held, or there are too many sources.
    Picture(&'static str),
}

impl LineFault {
    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreadable(reason) => reason.label(),
            Self::TooLong => "too_long",
            Self::Picture(label) => label,
        }
    }

    /// Every label.
    pub(super) fn labels() -> Vec<&'static str> {
        let pictures = [Refused::Older, Refused::TooManySources].map(Refused::label);
        let readable = Reason::ALL.iter().map(|reason| reason.label());
        readable.chain([Self::TooLong.label()]).chain(pictures).collect()
    }
}

/// Why a connection was refused or closed by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closed {
    /// Its address is in no network that may connect.
    Network,
    /// There are as many connections as are allowed, or as many of its address.
    TooMany,
    /// Its address opens connections too often.
    TooOften,
    /// It speaks no TLS at a port that does.
    NoTls,
    /// It shows no certificate at a port that asks for one.
    NoCertificate,
    /// Its certificate is not of the authority, or not of this time.
    Untrusted,
    /// The handshake of TLS failed otherwise: it does not trust us, knows no version of ours, or has ended.
    Handshake,
    /// It took too long for the handshake of TLS.
    SlowHandshake,
    /// Its first line is not the secret.
    Secret,
    /// It sent a line without an end.
    Endless,
    /// It sent no whole line for too long.
    Silent,
}

impl Closed {
    /// All.
    pub(super) const ALL: [Self; 11] = [
        Self::Network,
        Self::TooMany,
        Self::TooOften,
        Self::NoTls,
        Self::NoCertificate,
        Self::Untrusted,
        Self::Handshake,
        Self::SlowHandshake,
        Self::Secret,
        Self::Endless,
        Self::Silent,
    ];

    /// The reason of a failed handshake.
    pub(super) fn of(error: &HandshakeError) -> Self {
        match error {
            HandshakeError::NoTls => Self::NoTls,
            HandshakeError::NoCertificate => Self::NoCertificate,
            HandshakeError::Untrusted(_) => Self::Untrusted,
            HandshakeError::Tls(_) | HandshakeError::Ended(_) => Self::Handshake,
        }
    }

    /// What the log says.
    pub(super) fn why(self) -> &'static str {
        match self {
            Self::Network => "a sender was refused: its address is in no network that may connect",
            Self::TooMany => "a sender was refused: there are as many connections as are allowed",
            Self::TooOften => "a sender was refused: its address opens connections too often",
            Self::NoTls => "a connection was closed: it speaks no TLS, and this port speaks nothing else",
            Self::NoCertificate => "a connection was closed: it shows no certificate, and must",
            Self::Untrusted => {
                "a connection was closed: its certificate is not of the trusted authority, or not of this time"
            }
            Self::Handshake => {
                "a connection was closed: the handshake of TLS failed; the sender may not trust our certificate"
            }
            Self::SlowHandshake => "a connection was closed: its handshake of TLS took too long",
            Self::Secret => "a connection was closed: its first line is not the secret",
            Self::Endless => "a connection was closed: it sent a line without an end",
            Self::Silent => "a connection was closed: no whole line came for too long",
        }
    }

    /// The label of a metric.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::TooMany => "too_many",
            Self::TooOften => "too_often",
            Self::NoTls => "no_tls",
            Self::NoCertificate => "no_certificate",
            Self::Untrusted => "untrusted",
            Self::Handshake => "handshake",
            Self::SlowHandshake => "slow_handshake",
            Self::Secret => "secret",
            Self::Endless => "endless",
            Self::Silent => "silent",
        }
    }
}

/// The label of a poll that gave a picture.
const POLLED: &str = "picture";

/// What can come of a poll: the labels of a metric.
pub(super) fn poll_outcomes() -> Vec<&'static str> {
    [POLLED].into_iter().chain(PollFault::ALL.map(PollFault::label)).collect()
}

/// The counts. Each label has one from the start, so nothing grows.
#[derive(Debug)]
pub(super) struct Counts {
    messages: BTreeMap<&'static str, AtomicU64>,
    faults: BTreeMap<&'static str, AtomicU64>,
    closed: BTreeMap<&'static str, AtomicU64>,
    polls: BTreeMap<&'static str, AtomicU64>,
    /// Polled pictures that may lack somebody.
    pub(super) uncertain: AtomicU64,
    /// Pictures that were taken though they claim to be older, since the one before was ahead of our clock.
    pub(super) clock: AtomicU64,
    /// Samples that were written.
    pub(super) written: AtomicU64,
    /// Samples that were not: the file refused them, or too many waited.
    pub(super) dropped: AtomicU64,
}

impl Default for Counts {
    fn default() -> Self {
        let zeros = |labels: Vec<&'static str>| labels.into_iter().map(|label| (label, AtomicU64::new(0)));
        Self {
            messages: zeros(MessageKind::ALL.iter().map(|kind| kind.label()).collect()).collect(),
            faults: zeros(LineFault::labels()).collect(),
            closed: zeros(Closed::ALL.iter().map(|reason| reason.label()).collect()).collect(),
            polls: zeros(poll_outcomes()).collect(),
            uncertain: AtomicU64::new(0),
            clock: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        }
    }
}

impl Counts {
    pub(super) fn message(&self, kind: MessageKind) {
        count(&self.messages, kind.label());
    }

    pub(super) fn fault(&self, fault: LineFault) {
        count(&self.faults, fault.label());
    }

    pub(super) fn closed(&self, reason: Closed) {
        count(&self.closed, reason.label());
    }

    /// Counts a poll by its failure, if it has failed.
    pub(super) fn polled(&self, fault: Option<PollFault>) {
        count(&self.polls, fault.map_or(POLLED, PollFault::label));
    }

    pub(super) fn polls(&self) -> impl Iterator<Item = (&'static str, u64)> {
        all(&self.polls)
    }

    pub(super) fn messages(&self) -> impl Iterator<Item = (&'static str, u64)> {
        all(&self.messages)
    }

    pub(super) fn faults(&self) -> impl Iterator<Item = (&'static str, u64)> {
        all(&self.faults)
    }

    pub(super) fn all_closed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        all(&self.closed)
    }
}

fn count(counts: &BTreeMap<&'static str, AtomicU64>, label: &str) {
    if let Some(count) = counts.get(label) {
        count.fetch_add(1, Relaxed);
    }
}

fn all(counts: &BTreeMap<&'static str, AtomicU64>) -> impl Iterator<Item = (&'static str, u64)> {
    counts.iter().map(|(label, count)| (*label, count.load(Relaxed)))
}
