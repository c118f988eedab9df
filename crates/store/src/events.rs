//! The subscription to the producers' events: one connection of its own, with a beginning and an end.
//!
//! A subscription that ended has missed what was published since; whoever holds it must look at the keys
//! again after subscribing anew. Nothing here reconnects by itself. What has arrived and was not read yet is bounded in
//! bytes; what comes beyond is dropped and counted, and is missed in the same way.

use std::{
    mem::size_of,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use redis::{
    PushInfo, PushKind, RedisResult, Value,
    aio::{AsyncPushSender, MultiplexedConnection, SendError},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{
    Store,
    connect::Heard,
    error::{ErrorKind, StoreError},
    keys::{EVENTS, MarketKeys},
};

/// The asking side of a subscription.
pub struct Subscriber {
    connection: MultiplexedConnection,
    heard: Heard,
    server: String,
    timeout: Duration,
}

/// The listening side of a subscription. It ends when the connection does, or the asking side is dropped.
pub struct EventStream {
    arrived: UnboundedReceiver<Event>,
    waiting: Arc<Mutex<usize>>,
}

/// What an event takes beside its bytes: its place in the queue, and what the allocator adds to two small pieces.
const OVERHEAD: usize = 2 * size_of::<Event>();

struct Event {
    channel: Vec<u8>,
    payload: Vec<u8>,
}

impl Event {
    fn weight(&self) -> usize {
        OVERHEAD + self.channel.len() + self.payload.len()
    }
}

/// The way from the connection, which is always read, to the reader, who may be slow.
pub(crate) struct EventQueue {
    sender: UnboundedSender<Event>,
    /// Bytes of what waits.
    waiting: Arc<Mutex<usize>>,
    limit: usize,
    /// Of all subscriptions of a store.
    dropped: Arc<AtomicU64>,
}

impl EventQueue {
    fn new(limit: usize, dropped: Arc<AtomicU64>) -> (Self, EventStream) {
        let (sender, arrived) = unbounded_channel();
        let waiting = Arc::<Mutex<usize>>::default();
        (Self { sender, waiting: waiting.clone(), limit, dropped }, EventStream { arrived, waiting })
    }
}

impl AsyncPushSender for EventQueue {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        let mut data = push.data.into_iter();
        let (PushKind::Message, Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
            (push.kind, data.next(), data.next())
        else {
            return Ok(());
        };
        let event = Event { channel, payload };
        let weight = event.weight();
        {
            let mut waiting = lock(&self.waiting);
            // Where none waits one is let in, however large: whoever reads the last learns of all that were dropped.
            if *waiting > 0 && *waiting + weight > self.limit {
                self.dropped.fetch_add(1, Relaxed);
                return Ok(());
            }
            *waiting += weight;
        }
        self.sender.send(event).map_err(|_| SendError)
    }
}

/// No code panics while it holds it.
fn lock(waiting: &Mutex<usize>) -> std::sync::MutexGuard<'_, usize> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Subscribes to the events of all markets, and to those of each of `markets`.
    ///
    /// # Errors
    /// [`StoreError`] when the connection or a subscription fails.
    pub async fn subscribe(&self, markets: &[MarketKeys]) -> Result<(Subscriber, EventStream), StoreError> {
        let server = self.settings.shown.clone();
        let (within, operation) = (self.settings.connect_timeout, "subscribe");
        let (queue, events) = EventQueue::new(self.event_queue, self.dropped_events.clone());
        let (mut connection, heard) = self.listen(operation, queue).await?;
        let mut channels = vec![EVENTS.to_owned()];
        channels.extend(markets.iter().flat_map(MarketKeys::events));
        in_time(within, operation, &server, connection.subscribe(channels)).await?;
        Ok((Subscriber { connection, heard, server, timeout: self.settings.command_timeout }, events))
    }

    /// How many events were dropped since this was last asked, over all subscriptions, for want of a reader that keeps
    /// up. Each was missed, as if the connection had been interrupted. Who has read the last event that waits learns of
    /// all that were dropped before.
    #[must_use]
    pub fn take_dropped_events(&self) -> u64 {
        self.dropped_events.swap(0, Relaxed)
    }
}

/// Waits for an answer of the server, but no longer than this.
async fn in_time<T>(
    within: Duration,
    operation: &'static str,
    server: &str,
    answer: impl Future<Output = RedisResult<T>>,
) -> Result<T, StoreError> {
    match tokio::time::timeout(within, answer).await {
        Ok(answer) => answer.map_err(|error| StoreError::redis(operation, server, &error)),
        Err(_) => Err(StoreError::new(operation, server, ErrorKind::Timeout, "it took too long")),
    }
}

impl Subscriber {
    /// Subscribes to `more` channels, and no longer to those that are `gone`; the others stay as they are.
    ///
    /// # Errors
    /// [`StoreError`] when that fails or takes too long: then it is not known what is subscribed.
    pub async fn change(&mut self, more: Vec<String>, gone: Vec<String>) -> Result<(), StoreError> {
        let (within, operation) = (self.timeout, "change the subscription");
        if !more.is_empty() {
            in_time(within, operation, &self.server, self.connection.subscribe(more)).await?;
        }
        // Without a channel it would mean all.
        if !gone.is_empty() {
            in_time(within, operation, &self.server, self.connection.unsubscribe(gone)).await?;
        }
        Ok(())
    }

    /// Asks for a sign of life over the subscription's own connection, so that a half-open one is noticed.
    ///
    /// # Errors
    /// [`StoreError`] when none comes in time, or when the server is one that does not hear everything any more.
    pub async fn ping(&mut self) -> Result<(), StoreError> {
        let error = |kind, detail: String| {
            StoreError::new("ping the subscription", self.server.clone(), kind, detail)
        };
        if !self.heard.hears_all() {
            return Err(error(
                ErrorKind::Unavailable,
                "the node has no slots of the cluster any more".to_owned(),
            ));
        }
        let (ping, connection) = (redis::cmd("PING"), &mut self.connection);
        let answer = tokio::time::timeout(self.timeout, ping.query_async::<Value>(connection)).await;
        match answer {
            Err(_) => Err(error(ErrorKind::Timeout, format!("no answer within {:?}", self.timeout))),
            Ok(Err(failed)) => Err(StoreError::redis("ping the subscription", self.server.clone(), &failed)),
            Ok(Ok(_)) => Ok(()),
        }
    }
}

impl EventStream {
    /// The next event: its channel and payload. `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        let event = self.arrived.recv().await?;
        Some(self.take(event))
    }

    /// The next event, when one has arrived already.
    pub fn next_ready(&mut self) -> Option<(String, Vec<u8>)> {
        let event = self.arrived.try_recv().ok()?;
        Some(self.take(event))
    }

    /// Bytes of the events that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        *lock(&self.waiting)
    }

    fn take(&self, event: Event) -> (String, Vec<u8>) {
        *lock(&self.waiting) -= event.weight();
        // We subscribe to none of another form.
        (String::from_utf8(event.channel).unwrap_or_default(), event.payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> PushInfo {
        let data = [b"state:change", payload].map(|bytes| Value::BulkString(bytes.to_vec()));
        PushInfo { kind: PushKind::Message, data: data.to_vec() }
    }

    #[test]
    fn what_nobody_reads_is_held_within_the_limit_and_the_rest_is_dropped_and_counted() {
        const LIMIT: usize = 10_000;
        let dropped = Arc::<AtomicU64>::default();
        let (queue, mut events) = EventQueue::new(LIMIT, dropped.clone());
        for number in 0..1_000 {
            assert!(queue.send(message(format!("epoch:open:{number}").as_bytes())).is_ok());
            assert!(events.waiting() <= LIMIT);
        }
        let mut read = 0;
        while let Some((channel, payload)) = events.next_ready() {
            let first = format!("epoch:open:{read}").into_bytes();
            assert_eq!(
                (channel.as_str(), payload),
                ("state:change", first),
                "the first ones, in their order"
            );
            read += 1;
        }
        assert!(read > 10, "{read}");
        assert_eq!((read + dropped.load(Relaxed), events.waiting()), (1_000, 0));
        // One that is too large for the limit is let in when it is alone, and nothing beside it.
        assert!(queue.send(message(&[b':'; 2 * LIMIT])).is_ok());
        assert!(queue.send(message(b"epoch:open:1")).is_ok());
        assert_eq!(events.next_ready().map(|(_, payload)| payload.len()), Some(2 * LIMIT));
        assert!(events.next_ready().is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_connection_after_what_had_arrived() {
        let (queue, mut events) = EventQueue::new(10_000, Arc::default());
        assert!(queue.send(PushInfo { kind: PushKind::Disconnection, data: Vec::new() }).is_ok());
        assert!(queue.send(message(b"epoch:open:1")).is_ok());
        drop(queue);
        assert_eq!(events.next().await.map(|(_, payload)| payload), Some(b"epoch:open:1".to_vec()));
        assert_eq!(events.next().await, None);
    }
}
