//! The events of the namespace: what clients may ask for, and what they get. The handlers know no others, and the reference of the
//! endpoints is made from these tables. Pure.

use crate::event::EventKind;

/// What a client may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// To get the events of a campaign.
    Join,
    /// To get them no more.
    Leave,
    /// Which campaigns it has joined.
    Subscriptions,
    /// Events that it has missed.
    Missed,
    /// A sign of life.
    Ping,
    /// To go on with a new token.
    Refresh,
}

impl Request {
    /// All of them. One that is missing here is known to no handler.
    pub const ALL: [Self; 6] =
        [Self::Join, Self::Leave, Self::Subscriptions, Self::Missed, Self::Ping, Self::Refresh];

    /// The name of its event.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Join => "join_campaign",
            Self::Leave => "leave_campaign",
            Self::Subscriptions => "get_subscriptions",
            Self::Missed => "get_missed_events",
            Self::Ping => "ping",
            Self::Refresh => "auth:refresh",
        }
    }

    /// The one of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|request| request.name() == name)
    }

    /// Its argument.
    #[must_use]
    pub fn argument(self) -> &'static str {
        match self {
            Self::Join | Self::Leave => "{campaignId}",
            Self::Subscriptions => "{}",
            Self::Missed => "{campaignId, since?, limit?}",
            Self::Ping => "",
            Self::Refresh => "{token}",
        }
    }

    /// What its acknowledgement has.
    #[must_use]
    pub fn answer(self) -> &'static str {
        match self {
            Self::Join | Self::Leave => "{success, message, campaignId?, retryAfterMs?}",
            Self::Subscriptions => "{success, campaigns, recovered}",
            Self::Missed => "{success, campaignId, events: [{type, payload}], truncated}",
            Self::Ping => "\"pong\", and the event pong",
            Self::Refresh => "{success, message, expiresAt, campaigns}",
        }
    }
}

/// An event that clients get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerEvent {
    /// Its name.
    pub name: &'static str,
    /// The fields of its payload.
    pub payload: &'static str,
    /// When it is sent.
    pub when: &'static str,
}

/// The answer to `ping`.
pub(crate) const PONG: ServerEvent =
    ServerEvent { name: "pong", payload: "{timestamp}", when: "the client has sent `ping`" };
/// The end of a token.
pub(crate) const AUTH_EXPIRED: ServerEvent = ServerEvent {
    name: "auth:expired",
    payload: "{expired, expiresAt, timestamp, message}",
    when: "the client's token expires within a minute, and again when it has",
};

/// Every event that clients get.
pub fn server_events() -> impl Iterator<Item = ServerEvent> {
    EventKind::ALL.into_iter().map(of_kind).chain([PONG, AUTH_EXPIRED])
}

fn of_kind(kind: EventKind) -> ServerEvent {
    let (payload, when) = match kind {
        EventKind::Status => (
            "{eventId, timestamp, runId, campaignId, status, metrics, updatedAt, stale?}",
            "the summary or the status of a run has changed, and at once for a client that joins",
        ),
        EventKind::Alert => (
            "{eventId, timestamp, runId, campaignId, successRate, threshold, updatedAt}",
            "the success rate of a run has fallen below its threshold, once until it has recovered",
        ),
        EventKind::Job => (
            "{eventId, timestamp, jobId, runId, campaignId, status, queue, type, attempts?, error?}",
            "a job has changed, where the migration was run",
        ),
        EventKind::Run => (
            "{eventId, timestamp, runId, campaignId, status, startedAt, endedAt?, summary?}",
            "the status, the start or the end of a run has changed",
        ),
    };
    ServerEvent { name: kind.name(), payload, when }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_request_is_found_by_its_name_and_no_two_events_have_the_same_one() {
        for request in Request::ALL {
            assert_eq!(Request::of(request.name()), Some(request));
        }
        assert_eq!(Request::of("join"), None);
        let names: BTreeSet<&str> = server_events().map(|event| event.name).collect();
        assert_eq!(names.len(), server_events().count());
    }
}
