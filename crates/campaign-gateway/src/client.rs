//! What the gateway keeps of a client that is let in.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use socket_io::Connection;

use crate::{
    campaign::CampaignId,
    event::{EventId, SavedSession},
    expiry::Stage,
    users::Place,
};

/// A client.
pub(crate) type Link = Arc<Connection<Client>>;

/// What the gateway keeps of a client.
pub(crate) struct Client {
    place: Place,
    /// Under which its rooms are kept while it is away.
    pub(crate) secret: String,
    pub(crate) recovered: bool,
    state: Mutex<State>,
}

/// What changes.
pub(crate) struct State {
    /// When its token expires, since the Unix epoch.
    pub(crate) expires: Duration,
    pub(crate) stage: Stage,
    /// Its campaigns, each with the position at which it joined.
    pub(crate) rooms: BTreeMap<CampaignId, EventId>,
    /// When what is kept of it was last made to live on.
    pub(crate) kept: Instant,
    /// Whether something is kept of it.
    pub(crate) is_saved: bool,
    /// Whether a token of it has expired and it has lost its rooms, also if it has a new one since.
    pub(crate) has_lost_rooms: bool,
}

impl Client {
    pub(crate) fn new(place: Place, secret: String, recovered: bool, state: State) -> Self {
        Self { place, secret, recovered, state: Mutex::new(state) }
    }

    pub(crate) fn user(&self) -> &Arc<str> {
        &self.place.user
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of it.
    pub(crate) fn session(&self) -> SavedSession {
        let rooms = self.state().rooms.iter().map(|(campaign, joined)| (*campaign, *joined)).collect();
        SavedSession { user: self.user().as_ref().to_owned(), rooms }
    }
}
