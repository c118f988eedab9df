//! The proof that the subscription is on the server that is written to.
//!
//! Behind one address the master can change while the old server lives on: it answers pings, and publishes no event any more.
//! So the listener publishes a message of its own by the pool's connections, and must receive it by the subscription in time.
//! This file touches the pool alone. It promises that at most one message is under way, and that nothing here waits.

use std::{
    future::pending,
    pin::Pin,
    time::{Duration, Instant},
};

use store_redis::{Store, StoreError};

/// The time limit from the answer to the publication until the message arrives.
pub(super) const ECHO_WITHIN: Duration = Duration::from_secs(5);

/// A publication under way.
type Publishing = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// The messages of one subscription.
pub(super) struct Echo {
    channel: String,
    /// The number of the last message, which is its payload.
    number: u64,
    publishing: Option<Publishing>,
    state: State,
}

/// The state of the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No message is under way.
    Idle,
    /// It is being published, and has not arrived.
    Publishing,
    /// It is published, and must arrive by this time.
    Due(Instant),
    /// The server's user may not use the channel: nothing is published.
    Off,
}

impl Echo {
    pub(super) fn new(channel: String) -> Self {
        Self { channel, number: 0, publishing: None, state: State::Idle }
    }

    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Begins anew with a new subscription.
    pub(super) fn restart(&mut self) {
        (self.publishing, self.state) = (None, State::Idle);
    }

    /// Publishes nothing more by this subscription.
    pub(super) fn turn_off(&mut self) {
        (self.publishing, self.state) = (None, State::Off);
    }

    /// Starts to publish the next message, unless one is under way.
    pub(super) fn publish(&mut self, store: &Store) {
        if self.state != State::Idle || self.publishing.is_some() {
            return;
        }
        self.number += 1;
        let (store, channel, payload) = (store.clone(), self.channel.clone(), self.number.to_string());
        self.publishing = Some(Box::pin(async move { store.publish(&channel, &payload).await }));
        self.state = State::Publishing;
    }

    /// Waits until the message is published. Never ends while none is being published; may be dropped and called again.
    pub(super) async fn published(&mut self) -> Result<(), StoreError> {
        let Some(publishing) = &mut self.publishing else { return pending().await };
        let published = publishing.await;
        self.publishing = None;
        published
    }

    /// Notes that the message was published, or was not.
    pub(super) fn note_published(&mut self, is_published: bool, now: Instant) {
        // It may have arrived before the answer.
        if self.state == State::Publishing {
            self.state = if is_published { State::Due(now + ECHO_WITHIN) } else { State::Idle };
        }
    }

    /// Whether an event is one of the own messages, and no event of producers.
    pub(super) fn is_own(&self, channel: &str) -> bool {
        channel == self.channel
    }

    /// Notes an own message. Returns whether it is the one that is waited for.
    pub(super) fn note_arrived(&mut self, payload: &[u8]) -> bool {
        let is_awaited = matches!(self.state, State::Publishing | State::Due(_));
        let is_last = is_awaited && payload == self.number.to_string().as_bytes();
        if is_last {
            self.state = State::Idle;
        }
        is_last
    }

    /// Waits for the last message no more: it may have been dropped among events.
    pub(super) fn excuse(&mut self) {
        if self.state != State::Off {
            self.state = State::Idle;
        }
    }

    /// When the last message must have arrived.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            _ => None,
        }
    }
}

/// Waits until the listener's own message is published; for ever without one.
pub(super) async fn published(echo: Option<&mut Echo>) -> Result<(), StoreError> {
    match echo {
        Some(echo) => echo.published().await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(number: u64) -> Echo {
        Echo { number, state: State::Publishing, ..Echo::new("echo".to_owned()) }
    }

    #[test]
    fn only_the_last_message_is_a_proof() {
        let now = Instant::now();
        let mut echo = published(7);
        echo.note_published(true, now);
        assert_eq!((echo.note_arrived(b"6"), echo.deadline()), (false, Some(now + ECHO_WITHIN)));
        assert_eq!((echo.note_arrived(b"7"), echo.deadline()), (true, None));
        assert!(!echo.note_arrived(b"7"), "once");
    }

    #[test]
    fn a_message_that_arrives_before_the_answer_to_its_publication_is_a_proof() {
        let mut echo = published(1);
        assert!(echo.note_arrived(b"1"));
        echo.note_published(true, Instant::now());
        assert_eq!(echo.deadline(), None);
    }

    #[test]
    fn a_message_that_was_not_published_or_was_dropped_is_not_waited_for() {
        let mut echo = published(1);
        echo.note_published(false, Instant::now());
        assert_eq!((echo.state, echo.deadline()), (State::Idle, None));
        let mut echo = published(2);
        echo.note_published(true, Instant::now());
        echo.excuse();
        assert_eq!(echo.deadline(), None);
        let mut echo = published(3);
        echo.excuse();
        echo.note_published(true, Instant::now());
        assert_eq!(echo.deadline(), None, "it may have been dropped before the answer came");
    }
}
