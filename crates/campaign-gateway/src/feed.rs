//! Follows the log and sends its events to their rooms.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use errors::sanitise;
use retry::{Attempts, table::CAMPAIGN_FEED};
use socket_io::Bounds;

use crate::{
    counts::add,
    encode::AROUND,
    event::{Event, EventId, Page},
    shared::Shared,
    sources::{EventLog, SourceError},
};

/// What one reading brings.
const PAGE: usize = 512;
/// How long a reading waits for the first event.
const WAIT: Duration = Duration::from_secs(5);
/// The time between two looks whether it has.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Whether the gateway follows the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FeedState {
    /// It has not reached the log yet.
    Starting,
    /// It gets each event.
    Following,
    /// The log fails; the gateway tries again.
    Retrying {
        /// Since when.
        since: Instant,
        /// The last failure.
        error: String,
    },
}

/// The state of the feed, shared with those that show it.
#[derive(Clone, Debug)]
pub(crate) struct Feed(Arc<Mutex<FeedState>>);

impl Feed {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(FeedState::Starting)))
    }

    pub(crate) fn state(&self) -> FeedState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set(&self, state: FeedState) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn failed(&self, error: &SourceError, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let since = if let FeedState::Retrying { since, .. } = &*state { *since } else { now };
        *state = FeedState::Retrying { since, error: sanitise(error) };
    }
}

/// Follows the log, for ever. Where events were lost on the way, `restart` ends all connections: each client comes back and gets what it
/// missed, or learns that a part of it is gone.
pub(crate) async fn follow<C, L: EventLog>(shared: &Shared<C, L>, feed: &Feed, restart: impl Fn()) {
    let mut attempts = Attempts::new(CAMPAIGN_FEED);
    let mut has_failed = true;
    loop {
        let read = match has_failed {
            // The log may have been emptied meanwhile: then its end is before our position.
            true => begin(shared, &restart).await,
            false => step(shared, &restart).await,
        };
        match read {
            Ok(()) => {
                attempts.succeeded();
                has_failed = false;
                feed.set(FeedState::Following);
            }
            Err(error) => {
                has_failed = true;
                feed.failed(&error, shared.clock.now());
                shared.clock.sleep(attempts.failed()).await;
            }
        }
    }
}

async fn begin<C, L: EventLog>(shared: &Shared<C, L>, restart: &impl Fn()) -> Result<(), SourceError> {
    let newest = shared.ask("find the end of the log", shared.log.newest()).await?;
    match shared.rooms.position() {
        None => shared.rooms.begin_at(newest),
        Some(position) if newest < position => skip_to(shared, newest, restart),
        Some(_) => {}
    }
    Ok(())
}

async fn step<C, L: EventLog>(shared: &Shared<C, L>, restart: &impl Fn()) -> Result<(), SourceError> {
    let position = shared.rooms.position().unwrap_or_default();
    let page = shared.log.feed(position, PAGE, WAIT);
    let limit = WAIT + shared.settings.source_timeout;
    let page =
        shared.clock.timeout(limit, page).await.unwrap_or_else(|| Err("no answer came in time".into()));
    let Page { events, truncated, .. } = page.inspect_err(|error| shared.note("follow the log", error))?;
    if truncated {
        let newest = shared.ask("find the end of the log", shared.log.newest()).await?;
        skip_to(shared, newest, restart);
        return Ok(());
    }
    let mut rest = &events[..];
    while !rest.is_empty() {
        let (part, others) = rest.split_at(first_part(rest, shared.settings.connections.client_buffer));
        // What was sent before, by this reading or another one, may still wait.
        wait_for(shared, part).await;
        let sent = shared.rooms.send(part);
        add(&shared.counters.events, part.len());
        add(&shared.counters.sent, sent.messages);
        add(&shared.counters.replaced, sent.replaced);
        rest = others;
    }
    Ok(())
}

/// Waits until those that get a part have place for it, as far as they read.
async fn wait_for<C, L>(shared: &Shared<C, L>, part: &[Event]) {
    let until = shared.clock.now() + shared.settings.part_within;
    while shared.rooms.is_behind(part) {
        if shared.clock.now() >= until {
            return shared.rooms.wait_no_more(part);
        }
        shared.clock.sleep(LOOK_EVERY).await;
    }
}

/// How many of these events are sent at once: those that take a quarter of what may wait for a client, and one in any case. All at once
/// would have no place there, however fast the client reads.
fn first_part(events: &[Event], bounds: Bounds) -> usize {
    let mut bytes = 0;
    let fits = |event: &&Event| {
        bytes += event.payload.len() + AROUND;
        bytes <= bounds.bytes / 4
    };
    events.iter().take_while(fits).count().min(bounds.messages / 4).max(1)
}

/// Goes to another position. No client may get what follows it without what lies between.
fn skip_to<C, L>(shared: &Shared<C, L>, position: EventId, restart: &impl Fn()) {
    tracing::warn!(position, "the campaign gateway missed events of the log: its clients connect again");
    // First the position: a client that joins from here on joins at the new one, and each that joined before is among those that end.
    // Nothing is sent meanwhile, since it is sent by the same task.
    shared.rooms.begin_at(position);
    restart();
}
