//! Follows the log and sends its events to their rooms.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use errors::sanitise;
use retry::{Attempts, table::CAMPAIGN_FEED};

use crate::{
    counts::add,
    event::{EventId, Page},
    shared::Shared,
    sources::{EventLog, SourceError},
};

/// What one reading brings.
const PAGE: usize = 512;
/// How long a reading waits for the first event.
const WAIT: Duration = Duration::from_secs(5);

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
    let sent = shared.rooms.send(&events);
    add(&shared.counters.events, events.len());
    add(&shared.counters.sent, sent.messages);
    add(&shared.counters.replaced, sent.replaced);
    Ok(())
}

/// Goes to another position. No client may get what follows it without what lies between.
fn skip_to<C, L>(shared: &Shared<C, L>, position: EventId, restart: &impl Fn()) {
    tracing::warn!(position, "the campaign gateway missed events of the log: its clients connect again");
    // First the connections: what is sent from here on reaches none of them.
    restart();
    shared.rooms.begin_at(position);
}
