//! A client that comes back: it finds its rooms again, and gets what it missed before anything new.

use std::{sync::Arc, time::Duration};

use socket_io::Pushed;

use crate::{
    client::Link,
    counts::count,
    encode::live,
    event::{EventId, SavedSession},
    replay::{Part, ready},
    shared::Shared,
    sources::EventLog,
};

/// What a page of a replay holds.
const PAGE: usize = 200;
/// How long this replica may need to reach the position that the client has reached with another one.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(2);

/// A client in its rooms, with what it has to get first. It leaves them again where it does not come so far.
pub(crate) struct Recovery<C, L> {
    shared: Arc<Shared<C, L>>,
    client: Link,
    /// The position at which it is in its rooms: what follows is sent live.
    upto: EventId,
    parts: Vec<Part>,
    is_done: bool,
}

impl<C, L> Drop for Recovery<C, L> {
    fn drop(&mut self) {
        if !self.is_done {
            self.shared.rooms.leave(self.parts.iter().map(|part| part.campaign), &self.client);
        }
    }
}

impl<C: Send + Sync, L: EventLog> Recovery<C, L> {
    /// Puts a client into its rooms again, with all live events held, and reads the beginning of what it missed. `None` where a part of that
    /// is no longer kept, or can't be read.
    pub(crate) async fn begin(
        shared: &Arc<Shared<C, L>>,
        client: &Link,
        saved: &SavedSession,
        offset: EventId,
    ) -> Option<Self> {
        // What the client has, or joined after. Of another replica it may have more than this one has sent so far.
        let parts: Vec<Part> =
            saved.rooms.iter().map(|(campaign, joined)| Part::new(*campaign, offset.max(*joined))).collect();
        let furthest = parts.iter().map(|part| part.after).fold(offset, EventId::max);
        if !shared.rooms.reached(furthest, CATCH_UP_WITHIN, &shared.clock).await {
            return None;
        }
        client.hold();
        let upto = shared.rooms.join(parts.iter().map(|part| part.campaign), client)?;
        let mut this = Self { shared: shared.clone(), client: client.clone(), upto, parts, is_done: false };
        this.read().await.then_some(this)
    }

    /// Reads of each campaign of which nothing is left to send; `false` where that fails, or something is gone.
    async fn read(&mut self) -> bool {
        for part in self.parts.iter_mut().filter(|part| part.needs_page()) {
            let log = &self.shared.log;
            let page = log.between(part.campaign, part.after, self.upto, PAGE);
            match self.shared.ask("read the log of a campaign", page).await {
                Ok(page) if !page.truncated => part.add(page),
                Ok(_) | Err(_) => return false,
            }
        }
        true
    }

    /// Sends what was missed, as fast as the client reads it, and then what came meanwhile. From here on the client is in its rooms.
    ///
    /// What can't be read any more would be a gap, so the connection ends then: the client comes back with the offset that it has reached.
    pub(crate) async fn replay(mut self) {
        // From here on the client leaves its rooms by its end.
        self.is_done = true;
        loop {
            for event in ready(&mut self.parts) {
                self.client.drained().await;
                if self.has_lost_rooms() {
                    // What is held comes after a gap now, and is no longer for this client.
                    return self.client.drop_held();
                }
                if self.client.send_first(live(&event)) == Pushed::Refused {
                    return;
                }
                count(&self.shared.counters.replayed);
            }
            if self.parts.iter().all(|part| !part.has_more && part.read.is_empty()) {
                break;
            }
            if !self.read().await {
                return self.client.end(socket_io::Ending::Restarting);
            }
        }
        match self.has_lost_rooms() {
            true => self.client.drop_held(),
            false => self.client.release(),
        }
    }

    /// Whether the token of the client has expired since it came back.
    fn has_lost_rooms(&self) -> bool {
        self.client.client().is_some_and(|client| client.state().has_lost_rooms)
    }
}
