//! What pictures are made of: a message that was pushed, or what one poll of an application told.

use std::{collections::BTreeMap, sync::Arc};

use domain::peers::PictureKind;
use peer_snapshots::{Message, MessageKind, MeteredService, polled::Polled};

/// The content of a picture.
#[derive(Debug)]
pub enum Content {
    /// A message of a sender.
    Pushed(Arc<Message>),
    /// An application that was polled.
    Polled {
        /// What it told.
        told: Arc<Polled>,
        /// The work a second of its clients since the poll before, by their numbers.
        rates: BTreeMap<u32, f64>,
    },
}

impl Content {
    /// The message, if it was pushed.
    #[must_use]
    pub fn message(&self) -> Option<&Message> {
        match self {
            Self::Pushed(message) => Some(message),
            Self::Polled { .. } => None,
        }
    }

    /// What an application told, if it was polled.
    #[must_use]
    pub fn polled(&self) -> Option<&Polled> {
        match self {
            Self::Pushed(_) => None,
            Self::Polled { told, .. } => Some(told),
        }
    }
}

/// What arrives at the state.
#[derive(Debug)]
pub enum Told {
    /// A message of a sender.
    Message(Arc<Message>),
    /// All answers of one poll.
    Poll {
        /// What they tell.
        polled: Arc<Polled>,
        /// When it began, in Unix seconds.
        at: f64,
    },
}

impl Told {
    /// What it is called where it is no picture.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Message(message) => message.kind().label(),
            Self::Poll { .. } => "poll",
        }
    }

    /// How many entries it has, about.
    pub(super) fn entries(&self) -> usize {
        match self {
            Self::Message(message) => match &**message {
                Message::Miners(all) => all.miners.len(),
                Message::Connections(all) => all.connections.len(),
                Message::Proxy(all) => all.downstream_miners.len(),
                Message::Pool(all) => all.downstream_proxies.len() + all.services.len(),
                Message::Metrics(all) => all.downstreams.len(),
                Message::Balance(_) | Message::Quote(_) | Message::Heartbeat(_) | Message::Retired(_) => 0,
            },
            Self::Poll { polled, .. } => polled.entries(),
        }
    }
}

/// The kind of the picture of a message; `None` for a message that is none.
pub(super) fn picture_kind(message: &Message) -> Option<PictureKind> {
    if let Message::Metrics(metrics) = message {
        return Some(metrics_kind(metrics.service_type));
    }
    Some(match message.kind() {
        MessageKind::Miners => PictureKind::Miners,
        MessageKind::Connections => PictureKind::Connections,
        MessageKind::Balance => PictureKind::Balance,
        MessageKind::Proxy => PictureKind::ProxyStatus,
        MessageKind::Pool => PictureKind::PoolStatus,
        MessageKind::Heartbeat => PictureKind::Heartbeat,
        MessageKind::Metrics | MessageKind::Quote | MessageKind::Retired => return None,
    })
}

/// The kind of the picture of metrics.
pub(super) fn metrics_kind(service: MeteredService) -> PictureKind {
    match service {
        MeteredService::Translator => PictureKind::ProxyMetrics,
        MeteredService::Pool => PictureKind::PoolMetrics,
    }
}
