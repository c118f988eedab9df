//! The listener: hears the producers' events, counts them, and wakes the markets.
//!
//! Touches the subscription's own connection, and the mailboxes of the markets' actors and the indexer. Promises:
//! - reading never waits for a handler: events are counted and handed over every few milliseconds, and a full
//!   mailbox coalesces counts;
//! - each new subscription wakes every market with `gap`, since what was published meanwhile was missed;
//! - markets come and go while it listens: their own channels are followed, and the others miss nothing;
//! - events that were dropped because it did not read in time are counted, and made up for in the same way;
//! - a connection that is dead or half open is noticed, and replaced with backoff for ever: Redis being away is
//!   no crash;
//! - where there is an index, its events go to the indexer as they are heard, and the oldest are dropped where it can't
//!   keep up.

mod index_feed;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::tracker::{Entity, EventCounts};
use retry::{Attempts, table::LISTENER};
use store_redis::{EventStream, StoreError, Subscriber};
use store_tracker::{MarketKeys, channels};
use supervision::{Actor, Clock, Context, Failure, NoMessage};

use super::{
    market_registry::{Changes, MarketEdges, MarketRegistry},
    points,
    services::TrackerServices,
};
use crate::env::messages::Look;
use index_feed::Feed;
pub use index_feed::IndexEdge;

/// How long events are collected before the markets are told.
const COLLECT: Duration = Duration::from_millis(5);
/// How often an idle connection is asked for a sign of life.
const PING_EVERY: Duration = Duration::from_secs(5);
/// How often the markets are told, at most, that events were dropped.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How many events are read before anything else gets its turn.
const EVENTS_A_TURN: usize = 256;

/// The actor.
pub struct Listener {
    tracker: TrackerServices,
    registry: MarketRegistry,
    /// Those that are listened for, as the registry had them.
    markets: Arc<[MarketEdges]>,
    /// Market by its own channel.
    channels: HashMap<String, usize>,
    collected: EventCounts,
    /// Whether there was an event on a market's own channel since the last hand-over.
    own: Vec<bool>,
    /// The same for the common channel.
    common: bool,
    /// Events were dropped since the markets last looked for that reason, and when that was.
    missed: bool,
    looked: Option<Instant>,
    /// For the indexer, where there is one.
    feed: Option<Feed>,
}

/// What the listener waits for.
enum IndexEvents {
    /// An event: its channel and payload.
    Event(String, Vec<u8>),
    /// There are other markets now.
    Markets,
    /// Something is due.
    Time,
    /// The subscription or the actor ends.
    End(End),
}

/// How a subscription ended.
enum End {
    /// The actor shall stop.
    Stop,
    /// The connection is gone, for this reason.
    Lost(String),
}

impl Listener {
    /// A listener for the markets of this registry.
    #[must_use]
    pub fn new(tracker: TrackerServices, registry: MarketRegistry) -> Self {
        let mut listener = Self {
            tracker,
            registry,
            markets: Arc::default(),
            channels: HashMap::new(),
            collected: EventCounts::default(),
            own: Vec::new(),
            common: false,
            missed: false,
            looked: None,
            feed: None,
        };
        listener.take_markets();
        listener
    }

    /// Takes over the markets of the registry. What was collected must have been handed over.
    fn take_markets(&mut self) {
        self.markets = self.registry.now();
        self.own = vec![false; self.markets.len()];
        let named = |(at, market): (usize, &MarketEdges)| {
            market.keys.events().map(move |name| (name, at)).collect::<Vec<_>>()
        };
        self.channels = self.markets.iter().enumerate().flat_map(named).collect();
        if let Some(feed) = &mut self.feed {
            feed.follow(&self.markets);
        }
    }

    /// Follows the registry: hears the channels of markets that are new, no longer those of markets that are gone, and
    /// wakes the new ones, which may have missed something before.
    async fn follow_roster(&mut self, subscriber: &mut Subscriber) -> Result<(), StoreError> {
        let (markets, channels) = (self.markets.clone(), std::mem::take(&mut self.channels));
        self.take_markets();
        let more = self.channels.keys().filter(|name| !channels.contains_key(*name)).cloned().collect();
        let gone = channels.into_keys().filter(|name| !self.channels.contains_key(name)).collect();
        subscriber.change(more, gone).await?;
        let is_known = |market: &&MarketEdges| {
            let name = market.keys.market();
            markets.iter().any(|known| known.keys.market() == name)
        };
        wake(self.markets.iter().filter(|market| !is_known(market)));
        Ok(())
    }

    /// The same with an edge to the indexer.
    #[must_use]
    pub fn with_index(mut self, edge: IndexEdge) -> Self {
        self.feed = Some(Feed::new(edge, &self.markets));
        self
    }

    fn lost(&self, why: &str) {
        self.tracker.services.status.unsubscribed(why);
        self.tracker.metrics.subscribed(false);
    }

    /// Reads events until the connection or the actor ends.
    async fn listen(
        &mut self,
        cx: &Context<NoMessage>,
        subscriber: &mut Subscriber,
        events: &mut EventStream,
        changes: &mut Changes,
    ) -> Result<End, Failure> {
        let clock = cx.clock().clone();
        let mut hand_over_at = None;
        let mut look_at = None;
        let mut ping_at = clock.now() + PING_EVERY;
        loop {
            let wake_at = [hand_over_at, look_at].into_iter().flatten().min().unwrap_or(ping_at);
            let next = cx.idle(async {
                tokio::select! {
                    biased;
                    () = cx.stopped() => IndexEvents::End(End::Stop),
                    () = changes.next() => IndexEvents::Markets,
                    event = events.next() => match event {
                        Some((channel, payload)) => IndexEvents::Event(channel, payload),
                        None => IndexEvents::End(End::Lost("the connection was closed".to_owned())),
                    },
                    () = clock.sleep_until(wake_at) => IndexEvents::Time,
                }
            });
            match next.await {
                IndexEvents::End(end) => {
                    self.hand_over(&clock).await?;
                    return Ok(end);
                }
                IndexEvents::Markets => {
                    hand_over_at = None;
                    self.hand_over(&clock).await?;
                    look_at = self.make_up_for_dropped(&clock);
                    if let Err(error) = self.follow_roster(subscriber).await {
                        self.tracker.services.report(&error);
                        return Ok(End::Lost(self.tracker.services.line(&error)));
                    }
                }
                IndexEvents::Event(channel, payload) => {
                    self.collect(&channel, &payload, &clock);
                    hand_over_at.get_or_insert_with(|| clock.now() + COLLECT);
                    // What is there already is read without a turn of the scheduler for each event.
                    for _ in 0..EVENTS_A_TURN {
                        let Some((channel, payload)) = events.next_ready() else { break };
                        self.collect(&channel, &payload, &clock);
                    }
                }
                // What is due is done below.
                IndexEvents::Time if hand_over_at.is_some() || look_at.is_some() => {}
                IndexEvents::Time => {
                    ping_at = clock.now() + PING_EVERY;
                    if let Err(error) = cx.idle(subscriber.ping()).await {
                        self.tracker.services.report(&error);
                        return Ok(End::Lost(self.tracker.services.line(&error)));
                    }
                }
            }
            let is_due = |at: Option<Instant>| at.is_some_and(|at| clock.now() >= at);
            if is_due(hand_over_at) {
                hand_over_at = None;
                self.hand_over(&clock).await?;
                look_at = self.make_up_for_dropped(&clock);
            } else if is_due(look_at) {
                look_at = self.make_up_for_dropped(&clock);
            }
        }
    }

    /// Counts the events that were dropped because nobody read them in time. They were missed as in an interruption: the
    /// markets look at their keys, but not more often than they can bear. When they are to be told, if not now.
    fn make_up_for_dropped(&mut self, clock: &Clock) -> Option<Instant> {
        let dropped = self.tracker.services.store.take_dropped_events();
        self.tracker.metrics.events_dropped(dropped);
        self.missed |= dropped > 0;
        if !self.missed {
            return None;
        }
        let now = clock.now();
        if let Some(at) = self.looked.map(|at| at + LOOK_EVERY).filter(|at| now < *at) {
            return Some(at);
        }
        (self.missed, self.looked) = (false, Some(now));
        wake(self.markets.iter());
        None
    }

    fn collect(&mut self, channel: &str, payload: &[u8], clock: &Clock) {
        let entity = Entity::of(payload);
        self.collected.add(entity);
        if entity == Entity::Malformed {
            return;
        }
        let market = self.channels.get(channel).copied();
        if market.is_none() {
            // The original knows the common channel alone.
            self.tracker.events.add(entity, payload);
        }
        match market.and_then(|at| self.own.get_mut(at)) {
            Some(own) => *own = true,
            None => self.common = true,
        }
        if let Some(feed) = &mut self.feed
            && feed.collect(market, payload)
        {
            // A message is full: it does not wait for the next hand-over.
            feed.hand_over(clock.unix().as_secs(), &self.tracker.metrics);
        }
    }

    /// Counts what was collected, wakes the markets, and feeds the indexer.
    async fn hand_over(&mut self, clock: &Clock) -> Result<(), Failure> {
        points::LISTENER_BEFORE_HAND_OVER.pass().await?;
        let collected = std::mem::take(&mut self.collected);
        for (entity, count) in collected.iter() {
            self.tracker.metrics.events(entity, count);
        }
        let common = std::mem::take(&mut self.common);
        for (market, own) in self.markets.iter().zip(&mut self.own) {
            if common | std::mem::take(own) {
                // A refusal means that the market is being stopped: then nobody needs to look.
                let _ = market.epoch_tracker.try_send(Look { gap: false });
            }
        }
        if let Some(feed) = &mut self.feed {
            feed.hand_over(clock.unix().as_secs(), &self.tracker.metrics);
        }
        points::LISTENER_AFTER_HAND_OVER.pass().await?;
        Ok(())
    }
}

/// Has markets look at everything that is still there.
fn wake<'a>(markets: impl IntoIterator<Item = &'a MarketEdges>) {
    for market in markets {
        for edge in [&market.aggregator, &market.epoch_tracker] {
            // A refusal means that the market is being stopped: then nobody needs to look.
            let _ = edge.try_send(Look { gap: true });
        }
    }
}

impl Actor for Listener {
    type Message = NoMessage;

    async fn run(&mut self, cx: &mut Context<NoMessage>) -> Result<(), Failure> {
        let clock: Clock = cx.clock().clone();
        let mut changes = self.registry.changes();
        let mut attempts = Attempts::new(LISTENER.at_most(self.tracker.rhythm.reconnect_within));
        let mut heard_before = cx.generation() > 1;
        loop {
            self.take_markets();
            let keys: Vec<MarketKeys> = self.markets.iter().map(|market| market.keys.clone()).collect();
            let subscribed: Option<Result<_, StoreError>> = cx
                .idle(async {
                    tokio::select! {
                        biased;
                        () = cx.stopped() => None,
                        subscribed = self.tracker.services.store.subscribe(channels(&keys)) => Some(subscribed),
                    }
                })
                .await;
            let why = match subscribed {
                None => return Ok(()),
                Some(Err(error)) => {
                    self.tracker.services.report(&error);
                    self.tracker.services.line(&error)
                }
                Some(Ok((mut subscriber, mut events))) => {
                    if std::mem::replace(&mut heard_before, true) {
                        self.tracker.metrics.subscription_gap();
                    }
                    tracing::info!(
                        redis = ?self.tracker.services.store,
                        "subscribed to the channels, every market makes a full pass"
                    );
                    self.tracker.services.status.subscribed();
                    self.tracker.metrics.subscribed(true);
                    attempts.succeeded();
                    // Of the subscription before this one.
                    self.tracker.metrics.events_dropped(self.tracker.services.store.take_dropped_events());
                    points::LISTENER_AFTER_SUBSCRIBE.pass().await?;
                    self.missed = false;
                    wake(self.markets.iter());
                    match self.listen(cx, &mut subscriber, &mut events, &mut changes).await? {
                        End::Stop => return Ok(()),
                        End::Lost(why) => {
                            tracing::warn!("the subscription ended, the listener subscribes again: {why}");
                            why
                        }
                    }
                }
            };
            self.lost(&why);
            cx.pause(clock.sleep(attempts.failed())).await;
        }
    }
}
