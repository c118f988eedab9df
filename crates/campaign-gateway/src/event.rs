//! Events of campaigns as the log has them, and what is kept of a client that may come back.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::campaign::CampaignId;

/// The number of an event, and its position in the log of all campaigns: each is greater than those before it. 0 is before all.
pub type EventId = u64;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// The metrics of a run.
    Status,
    /// The success rate of a run fell below its threshold.
    Alert,
    /// A job changed.
    Job,
    /// A run changed.
    Run,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Status, Self::Alert, Self::Job, Self::Run];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Status => "campaign:status",
            Self::Alert => "campaign:alert",
            Self::Job => "job:status",
            Self::Run => "run:status",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An event of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its position in the log.
    pub id: EventId,
    /// The campaign.
    pub campaign: CampaignId,
    /// What it is about.
    pub kind: EventKind,
    /// When it was appended: its `timestamp`.
    pub at: SystemTime,
    /// The text of a JSON object, without `eventId` and `timestamp`.
    pub payload: String,
}

/// A part of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its events, by ascending id.
    pub events: Vec<Event>,
    /// Whether more follow, which the limit cut off.
    pub has_more: bool,
    /// Whether events after the asked position existed that are no longer kept.
    pub truncated: bool,
}

/// The position after which a client asks for events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// All that are kept.
    Start,
    /// Those after this event.
    Event(EventId),
    /// Those after this time.
    Time(SystemTime),
}

/// What is kept of a client that may come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSession {
    /// The user of its token.
    pub user: String,
    /// Its campaigns, each with the position at which it joined.
    pub rooms: Vec<(CampaignId, EventId)>,
}
