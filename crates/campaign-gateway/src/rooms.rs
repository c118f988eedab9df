//! Who gets the events of which campaign, and up to which position of the log all have been sent.
//!
//! One lock holds both: a client that joins at a position gets each event after it, and none before.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket_io::Pushed;
use supervision::Clock;
use tokio::sync::watch;

use crate::{
    campaign::CampaignId,
    client::Link,
    encode,
    event::{Event, EventId, EventKind},
};

/// All rooms.
pub(crate) struct Rooms {
    state: Mutex<State>,
    /// The position, for those that wait for it; `None` before the log was reached.
    position: watch::Sender<Option<EventId>>,
}

#[derive(Default)]
struct State {
    position: Option<EventId>,
    rooms: HashMap<CampaignId, Room>,
}

#[derive(Default)]
struct Room {
    members: Vec<Link>,
    /// The newest status that was sent to all members.
    status: EventId,
}

/// What became of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) messages: usize,
    pub(crate) replaced: usize,
}

impl Rooms {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default(), position: watch::Sender::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position; `None` before the log was reached.
    pub(crate) fn position(&self) -> Option<EventId> {
        self.lock().position
    }

    /// The rooms with members.
    pub(crate) fn len(&self) -> usize {
        self.lock().rooms.len()
    }

    /// Sets the position without an event.
    pub(crate) fn begin_at(&self, position: EventId) {
        self.lock().position = Some(position);
        self.position.send_replace(Some(position));
    }

    /// Waits until events up to this one have been sent; `false` if they were not in time.
    pub(crate) async fn reached(&self, position: EventId, within: Duration, clock: &Clock) -> bool {
        let mut watched = self.position.subscribe();
        let reached = watched.wait_for(|at| at.is_some_and(|at| at >= position));
        clock.timeout(within, reached).await.is_some_and(|reached| reached.is_ok())
    }

    /// Sends events, which follow the position, to their rooms.
    pub(crate) fn send(&self, events: &[Event]) -> Sent {
        let mut sent = Sent::default();
        let mut state = self.lock();
        for event in events {
            // The log repeats nothing; were it to, nobody would get it twice.
            if state.position.is_some_and(|position| event.id <= position) {
                continue;
            }
            state.position = Some(event.id);
            let Some(room) = state.rooms.get_mut(&event.campaign) else { continue };
            if event.kind == EventKind::Status {
                room.status = event.id;
            }
            let message = encode::live(event);
            for member in &room.members {
                match member.send(message.clone()) {
                    Pushed::Waits => sent.messages += 1,
                    Pushed::Replaced(count) => {
                        sent.messages += 1;
                        sent.replaced += count;
                    }
                    Pushed::Refused => {}
                }
            }
        }
        let position = state.position;
        drop(state);
        self.position.send_replace(position);
        sent
    }

    /// Whether a client in the rooms of these events is behind.
    pub(crate) fn is_behind(&self, events: &[Event]) -> bool {
        self.members(events).iter().any(|member| member.is_behind())
    }

    /// Notes which clients in the rooms of these events were waited for in vain.
    pub(crate) fn wait_no_more(&self, events: &[Event]) {
        self.members(events).iter().for_each(|member| member.wait_no_more());
    }

    /// The clients in the rooms of these events.
    fn members(&self, events: &[Event]) -> Vec<Link> {
        let state = self.lock();
        let campaigns: BTreeSet<CampaignId> = events.iter().map(|event| event.campaign).collect();
        let rooms = campaigns.iter().filter_map(|campaign| state.rooms.get(campaign));
        rooms.flat_map(|room| room.members.iter().cloned()).collect()
    }

    /// Adds a client to rooms. Each event after the position that is returned will be sent to it; `None` before the log was reached.
    pub(crate) fn join(
        &self,
        campaigns: impl IntoIterator<Item = CampaignId>,
        client: &Link,
    ) -> Option<EventId> {
        let mut state = self.lock();
        let position = state.position?;
        for campaign in campaigns {
            let members = &mut state.rooms.entry(campaign).or_default().members;
            if !members.iter().any(|member| Arc::ptr_eq(member, client)) {
                members.push(client.clone());
            }
        }
        Some(position)
    }

    /// Removes a client from rooms.
    pub(crate) fn leave(&self, campaigns: impl IntoIterator<Item = CampaignId>, client: &Link) {
        let mut state = self.lock();
        for campaign in campaigns {
            let Some(room) = state.rooms.get_mut(&campaign) else { continue };
            if let Some(place) = room.members.iter().position(|member| Arc::ptr_eq(member, client)) {
                room.members.swap_remove(place);
            }
            if room.members.is_empty() {
                state.rooms.remove(&campaign);
            }
        }
    }

    /// Sends the latest status to a client that joined at this position, unless it has a newer one, or will get this one live.
    pub(crate) fn send_latest(&self, status: &Event, joined: EventId, client: &Link) -> bool {
        let state = self.lock();
        let Some(room) = state.rooms.get(&status.campaign) else { return false };
        let comes_live = status.id > joined;
        let has_newer = room.status > joined;
        if comes_live || has_newer {
            return false;
        }
        client.send(encode::latest(status)) != Pushed::Refused
    }
}
