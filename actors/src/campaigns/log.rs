//! The gateway's side of the log: follows new events, and reads older ones and sessions.
//!
//! It touches Redis. New events come over one subscription in their order, each with the id of the one before it, so a gap is seen
//! and read from the log. Promise: an event that was appended is returned by [`GatewayLog::feed`] once, or the page says that it is
//! truncated.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use campaign_gateway::{
    CampaignId, Event, EventId, EventKind, EventLog, Page, SavedSession, Since, SourceError,
};
use store_campaign_log::{
    CampaignKeys, operations::READ_EVENTS, operations::READ_SESSION, operations::SAVE_SESSION,
};
use store_redis::{EventStream, Session, Store, StoreError, Subscriber};
use supervision::Clock;
use tokio::sync::Mutex;

use super::points;

/// After this time without an event the subscription is checked: a half-open one looks like one without events.
const CHECK_EVERY: Duration = Duration::from_secs(2);

/// The log, as a gateway reads it.
pub struct GatewayLog {
    store: Store,
    keys: CampaignKeys,
    clock: Clock,
    /// One reader follows the feed; a lock of tokio, since it is held over awaits.
    follow: Mutex<Option<Follow>>,
}

/// A subscription, and up to where its events were returned.
struct Follow {
    subscriber: Subscriber,
    events: EventStream,
    position: EventId,
}

impl GatewayLog {
    /// The log under these keys.
    #[must_use]
    pub fn new(store: Store, keys: CampaignKeys, clock: &Clock) -> Self {
        Self { store, keys, clock: clock.clone(), follow: Mutex::default() }
    }

    async fn reading(&self) -> Result<Session, StoreError> {
        self.store.session(READ_EVENTS).await
    }

    /// Subscribes, unless there is a subscription. What came before it is read from the log.
    async fn subscribe(&self) -> Result<Follow, StoreError> {
        let (subscriber, events) = self.store.subscribe(vec![self.keys.channel()]).await?;
        Ok(Follow { subscriber, events, position: 0 })
    }

    /// Reads the feed from the log, and notes that the subscription goes on behind it.
    async fn read_on(&self, follow: &mut Follow, after: EventId, limit: usize) -> Result<Page, StoreError> {
        let page = self.keys.feed(&mut self.reading().await?, after, limit).await?;
        let last = page.events.last().map_or(after, |event| event.id);
        follow.position = if page.has_more { last } else { last.max(page.last) };
        Ok(of_page(page))
    }

    /// Waits for events behind the position; `None` after a time without one, or at a gap.
    async fn next(&self, follow: &mut Follow, limit: usize, wait: Duration) -> Result<Next, StoreError> {
        let Some(are_there) = self.clock.timeout(wait.min(CHECK_EVERY), follow.events.ready()).await else {
            return Ok(Next::Quiet);
        };
        if !are_there {
            return Ok(Next::Ended);
        }
        let mut events = Vec::new();
        while events.len() < limit
            && let Some((_, message)) = follow.events.next_ready()
        {
            if let Some(event) = store_campaign_log::Event::parse(message) {
                if event.previous > follow.position {
                    return Ok(Next::Gap);
                }
                if event.id > follow.position {
                    follow.position = event.id;
                    events.extend(of_event(event));
                }
            }
        }
        Ok(Next::Events(events))
    }

    async fn feed_of(
        &self,
        kept: &mut Option<Follow>,
        after: EventId,
        limit: usize,
        wait: Duration,
    ) -> Result<Page, StoreError> {
        let mut follow = match kept.take() {
            Some(follow) => follow,
            None => self.subscribe().await?,
        };
        // Another position than that of the last answer: a new subscription, or a gateway that begins again.
        if follow.position != after || after == 0 {
            let page = self.read_on(&mut follow, after, limit).await?;
            *kept = Some(follow);
            if !page.events.is_empty() || page.truncated {
                return Ok(page);
            }
        } else {
            *kept = Some(follow);
        }
        // In its place while it is waited for: a caller that is cancelled loses no event, since its position says what it has.
        let Some(follow) = kept.as_mut() else { return Ok(empty()) };
        let began = follow.position;
        match self.next(follow, limit, wait).await {
            Ok(Next::Events(events)) => Ok(Page { events, has_more: false, truncated: false }),
            Ok(Next::Gap) => self.read_on(follow, began, limit).await,
            Ok(Next::Quiet) => {
                // Both: a half-open connection, and one to a server that is no longer the master.
                follow.subscriber.ping().await?;
                let last = self.keys.last_id(&mut self.reading().await?).await?;
                if last > began && follow.events.waiting() == 0 {
                    return self.read_on(follow, began, limit).await;
                }
                Ok(empty())
            }
            Ok(Next::Ended) => {
                follow.subscriber.outdate_pool();
                *kept = None;
                Ok(empty())
            }
            Err(error) => Err(error),
        }
    }
}

/// What the subscription gave.
enum Next {
    Events(Vec<Event>),
    /// Events between are missing.
    Gap,
    /// No event came.
    Quiet,
    /// The connection has ended.
    Ended,
}

fn empty() -> Page {
    Page { events: Vec::new(), has_more: false, truncated: false }
}

/// An event as the gateway knows it; `None` for one of another version of this program.
pub(super) fn of_event(event: store_campaign_log::Event) -> Option<Event> {
    Some(Event {
        id: event.id,
        campaign: event.campaign.parse().ok()?,
        kind: EventKind::from_name(&event.kind)?,
        at: UNIX_EPOCH + Duration::from_millis(event.at),
        payload: event.payload,
    })
}

fn of_page(page: store_campaign_log::Page) -> Page {
    let events = page.events.into_iter().filter_map(of_event).collect();
    Page { events, has_more: page.has_more, truncated: page.is_truncated }
}

/// The id of a moment: ids are microseconds of Redis' clock.
fn id_of(time: SystemTime) -> EventId {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

impl EventLog for GatewayLog {
    async fn newest(&self) -> Result<EventId, SourceError> {
        Ok(self.keys.last_id(&mut self.reading().await?).await?)
    }

    async fn feed(&self, after: EventId, limit: usize, wait: Duration) -> Result<Page, SourceError> {
        let mut kept = self.follow.lock().await;
        let page = self.feed_of(&mut kept, after, limit, wait).await;
        if page.is_err() {
            // The next call subscribes again.
            *kept = None;
        }
        let page = page?;
        if !page.events.is_empty() {
            // What a crash loses here is read again: the gateway asks from the position that it has.
            points::GATEWAY_AFTER_FEED.pass().await?;
        }
        Ok(page)
    }

    async fn between(
        &self,
        campaign: CampaignId,
        after: EventId,
        upto: EventId,
        limit: usize,
    ) -> Result<Page, SourceError> {
        let (mut session, campaign) = (self.reading().await?, campaign.to_string());
        Ok(of_page(self.keys.between(&mut session, &campaign, after, upto, limit).await?))
    }

    async fn missed(&self, campaign: CampaignId, since: Since, limit: usize) -> Result<Page, SourceError> {
        let after = match since {
            Since::Start => 0,
            Since::Event(id) => id,
            Since::Time(time) => id_of(time),
        };
        let (mut session, campaign) = (self.reading().await?, campaign.to_string());
        let mut page = of_page(self.keys.newest(&mut session, &campaign, after, limit).await?);
        // What the limit cut is missing in the answer.
        page.truncated |= page.has_more;
        Ok(page)
    }

    async fn save_session(&self, pid: &str, saved: SavedSession, life: Duration) -> Result<(), SourceError> {
        let content = serde_json::to_string(&saved)?;
        let mut session = self.store.session(SAVE_SESSION).await?;
        Ok(self.keys.save_session(&mut session, pid, &content, life).await?)
    }

    async fn session(&self, pid: &str) -> Result<Option<SavedSession>, SourceError> {
        let mut session = self.store.session(READ_SESSION).await?;
        let content = self.keys.session(&mut session, pid).await?;
        // One that can't be read was written by another version: the client joins its rooms again.
        Ok(content.and_then(|content| serde_json::from_str(&content).ok()))
    }

    async fn keep_sessions(&self, pids: &[String], life: Duration) -> Result<(), SourceError> {
        let mut session = self.store.session(SAVE_SESSION).await?;
        Ok(self.keys.keep_sessions(&mut session, pids.iter().map(String::as_str), life).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_an_event_is_before_its_id() {
        let at = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        assert_eq!(id_of(at), 1_700_000_000_123_000);
        assert_eq!(id_of(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
