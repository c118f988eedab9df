//! The listener: receives the producers' events, counts them, and wakes the markets' actors.
//!
//! It touches the connection of the subscription, and the mailboxes of the markets' actors and of the indexer. Promises:
//! - it never waits for another actor: it sends messages every few milliseconds, and a full mailbox merges them;
//! - each new subscription wakes every market, since events of the interruption were missed;
//! - markets are added and removed while it listens: it changes its channels, and the other markets miss nothing;
//! - events that Redis' client dropped because the listener read too slowly are counted, and every market makes a pass;
//! - it notices a dead or half-open connection, and reconnects with backoff without end: an outage of Redis is no crash;
//! - it notices when the subscription is on another server than the one that is written to, and subscribes again;
//! - with a state index, it sends the index's events to the indexer; when the indexer is too slow, the oldest are dropped.

mod echo;
mod index_feed;
mod timers;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::tracker::{Entity, EventCounts};
use retry::{Attempts, table::LISTENER};
use store_redis::{EventStream, StoreError, Subscriber};
use store_tracker::{MarketKeys, channels};
use supervision::{Clock, Context, Failure, Worker};

use super::{
    market_registry::{Changes, MarketEdges, MarketRegistry},
    points,
    services::TrackerServices,
};
use crate::env::messages::Wake;
use echo::{ECHO_WITHIN, Echo, published};
pub(super) use index_feed::EVENTS_A_MESSAGE;
use index_feed::Feed;
pub use index_feed::IndexEdge;
use timers::Timers;

/// How long events are collected before the actors are woken.
const COLLECT: Duration = Duration::from_millis(5);
/// The interval of pings and own messages. A half-open connection delivers no events and no error; only a ping finds it. A former
/// master answers pings; only the listener's own message finds it.
const PING_EVERY: Duration = Duration::from_secs(5);
/// The shortest time between two passes because of dropped events: in a storm, they would add to the load.
const WAKE_AFTER_DROPS_EVERY: Duration = Duration::from_secs(1);
/// The most events read in a row, before the stop, the markets and the timers are checked again.
const EVENTS_A_TURN: usize = 256;

/// The actor.
pub struct Listener {
    tracker: TrackerServices,
    registry: MarketRegistry,
    /// The markets whose channels are subscribed, in the registry's order.
    markets: Arc<[MarketEdges]>,
    /// The position of a market in `markets`, by the name of its own channel.
    channels: HashMap<String, usize>,
    collected: EventCounts,
    /// For each market, whether its own channel had an event since the last hand-over.
    own: Vec<bool>,
    /// Whether the common channel had an event since the last hand-over.
    common: bool,
    /// Whether events were dropped since drops last woke the markets.
    missed: bool,
    /// When drops last woke the markets.
    woken: Option<Instant>,
    /// The events for the indexer, with a state index.
    feed: Option<Feed>,
    /// The listener's own messages, by which it proves its subscription.
    echo: Option<Echo>,
    /// Whether the last subscription was on another server. The next one counts as a subscription once it is proven.
    doubted: bool,
    /// Whether the log says already that the subscription can't be proven.
    unproven_logged: bool,
}

/// What the listener waits for.
enum Occurrence {
    /// Events have arrived.
    Events,
    /// The markets of the registry have changed.
    Markets,
    /// The listener's own message is published, or is not.
    Published(Result<(), StoreError>),
    /// A timer is due.
    Time,
    /// The subscription or the actor ends.
    End(End),
}

/// How a subscription ended.
enum End {
    /// The actor is stopped.
    Stop,
    /// The connection is lost, for this reason.
    Lost(String),
    /// The subscription is on another server than the one that is written to.
    Deaf(String),
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
            woken: None,
            feed: None,
            echo: None,
            doubted: false,
            unproven_logged: false,
        };
        listener.take_markets();
        listener
    }

    /// Takes over the markets of the registry. Collected events must have been handed over before, since they are stored by the
    /// position of their market.
    fn take_markets(&mut self) {
        self.markets = self.registry.now();
        // No market has news: the callers have handed over, or wake every market next.
        self.own = vec![false; self.markets.len()];
        let named = |(at, market): (usize, &MarketEdges)| {
            market.keys.events().map(move |name| (name, at)).collect::<Vec<_>>()
        };
        self.channels = self.markets.iter().enumerate().flat_map(named).collect();
        if let Some(feed) = &mut self.feed {
            feed.follow(&self.markets);
        }
    }

    /// Applies a change of the registry: subscribes to the channels of new markets, unsubscribes from those of removed ones, and
    /// wakes the new markets, whose earlier events were missed.
    async fn follow_registry(&mut self, subscriber: &mut Subscriber) -> Result<(), StoreError> {
        let (markets, channels) = (self.markets.clone(), std::mem::take(&mut self.channels));
        self.take_markets();
        // Only the difference: to subscribe again to everything would miss events of the other markets meanwhile.
        let more = self.channels.keys().filter(|name| !channels.contains_key(*name)).cloned().collect();
        let gone = channels.into_keys().filter(|name| !self.channels.contains_key(name)).collect();
        // Before the new markets are woken: an event between the two is received, and one before is found by the pass.
        subscriber.change(more, gone).await?;
        let is_known = |market: &&MarketEdges| {
            let name = market.keys.market();
            markets.iter().any(|known| known.keys.market() == name)
        };
        wake(self.markets.iter().filter(|market| !is_known(market)));
        Ok(())
    }

    /// Adds the edge to the indexer.
    #[must_use]
    pub fn with_index(mut self, edge: IndexEdge) -> Self {
        self.feed = Some(Feed::new(edge, &self.markets));
        self
    }

    /// Adds the proof of the subscription by own messages on this channel, which no other program uses.
    #[must_use]
    pub fn with_echo(self, channel: String) -> Self {
        Self { echo: Some(Echo::new(channel)), ..self }
    }

    /// Reports an error of the subscription's connection, which ends the subscription.
    fn report_lost(&self, error: &StoreError) -> End {
        self.tracker.services.report(error);
        End::Lost(self.tracker.services.line(error))
    }

    fn lost(&self, why: &str) {
        if self.doubted {
            self.tracker.services.readiness.deaf(why);
        } else {
            self.tracker.services.readiness.unsubscribed(why);
        }
        self.tracker.metrics.subscribed(false);
        self.tracker.metrics.proven(false);
    }

    /// Records that events are received.
    fn note_subscribed(&mut self) {
        self.doubted = false;
        self.tracker.services.readiness.subscribed();
        self.tracker.metrics.subscribed(true);
    }

    /// Starts the proof of a new subscription.
    async fn start_proof(&mut self, subscriber: &mut Subscriber) -> Result<(), StoreError> {
        // After a deaf subscription only a proof says that events are received again.
        if !self.doubted || self.echo.is_none() {
            self.note_subscribed();
        }
        let Some(echo) = &mut self.echo else { return Ok(()) };
        echo.restart();
        // Apart from the other channels: Redis refuses all channels of a command because of one.
        match subscriber.change(vec![echo.channel().to_owned()], Vec::new()).await {
            Ok(()) => echo.publish(&self.tracker.services.store),
            Err(error) if error.kind.is_outage() => return Err(error),
            Err(error) => self.continue_unproven(&error),
        }
        Ok(())
    }

    /// Continues without the proof, because the server refuses it.
    fn continue_unproven(&mut self, error: &StoreError) {
        if let Some(echo) = &mut self.echo {
            echo.turn_off();
        }
        self.note_subscribed();
        let services = &self.tracker.services;
        services.readiness.unproven(services.line(error));
        services.telemetry.error(error.operation, error.kind.row());
        if !std::mem::replace(&mut self.unproven_logged, true) {
            let line = services.line(error);
            tracing::warn!("can't prove that the subscription is on the server that is written to: {line}");
        }
    }

    /// Notes that the own message is published, or is not.
    fn note_published(&mut self, published: Result<(), StoreError>, clock: &Clock) {
        if let Some(echo) = &mut self.echo {
            echo.note_published(published.is_ok(), clock.now());
        }
        match published {
            Ok(()) => {}
            // The next ping tries again. That nothing can be written is reported by the actors that write.
            Err(error) if error.kind.is_outage() => self.tracker.services.report(&error),
            Err(error) => self.continue_unproven(&error),
        }
    }

    /// Pings, and publishes the next own message.
    async fn ping(&mut self, subscriber: &mut Subscriber) -> Option<End> {
        if let Err(error) = subscriber.ping().await {
            return Some(self.report_lost(&error));
        }
        if let Some(echo) = &mut self.echo {
            echo.publish(&self.tracker.services.store);
        }
        None
    }

    /// Whether the own message is overdue, so that the subscription is on another server.
    fn overdue(&mut self, subscriber: &Subscriber, events: &EventStream, clock: &Clock) -> Option<End> {
        let echo = self.echo.as_mut()?;
        echo.deadline().filter(|at| clock.now() >= *at)?;
        if events.waiting() > 0 {
            // It may be among the events that were not read yet.
            echo.excuse();
            return None;
        }
        let error = subscriber.missed_message(ECHO_WITHIN);
        self.tracker.services.report(&error);
        Some(End::Deaf(self.tracker.services.line(&error)))
    }

    /// Makes every market do a pass after a new subscription, and reads events until the connection or the actor ends.
    async fn follow(
        &mut self,
        cx: &Context,
        subscriber: &mut Subscriber,
        events: &mut EventStream,
        changes: &mut Changes,
    ) -> Result<End, Failure> {
        // Drops of the previous subscription: the pass that follows covers them.
        self.tracker.metrics.events_dropped(self.tracker.services.store.take_dropped_events());
        points::LISTENER_AFTER_SUBSCRIBE.pass().await?;
        // The wake below causes a pass, which covers earlier drops.
        self.missed = false;
        wake(self.markets.iter());
        self.listen(cx, subscriber, events, changes).await
    }

    /// Reads events until the connection or the actor ends.
    async fn listen(
        &mut self,
        cx: &Context,
        subscriber: &mut Subscriber,
        events: &mut EventStream,
        changes: &mut Changes,
    ) -> Result<End, Failure> {
        let clock = cx.clock();
        let mut timers = Timers { hand_over: None, drops: None, ping: clock.now() + PING_EVERY };
        loop {
            let wake_at = timers.next(self.echo.as_ref().and_then(Echo::deadline));
            let next = cx.idle(async {
                tokio::select! {
                    biased;
                    // In this order, so that a storm of events delays neither the stop nor a change of markets.
                    () = cx.stopped() => Occurrence::End(End::Stop),
                    () = changes.next() => Occurrence::Markets,
                    published = published(self.echo.as_mut()) => Occurrence::Published(published),
                    are_there = events.ready() => match are_there {
                        true => Occurrence::Events,
                        false => Occurrence::End(End::Lost("the connection was closed".to_owned())),
                    },
                    () = clock.sleep_until(wake_at) => Occurrence::Time,
                }
            });
            let mut end = None;
            match next.await {
                Occurrence::End(ended) => end = Some(ended),
                Occurrence::Markets => {
                    // Before the positions of the markets change, by which events are collected.
                    timers.hand_over = None;
                    self.hand_over(clock).await?;
                    timers.drops = self.wake_after_drops(clock);
                    end = self.follow_registry(subscriber).await.err().map(|error| self.report_lost(&error));
                }
                Occurrence::Published(published) => self.note_published(published, clock),
                Occurrence::Events => {
                    // From the first event of a collection: steady events must not put the hand-over off for ever.
                    timers.hand_over.get_or_insert_with(|| clock.now() + COLLECT);
                    // Ready events skip `select!`, which in a storm costs more than the event itself.
                    for _ in 0..EVENTS_A_TURN {
                        let Some((channel, payload)) = events.next_ready() else { break };
                        self.collect(channel, payload, clock);
                    }
                }
                Occurrence::Time => {}
            }
            let is_due = |at: Option<Instant>| at.is_some_and(|at| clock.now() >= at);
            if is_due(timers.hand_over) {
                timers.hand_over = None;
                self.hand_over(clock).await?;
                timers.drops = self.wake_after_drops(clock);
            } else if is_due(timers.drops) {
                timers.drops = self.wake_after_drops(clock);
            }
            if end.is_none() && is_due(Some(timers.ping)) {
                timers.ping = clock.now() + PING_EVERY;
                end = cx.idle(self.ping(subscriber)).await;
            }
            if let Some(end) = end.or_else(|| self.overdue(subscriber, events, clock)) {
                // Events that were received before the end are still counted and passed on.
                self.hand_over(clock).await?;
                return Ok(end);
            }
        }
    }

    /// Counts the events that were dropped because the listener read too slowly. They are missed as in an interruption, so every
    /// market makes a pass, but at most one in `WAKE_AFTER_DROPS_EVERY`. Returns when the markets have to be woken, if not
    /// now.
    fn wake_after_drops(&mut self, clock: &Clock) -> Option<Instant> {
        let dropped = self.tracker.services.store.take_dropped_events();
        self.tracker.metrics.events_dropped(dropped);
        self.missed |= dropped > 0;
        if let Some(echo) = self.echo.as_mut().filter(|_| dropped > 0) {
            // The own message may be among them.
            echo.excuse();
        }
        if !self.missed {
            return None;
        }
        let now = clock.now();
        if let Some(at) = self.woken.map(|at| at + WAKE_AFTER_DROPS_EVERY).filter(|at| now < *at) {
            return Some(at);
        }
        (self.missed, self.woken) = (false, Some(now));
        wake(self.markets.iter());
        None
    }

    fn collect(&mut self, channel: &str, payload: &[u8], clock: &Clock) {
        if let Some(echo) = self.echo.as_mut().filter(|echo| echo.is_own(channel)) {
            if echo.note_arrived(payload) {
                self.note_subscribed();
                self.tracker.metrics.proven(true);
            }
            return;
        }
        // Counted even when malformed: the metric shows what the channel delivers.
        let entity = Entity::of(payload);
        self.collected.add(entity);
        if entity == Entity::Malformed {
            return;
        }
        let market = self.channels.get(channel).copied();
        if market.is_none() {
            // `compat = "go"`: the original subscribed only to the common channel.
            self.tracker.events.add(entity, payload);
        }
        match market.and_then(|at| self.own.get_mut(at)) {
            Some(own) => *own = true,
            // The common channel does not name a market, so its events wake all of them.
            None => self.common = true,
        }
        if let Some(feed) = &mut self.feed
            && feed.collect(market, payload)
        {
            // The message is full. To wait for the next hand-over would let it grow without limit.
            feed.hand_over(clock.unix().as_secs(), &self.tracker.metrics);
        }
    }

    /// Counts the collected events, wakes the epoch trackers, and sends the indexer its events.
    async fn hand_over(&mut self, clock: &Clock) -> Result<(), Failure> {
        // After a crash here the events are lost, and the next subscription wakes every market.
        points::LISTENER_BEFORE_HAND_OVER.pass().await?;
        let collected = std::mem::take(&mut self.collected);
        for (entity, count) in collected.iter() {
            self.tracker.metrics.events(entity, count);
        }
        let common = std::mem::take(&mut self.common);
        for (market, own) in self.markets.iter().zip(&mut self.own) {
            // `|`, not `||`: the flag has to be reset in either case.
            if common | std::mem::take(own) {
                // Refused only when the market is being stopped: then no pass is needed.
                let _ = market.listener.epoch_tracker.try_send(Wake::default());
            }
        }
        if let Some(feed) = &mut self.feed {
            feed.hand_over(clock.unix().as_secs(), &self.tracker.metrics);
        }
        points::LISTENER_AFTER_HAND_OVER.pass().await?;
        Ok(())
    }
}

/// Makes markets do a pass.
fn wake<'a>(markets: impl IntoIterator<Item = &'a MarketEdges>) {
    markets.into_iter().for_each(|market| market.listener.wake(&Wake::default()));
}

impl Worker for Listener {
    async fn run(&mut self, cx: &Context) -> Result<(), Failure> {
        // Before the markets are read, or a change between the two would be missed.
        let mut changes = self.registry.changes();
        let mut attempts = Attempts::new(LISTENER.at_most(self.tracker.timing.reconnect_within));
        // An earlier incarnation may have been subscribed: its end was an interruption, and counts as a gap.
        let mut was_subscribed = cx.generation() > 1;
        loop {
            // The registry may have changed while there was no subscription.
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
                    if std::mem::replace(&mut was_subscribed, true) {
                        self.tracker.metrics.subscription_gap();
                    }
                    tracing::info!(
                        redis = ?self.tracker.services.store,
                        "subscribed to the channels; every market makes a pass"
                    );
                    // A later loss begins with the shortest pause again.
                    attempts.succeeded();
                    let end = match cx.idle(self.start_proof(&mut subscriber)).await {
                        Ok(()) => self.follow(cx, &mut subscriber, &mut events, &mut changes).await?,
                        Err(error) => self.report_lost(&error),
                    };
                    self.doubted |= matches!(end, End::Deaf(_));
                    let (End::Lost(why) | End::Deaf(why)) = end else { return Ok(()) };
                    // The pool may be connected to the same server.
                    subscriber.outdate_pool();
                    tracing::warn!("lost the subscription, the listener subscribes again: {why}");
                    why
                }
            };
            // Before the pause: readiness must not stay true while the listener waits to reconnect.
            self.lost(&why);
            cx.pause(cx.clock().sleep(attempts.failed())).await;
        }
    }
}
