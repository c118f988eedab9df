//! The receiving end of a mailbox, borrowed by one incarnation at a time.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    entry::Entry,
    message::Message,
    shared::{Shared, State, wake},
};
use crate::{
    current::Identity,
    sync::{CancellationToken, MutexGuard, Relaxed},
};

/// The reading end. Dropping it returns the messages in flight to the front of the mailbox, in order.
pub struct Inbox<M: Message> {
    pub(super) shared: Arc<Shared<M>>,
    /// The messages in flight, the oldest first. A lease is of the first one.
    pub(super) hand: VecDeque<Entry<M>>,
    /// The incarnation that reads; `None` outside of a tree.
    reader: Option<Reader>,
    /// The handler has all messages in flight as a batch: any of them may make it fail.
    pub(super) batched: bool,
    /// The first message in flight was leased and not answered. It is charged when its reader continues, or ends by a fault.
    pub(super) unanswered: bool,
    /// The last message that was answered went back uncharged: what its handling needs is away.
    pub(super) returned: bool,
    /// The message in flight was part of a batch when a reader failed.
    suspect: bool,
    /// The reader has failed with several messages in flight.
    suspects: bool,
    /// The reader knows that it is stopped.
    stop_seen: bool,
}

/// The incarnation that reads a mailbox, and the signal that stops it.
pub(crate) struct Reader {
    pub(crate) actor: Arc<Identity>,
    pub(crate) stop: CancellationToken,
}

/// Why a message is charged whose handler went on without answering it.
const UNANSWERED: &str = "its handler dropped it without acknowledging it";

impl<M: Message> Inbox<M> {
    pub(super) fn open(shared: Arc<Shared<M>>, reader: Option<Reader>) -> Option<Self> {
        let is_free = !std::mem::replace(&mut shared.lock().open, true);
        is_free.then(|| Self {
            shared,
            hand: VecDeque::new(),
            reader,
            batched: false,
            unanswered: false,
            returned: false,
            suspect: false,
            suspects: false,
            stop_seen: false,
        })
    }

    /// Ends the reading of an incarnation that failed: what it was handling may be the cause, and is charged for `reason`.
    pub(crate) fn failed(&mut self, reason: &str) {
        // A single message is the cause. Of several, the next reader finds the cause by taking them one by one.
        if self.unanswered || (self.batched && self.hand.len() == 1) {
            self.charge_first(reason);
        } else {
            self.suspects = self.batched;
        }
        self.unanswered = false;
    }

    /// Waits until a message is in flight; `false` when there will be none.
    pub(super) async fn ready(&mut self) -> bool {
        self.charge_unanswered();
        if !self.hand.is_empty() {
            // What went back uncharged can't be handled now. An actor that shall stop leaves it to its successor, where it would
            // otherwise take it again and again.
            if self.returned && self.is_stopping() {
                return false;
            }
            // A hand that is never empty must not keep its actor from yielding.
            tokio::task::coop::consume_budget().await;
            self.beat();
            return true;
        }
        let Self { shared, hand, suspect, reader, .. } = self;
        let Some(reader) = reader else {
            return poll_fn(|cx| poll_take(shared, hand, suspect, cx)).await;
        };
        // Usually messages wait, and the stop does not: then nothing has to be registered.
        let stops = self.stop_seen || reader.stop.is_cancelled();
        if !stops
            && poll_fn(|cx| Poll::Ready(poll_take(shared, hand, suspect, cx))).await == Poll::Ready(true)
        {
            self.beat();
            return true;
        }
        // A guard, since the wait may be dropped: the caller's `select!` may take another branch.
        let _idling = reader.actor.progress.idling();
        let found = tokio::select! {
            biased;
            () = reader.stop.cancelled(), if !self.stop_seen => None,
            found = poll_fn(|cx| poll_take(shared, hand, suspect, cx)) => Some(found),
        };
        match found {
            Some(found) => found && (!self.stop_seen || shared.lock().queue.closed),
            None => {
                // A stop for good closes the mailbox before it cancels the token: then waiting messages are still handled. An
                // actor that will be restarted leaves them to its next incarnation.
                self.stop_seen = true;
                shared.lock().queue.closed && poll_fn(|cx| poll_take(shared, hand, suspect, cx)).await
            }
        }
    }

    fn beat(&self) {
        if let Some(reader) = &self.reader {
            reader.actor.progress.beat();
        }
    }

    /// Takes messages that wait, if none is in flight.
    pub(super) fn fill(&mut self) {
        self.charge_unanswered();
        if self.hand.is_empty() {
            let shared = &*self.shared;
            self.suspect = take(shared, shared.lock(), &mut self.hand);
        }
    }

    /// The handler went on without answering the message that it had: it is charged, and comes again if it has attempts left. In an
    /// actor that is being stopped, the stop may have interrupted the handling: then it goes back uncharged.
    pub(super) fn charge_unanswered(&mut self) {
        if !std::mem::take(&mut self.unanswered) {
            return;
        }
        if self.is_stopping() {
            self.returned = true;
        } else {
            self.charge_first(UNANSWERED);
        }
    }

    fn is_stopping(&self) -> bool {
        self.reader.as_ref().is_some_and(|reader| reader.stop.is_cancelled())
    }

    fn charge_first(&mut self, reason: &str) {
        let Some(mut entry) = self.hand.pop_front() else { return };
        entry.attempts += 1;
        if entry.attempts >= self.shared.limits.max_attempts {
            self.dead_letter(entry, reason.to_owned());
        } else {
            self.hand.push_front(entry);
        }
    }

    pub(super) fn dead_letter(&mut self, entry: Entry<M>, reason: String) {
        self.returned = false;
        self.shared.dead_letter(entry, reason);
        self.publish_oldest(0);
    }

    /// The first `count` messages in flight are acknowledged. They are counted before their owner drops them, which may panic.
    pub(super) fn acknowledged(&mut self, count: usize) {
        self.returned = false;
        // Only the inbox writes it, so a load and a store are enough; an atomic addition would cost more for each message.
        let handled = &self.shared.reading.0.handled;
        handled.store(handled.load(Relaxed) + count as u64, Relaxed);
        self.publish_oldest(count);
    }

    /// Publishes the age of the oldest message in flight behind the first `count`.
    fn publish_oldest(&self, count: usize) {
        let oldest = self.hand.get(count).map_or(0, |entry| entry.accepted_at);
        self.shared.reading.0.oldest_in_flight.store(oldest, Relaxed);
    }
}

/// Takes messages; ready with whether there are any.
fn poll_take<M: Message>(
    shared: &Shared<M>,
    hand: &mut VecDeque<Entry<M>>,
    suspect: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<bool> {
    // Without a budget the reader of a mailbox that is never empty would never yield.
    let budget = std::task::ready!(tokio::task::coop::poll_proceed(cx));
    let mut state = shared.lock();
    if state.queue.waiting.is_empty() {
        // Only after the waiting messages: a closed mailbox is emptied first.
        if state.queue.closed {
            return Poll::Ready(false);
        }
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        return Poll::Pending;
    }
    *suspect = take(shared, state, hand);
    budget.made_progress();
    Poll::Ready(true)
}

/// Takes waiting messages, and wakes senders, since there is room. Returns whether it took a suspect.
fn take<M: Message>(
    shared: &Shared<M>,
    mut state: MutexGuard<'_, State<M>>,
    hand: &mut VecDeque<Entry<M>>,
) -> bool {
    let suspect = state.queue.take(hand, &shared.limits);
    // Under the lock, so that the messages do not seem to be nowhere meanwhile.
    let oldest = hand.front().map_or(0, |entry| entry.accepted_at);
    shared.reading.0.oldest_in_flight.store(oldest, Relaxed);
    let next = state.grant(&shared.limits);
    drop(state);
    wake(next);
    suspect
}

impl<M: Message> Drop for Inbox<M> {
    fn drop(&mut self) {
        // A reader outside of a tree answers for what it drops. For one in a tree its incarnation has said whether it failed;
        // where it could not, it was killed, and what a kill interrupts is not charged.
        if self.reader.is_none() && (self.unanswered || std::thread::panicking()) {
            self.failed(UNANSWERED);
        }
        let mut state = self.shared.lock();
        state.open = false;
        state.receiver = None;
        // A suspect that returns is still one.
        state.queue.put_back(&mut self.hand, self.suspects || self.suspect);
        self.shared.reading.0.oldest_in_flight.store(0, Relaxed);
    }
}
