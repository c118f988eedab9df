//! The events of several campaigns as one sequence in the order of the log. Pure.

use crate::{
    campaign::CampaignId,
    event::{Event, EventId, Page},
};

/// The events of one campaign that a client still has to get.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) campaign: CampaignId,
    /// The position up to which it has them, or they were read.
    pub(crate) after: EventId,
    /// Those that were read and not sent, by ascending id.
    pub(crate) read: Vec<Event>,
    /// Whether more can be read.
    pub(crate) has_more: bool,
}

impl Part {
    pub(crate) fn new(campaign: CampaignId, after: EventId) -> Self {
        Self { campaign, after, read: Vec::new(), has_more: true }
    }

    /// Whether it must be read further before anything is sent: an event of it could come first.
    pub(crate) fn needs_page(&self) -> bool {
        self.has_more && self.read.is_empty()
    }

    /// Adds what was read.
    pub(crate) fn add(&mut self, page: Page) {
        if let Some(last) = page.events.last() {
            self.after = last.id;
        }
        // A page that says that more follow and has none would be asked for without end.
        self.has_more = page.has_more && !page.events.is_empty();
        self.read.extend(page.events);
    }
}

/// Takes the events that can be sent now, in the order of the log: those before any that may still be read.
pub(crate) fn ready(parts: &mut [Part]) -> Vec<Event> {
    // Beyond the last event of a part that has more, that part may have events.
    let bound = parts.iter().filter(|part| part.has_more).map(|part| part.after).min();
    let mut ready = Vec::new();
    for part in parts.iter_mut() {
        let count = match bound {
            Some(bound) => part.read.partition_point(|event| event.id <= bound),
            None => part.read.len(),
        };
        ready.extend(part.read.drain(..count));
    }
    ready.sort_by_key(|event| event.id);
    ready
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::event::EventKind;

    fn event(campaign: u128, id: EventId) -> Event {
        Event {
            id,
            campaign: CampaignId::new(campaign),
            kind: EventKind::Job,
            at: SystemTime::UNIX_EPOCH,
            payload: "{}".to_owned(),
        }
    }

    /// Reads pages of `limit` out of a log, as the gateway does.
    fn replayed(log: &[Event], campaigns: &[(u128, EventId)], limit: usize) -> Vec<EventId> {
        let mut parts: Vec<Part> =
            campaigns.iter().map(|(campaign, after)| Part::new(CampaignId::new(*campaign), *after)).collect();
        let mut sent = Vec::new();
        for _ in 0..10_000 {
            for part in parts.iter_mut().filter(|part| part.needs_page()) {
                let all: Vec<Event> = log
                    .iter()
                    .filter(|event| event.campaign == part.campaign && event.id > part.after)
                    .cloned()
                    .collect();
                let has_more = all.len() > limit;
                let events = all.into_iter().take(limit).collect();
                part.add(Page { events, has_more, truncated: false });
            }
            sent.extend(ready(&mut parts).into_iter().map(|event| event.id));
            if parts.iter().all(|part| !part.has_more && part.read.is_empty()) {
                return sent;
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn events_of_several_campaigns_come_once_in_the_order_of_the_log() {
        let log: Vec<Event> = (1..=1_000).map(|id| event(u128::from(id * id % 7), id)).collect();
        for limit in [1, 2, 7, 500, 5_000] {
            let expected: Vec<EventId> = log
                .iter()
                .filter(|event| match event.campaign.bits() {
                    1 => event.id > 10,
                    2 => event.id > 500,
                    4 => true,
                    _ => false,
                })
                .map(|event| event.id)
                .collect();
            assert_eq!(replayed(&log, &[(1, 10), (2, 500), (4, 0)], limit), expected, "{limit}");
        }
        assert!(replayed(&log, &[(1, 5_000)], 3).is_empty());
        assert!(replayed(&log, &[], 3).is_empty());
    }
}
