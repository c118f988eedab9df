//! The queue between a subscription's connection, which is always read, and a reader that may be slow.
//!
//! The queue is bounded in bytes. An event beyond the bound is dropped and counted. Not reading the connection instead would fill
//! the server's output buffer, and Redis closes a subscriber's connection then.

use std::{
    mem::size_of,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crate::connect::AnswerLimit;
use redis::{
    PushInfo, PushKind, Value,
    aio::{AsyncPushSender, SendError},
};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The receiving side of a subscription. It ends with the connection, or when the [`Subscriber`](crate::Subscriber) is dropped.
pub struct EventStream {
    arrived: UnboundedReceiver<Event>,
    waiting: Arc<Mutex<usize>>,
}

/// The memory of an event beside its bytes: its place in the queue, and the allocator's overhead for two small allocations.
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

/// The sending side of the queue, which the connection fills.
pub(crate) struct EventQueue {
    sender: UnboundedSender<Event>,
    /// Bytes of the waiting events.
    waiting: Arc<Mutex<usize>>,
    limit: usize,
    /// Shared by all subscriptions of a store.
    dropped: Arc<AtomicU64>,
    /// The limit of what the connection may receive at once, if it has one.
    received: Option<Arc<AnswerLimit>>,
}

impl EventQueue {
    pub(crate) fn new(limit: usize, dropped: Arc<AtomicU64>) -> (Self, EventStream) {
        // The channel counts events and not bytes; `send` enforces the limit.
        let (sender, arrived) = unbounded_channel();
        let waiting = Arc::<Mutex<usize>>::default();
        let stream = EventStream { arrived, waiting: waiting.clone() };
        (Self { sender, waiting, limit, dropped, received: None }, stream)
    }

    /// The same queue, filled by a connection with this limit: each event has the whole of it.
    pub(crate) fn within(self, received: Arc<AnswerLimit>) -> Self {
        Self { received: Some(received), ..self }
    }
}

impl AsyncPushSender for EventQueue {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        if let Some(received) = &self.received {
            received.reset();
        }
        let mut data = push.data.into_iter();
        let (PushKind::Message, Some(Value::BulkString(channel)), Some(Value::BulkString(payload))) =
            (push.kind, data.next(), data.next())
        else {
            // Confirmations of SUBSCRIBE, and the client's own notice of a disconnection.
            return Ok(());
        };
        let event = Event { channel, payload };
        let weight = event.weight();
        {
            let mut waiting = lock(&self.waiting);
            // An empty queue accepts one event of any size: without an event the reader would not wake to see the dropped count.
            if *waiting > 0 && *waiting + weight > self.limit {
                self.dropped.fetch_add(1, Relaxed);
                return Ok(());
            }
            // Before the event is sent: the reader may take it at once, and then subtracts its weight.
            *waiting += weight;
        }
        // Fails only after the stream was dropped; the client library ignores the error and reads on.
        self.sender.send(event).map_err(|_| SendError)
    }
}

// A poisoned lock is taken all the same: no code panics while it holds it.
fn lock(waiting: &Mutex<usize>) -> std::sync::MutexGuard<'_, usize> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventStream {
    /// Waits for the next event: its channel and payload. `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<(String, Vec<u8>)> {
        let event = self.arrived.recv().await?;
        Some(self.take(event))
    }

    /// The next event, if one has arrived already.
    pub fn next_ready(&mut self) -> Option<(String, Vec<u8>)> {
        let event = self.arrived.try_recv().ok()?;
        Some(self.take(event))
    }

    /// Bytes of the waiting events.
    #[must_use]
    pub fn waiting(&self) -> usize {
        *lock(&self.waiting)
    }

    fn take(&self, event: Event) -> (String, Vec<u8>) {
        *lock(&self.waiting) -= event.weight();
        // Messages come only from channels that were subscribed by a `String`.
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
    fn unread_events_stay_within_the_limit_and_the_rest_is_dropped_and_counted() {
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
        // An event above the limit is accepted into an empty queue, and no other event beside it.
        assert!(queue.send(message(&[b':'; 2 * LIMIT])).is_ok());
        assert!(queue.send(message(b"epoch:open:1")).is_ok());
        assert_eq!(events.next_ready().map(|(_, payload)| payload.len()), Some(2 * LIMIT));
        assert!(events.next_ready().is_none());
    }

    #[tokio::test]
    async fn a_stream_ends_after_the_events_that_arrived_before_its_connection_ended() {
        let (queue, mut events) = EventQueue::new(10_000, Arc::default());
        assert!(queue.send(PushInfo { kind: PushKind::Disconnection, data: Vec::new() }).is_ok());
        assert!(queue.send(message(b"epoch:open:1")).is_ok());
        drop(queue);
        assert_eq!(events.next().await.map(|(_, payload)| payload), Some(b"epoch:open:1".to_vec()));
        assert_eq!(events.next().await, None);
    }
}
