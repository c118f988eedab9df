//! The queue between a subscription's connection, which is always read, and a reader that may be slow.
//!
//! The queue is bounded in bytes. An event beyond the bound is dropped and counted. Not reading the connection instead would fill
//! the server's output buffer, and Redis closes a subscriber's connection then.
//!
//! Events stand one behind the other in pages, so that a storm of small ones costs one copy each, and no allocation.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

/// A page takes no event more once it has so many bytes.
const PAGE: usize = 64 << 10;
/// The lengths of channel and payload before an event.
const HEAD: usize = 2 * size_of::<u32>();
/// What a page takes beside its bytes.
const PAGE_WEIGHT: usize = 64;

/// The sending side of the queue, which the connection fills.
pub(crate) struct EventQueue {
    shared: Arc<Shared>,
    limit: usize,
    /// Shared by all subscriptions of a store.
    dropped: Arc<AtomicU64>,
}

/// The receiving side of a subscription. It ends with the connection, or when the [`Subscriber`](crate::Subscriber) is dropped.
pub struct EventStream {
    shared: Arc<Shared>,
    /// The page that is read.
    page: Vec<u8>,
    /// Up to where it was read.
    read: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    pages: VecDeque<Vec<u8>>,
    /// The weight of all pages, and of the one that is read.
    waiting: usize,
    has_ended: bool,
}

impl Shared {
    // A poisoned lock is taken all the same: no code panics while it holds it.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EventQueue {
    pub(crate) fn new(limit: usize, dropped: Arc<AtomicU64>) -> (Self, EventStream) {
        let shared = Arc::<Shared>::default();
        let stream = EventStream { shared: shared.clone(), page: Vec::new(), read: 0 };
        (Self { shared, limit, dropped }, stream)
    }

    /// Begins to put in events that have arrived together.
    pub(crate) fn fill(&self) -> Filling<'_> {
        Filling { queue: self, state: self.shared.lock(), has_added: false, dropped: 0 }
    }
}

impl Drop for EventQueue {
    fn drop(&mut self) {
        self.shared.lock().has_ended = true;
        self.shared.changed.notify_one();
    }
}

/// Puts events into the queue under one lock; the reader learns of them at its end.
pub(crate) struct Filling<'a> {
    queue: &'a EventQueue,
    state: MutexGuard<'a, State>,
    has_added: bool,
    dropped: u64,
}

impl Filling<'_> {
    /// Adds an event, or counts it as dropped.
    pub(crate) fn add(&mut self, channel: &[u8], payload: &[u8]) {
        let size = HEAD + channel.len() + payload.len();
        // A frame has less than a gigabyte.
        let (Ok(of_channel), Ok(of_payload)) = (u32::try_from(channel.len()), u32::try_from(payload.len()))
        else {
            self.dropped += 1;
            return;
        };
        let state = &mut *self.state;
        let has_room = state.pages.back().is_some_and(|page| page.len() + size <= PAGE);
        let weight = size + if has_room { 0 } else { PAGE_WEIGHT };
        // An empty queue accepts one event of any size: without an event the reader would not wake to see the dropped count.
        if state.waiting > 0 && state.waiting + weight > self.queue.limit {
            self.dropped += 1;
            return;
        }
        if !has_room {
            state.pages.push_back(Vec::with_capacity(size));
        }
        let Some(page) = state.pages.back_mut() else { return };
        page.extend_from_slice(&of_channel.to_ne_bytes());
        page.extend_from_slice(&of_payload.to_ne_bytes());
        page.extend_from_slice(channel);
        page.extend_from_slice(payload);
        state.waiting += weight;
        self.has_added = true;
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        if self.dropped > 0 {
            self.queue.dropped.fetch_add(self.dropped, Relaxed);
        }
        if self.has_added {
            self.queue.shared.changed.notify_one();
        }
    }
}

impl EventStream {
    /// Waits until an event has arrived. `false` once the connection has ended and all its events were read.
    pub async fn ready(&mut self) -> bool {
        // Told to one waiter, and kept for the next one if there is none: a change between the look and the wait is not missed.
        loop {
            if self.turn_page() {
                return true;
            }
            if self.shared.lock().has_ended {
                // It may have ended between the two.
                return self.turn_page();
            }
            self.shared.changed.notified().await;
        }
    }

    /// The next event, if one has arrived already: its channel and payload.
    pub fn next_ready(&mut self) -> Option<(&str, &[u8])> {
        if !self.turn_page() {
            return None;
        }
        let (channel, payload, size) = event(&self.page[self.read..])?;
        self.read += size;
        // Messages come only from channels that were subscribed by a `String`.
        Some((std::str::from_utf8(channel).unwrap_or_default(), payload))
    }

    /// Waits for the next event. `None` once the connection has ended.
    pub async fn next(&mut self) -> Option<(&str, &[u8])> {
        if self.ready().await { self.next_ready() } else { None }
    }

    /// Bytes of the waiting events, with the page that is read.
    #[must_use]
    pub fn waiting(&self) -> usize {
        if self.read == self.page.len() && self.shared.lock().pages.is_empty() {
            return 0;
        }
        self.shared.lock().waiting
    }

    /// Takes the next page, if this one is read. Returns whether an event is there.
    fn turn_page(&mut self) -> bool {
        if self.read < self.page.len() {
            return true;
        }
        let mut state = self.shared.lock();
        if !self.page.is_empty() {
            state.waiting -= self.page.len() + PAGE_WEIGHT;
            (self.page, self.read) = (Vec::new(), 0);
        }
        match state.pages.pop_front() {
            Some(page) => {
                self.page = page;
                true
            }
            None => false,
        }
    }
}

/// The first event of a page, and how many bytes it has.
fn event(page: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (of_channel, rest) = page.split_first_chunk()?;
    let (of_payload, rest) = rest.split_first_chunk()?;
    let (channel, rest) = rest.split_at_checked(u32::from_ne_bytes(*of_channel) as usize)?;
    let payload = rest.get(..u32::from_ne_bytes(*of_payload) as usize)?;
    Some((channel, payload, HEAD + channel.len() + payload.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: &[u8] = b"state:change";

    #[test]
    fn unread_events_stay_within_the_limit_and_the_rest_is_dropped_and_counted() {
        const LIMIT: usize = 10_000;
        let dropped = Arc::<AtomicU64>::default();
        let (queue, mut events) = EventQueue::new(LIMIT, dropped.clone());
        for number in 0..1_000 {
            queue.fill().add(CHANNEL, format!("epoch:open:{number}").as_bytes());
            assert!(events.waiting() <= LIMIT);
        }
        let mut read = 0;
        while let Some((channel, payload)) = events.next_ready() {
            let first = format!("epoch:open:{read}").into_bytes();
            assert_eq!(
                (channel, payload),
                ("state:change", first.as_slice()),
                "the first ones, in their order"
            );
            read += 1;
        }
        assert!(read > 10, "{read}");
        assert_eq!((read + dropped.load(Relaxed), events.waiting()), (1_000, 0));
        // An event above the limit is accepted into an empty queue, and no other event beside it.
        queue.fill().add(CHANNEL, &[b':'; 2 * LIMIT]);
        queue.fill().add(CHANNEL, b"epoch:open:1");
        assert_eq!(events.next_ready().map(|(_, payload)| payload.len()), Some(2 * LIMIT));
        assert!(events.next_ready().is_none());
        // The page of the last event counts until it is turned; then there is room again.
        queue.fill().add(CHANNEL, b"epoch:open:2");
        assert_eq!(events.next_ready().map(|(_, payload)| payload.to_vec()), Some(b"epoch:open:2".to_vec()));
    }

    #[test]
    fn events_of_many_pages_are_read_in_their_order_and_give_their_memory_back() {
        let (queue, mut events) = EventQueue::new(64 << 20, Arc::default());
        let (mut sent, mut read) = (0_u32, 0_u32);
        for round in 0..50_u32 {
            {
                let mut filling = queue.fill();
                for _ in 0..round * 97 {
                    filling.add(CHANNEL, sent.to_string().as_bytes());
                    sent += 1;
                }
            }
            // Half of them, so that the reader lags in the middle of a page.
            while read < sent / 2 {
                let (_, payload) = events.next_ready().expect("an event");
                assert_eq!(payload, read.to_string().as_bytes());
                read += 1;
            }
        }
        while let Some((_, payload)) = events.next_ready() {
            assert_eq!(payload, read.to_string().as_bytes());
            read += 1;
        }
        assert_eq!((read, events.waiting()), (sent, 0));
        assert!(!events.turn_page());
        assert_eq!(events.shared.lock().waiting, 0, "nothing is counted for ever");
    }

    #[tokio::test]
    async fn a_stream_ends_after_the_events_that_arrived_before_its_connection_ended() {
        let (queue, mut events) = EventQueue::new(10_000, Arc::default());
        queue.fill().add(CHANNEL, b"epoch:open:1");
        drop(queue);
        assert_eq!(events.next().await.map(|(_, payload)| payload.to_vec()), Some(b"epoch:open:1".to_vec()));
        assert!(events.next().await.is_none());
        assert!(!events.ready().await, "however often it is asked");
    }

    #[tokio::test]
    async fn a_reader_that_waits_wakes_for_an_event_and_for_the_end() {
        let (queue, mut events) = EventQueue::new(1 << 20, Arc::default());
        let reader = tokio::spawn(async move {
            let mut read = 0;
            while events.ready().await {
                while events.next_ready().is_some() {
                    read += 1;
                }
            }
            read
        });
        for _ in 0..1_000 {
            queue.fill().add(CHANNEL, b"epoch:open:1");
            tokio::task::yield_now().await;
        }
        drop(queue);
        assert_eq!(reader.await.expect("it ends"), 1_000);
    }
}
