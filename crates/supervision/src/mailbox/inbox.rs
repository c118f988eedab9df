//! The receiving end of a mailbox, borrowed by one incarnation at a time.

use std::{
    collections::VecDeque,
    ops::Deref,
    sync::{Arc, MutexGuard, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use super::{Entry, Message, Shared, State};
use crate::crash;

/// The reading end. Dropping it returns the messages in flight to the front of the mailbox, in order.
pub struct Inbox<M: Message> {
    shared: Arc<Shared<M>>,
    hand: VecDeque<Entry<M>>,
    /// A reader in a tree is charged for the leases that its own code drops, and for none that a kill drops. A reader
    /// outside a tree is charged for all.
    supervised: bool,
    /// The handler has all messages in flight as a batch: any of them may make it fail.
    batched: bool,
    /// The message in flight was part of a batch when a reader failed.
    suspect: bool,
    /// Its reader returned an error, or returned with a batch in hand.
    failed: bool,
    /// The last message that left the hand went back uncharged: what its handling needs is away.
    returned: bool,
    /// A letter was written whose reason an exit may still explain.
    vague_letter: bool,
}

impl<M: Message> Inbox<M> {
    pub(super) fn open(shared: Arc<Shared<M>>) -> Option<Self> {
        let free = !std::mem::replace(&mut shared.lock().open, true);
        free.then(|| Self {
            shared,
            hand: VecDeque::new(),
            supervised: false,
            batched: false,
            suspect: false,
            failed: false,
            returned: false,
            vague_letter: false,
        })
    }

    /// The inbox of an actor in a tree: a message in hand is charged only when the actor's own code drops it.
    pub(crate) fn supervised(mut self) -> Self {
        self.supervised = true;
        self
    }

    /// The next message, in order; `None` when the mailbox is closed and empty. Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Lease<'_, M>> {
        if self.fill().await { self.lease() } else { None }
    }

    /// As many messages as wait, at least one and at most [`Limits::batch`](super::Limits::batch). `None`
    /// when the mailbox is closed and empty.
    pub async fn recv_many(&mut self) -> Option<Batch<'_, M>> {
        self.batched = self.fill().await;
        if self.batched { Some(Batch(self)) } else { None }
    }

    /// The next message, if one waits.
    pub fn try_recv(&mut self) -> Option<Lease<'_, M>> {
        if self.hand.is_empty() {
            self.suspect = take(&self.shared, &mut self.hand, self.shared.lock());
        }
        // One at a time from here: the lease alone is charged.
        self.batched = false;
        self.lease()
    }

    /// Waits until a message is in flight; `false` when the mailbox is closed and empty.
    pub(crate) async fn fill(&mut self) -> bool {
        !self.hand.is_empty() || std::future::poll_fn(|cx| self.poll_take(cx)).await
    }

    pub(crate) fn has_hand(&self) -> bool {
        !self.hand.is_empty()
    }

    /// Whether the last message that left the hand went back uncharged.
    pub(crate) fn has_returned(&self) -> bool {
        self.returned
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    fn lease(&mut self) -> Option<Lease<'_, M>> {
        let entry = self.hand.pop_front()?;
        if std::mem::take(&mut self.vague_letter) {
            // The actor went on after that letter: no later exit is its reason.
            self.shared.lock().letters.close_reasons();
        }
        self.shared.reading.0.oldest_in_hand.store(entry.accepted_at, Relaxed);
        Some(Lease { inbox: self, entry: Some(entry) })
    }

    /// Takes messages when none is in flight; ready with whether there are any.
    fn poll_take(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        // Without a budget the reader of a mailbox that is never empty would never yield.
        let budget = std::task::ready!(tokio::task::coop::poll_proceed(cx));
        let mut state = self.shared.lock();
        if !state.waiting.is_empty() {
            self.suspect = take(&self.shared, &mut self.hand, state);
            budget.made_progress();
            return Poll::Ready(true);
        }
        // Only after the waiting messages: a closed mailbox is emptied first.
        if state.closed {
            return Poll::Ready(false);
        }
        match &mut state.receiver {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Records that the reader ends with an error: a message of its batch may be the cause.
    pub(crate) fn failed(&mut self) {
        self.failed = true;
    }

    fn settled(&mut self) {
        self.returned = false;
        // Only the inbox writes it, so a load and a store are enough; an atomic addition would cost more for each message.
        self.shared.reading.0.handled.store(self.shared.reading.0.handled.load(Relaxed) + 1, Relaxed);
        self.shared
            .reading
            .0
            .oldest_in_hand
            .store(self.hand.front().map_or(0, |entry| entry.accepted_at), Relaxed);
    }

    fn bury(&mut self, entry: Entry<M>, reason: Option<String>) {
        self.vague_letter |= reason.is_none();
        self.returned = false;
        let now = self.shared.clock.nanos();
        let mut state = self.shared.lock();
        state.counts.dead_from_hand += 1;
        state.letters.write(entry, reason, now);
    }

    /// Whether a lease that is dropped now is dropped by its handler (which returned, or panics), and not because
    /// something else ends the actor.
    fn answers_for_drop(&self) -> bool {
        !self.supervised || crash::handler_runs()
    }
}

/// Takes waiting messages, and wakes a sender, since there is room. Returns whether it took a suspect; those are taken one by
/// one.
fn take<M>(shared: &Shared<M>, hand: &mut VecDeque<Entry<M>>, mut state: MutexGuard<'_, State<M>>) -> bool {
    let suspect = state.suspects > 0;
    state.suspects = state.suspects.saturating_sub(1);
    let batch = if suspect { 1 } else { shared.limits.batch.max(1) };
    // A swap takes everything without a copy, and gives the mailbox the empty buffer of the last batch.
    if state.waiting.len() <= batch {
        std::mem::swap(hand, &mut state.waiting);
        state.bytes = 0;
    } else {
        hand.extend(state.waiting.drain(..batch));
        state.bytes -= hand.iter().map(|entry| entry.weight).sum::<usize>();
    }
    state.counts.taken += hand.len() as u64;
    let next = state.next_sender();
    drop(state);
    shared.reading.0.oldest_in_hand.store(hand.front().map_or(0, |entry| entry.accepted_at), Relaxed);
    if let Some(waker) = next {
        waker.wake();
    }
    suspect
}

impl<M: Message> Drop for Inbox<M> {
    fn drop(&mut self) {
        // Only the reader's own fault counts: an error, or a panic.
        let fell = self.batched && (self.failed || std::thread::panicking());
        // A single message in flight is the cause. Of several, the next reader finds the cause by taking them one by one.
        if fell
            && self.hand.len() == 1
            && let Some(mut entry) = self.hand.pop_front()
        {
            entry.attempts += 1;
            if entry.attempts >= self.shared.limits.max_attempts {
                self.bury(entry, crash::unwinding_message());
            } else {
                self.hand.push_front(entry);
            }
        }
        let mut state = self.shared.lock();
        state.open = false;
        state.receiver = None;
        state.counts.given_back += self.hand.len() as u64;
        // A suspect that returns is still one.
        if fell || self.suspect {
            state.suspects += self.hand.len();
        }
        // In reverse, each to the front: that keeps the order in which the messages were accepted.
        for entry in self.hand.drain(..).rev() {
            state.bytes += entry.weight;
            state.waiting.push_front(entry);
        }
        self.shared.reading.0.oldest_in_hand.store(0, Relaxed);
    }
}

/// One message in flight. It must be settled when its effect is committed. If it is dropped before, it returns to the front
/// with an attempt charged, and becomes a dead letter after the last attempt.
#[must_use = "a lease that is dropped without being settled counts as a failed attempt"]
pub struct Lease<'a, M: Message> {
    inbox: &'a mut Inbox<M>,
    entry: Option<Entry<M>>,
}

impl<M: Message> Lease<'_, M> {
    /// The number of this attempt, from 1.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.entry().attempts + 1
    }

    /// The number of the message in its mailbox: the same at each delivery, larger for later messages. Together with the boot id
    /// of the tree it identifies an effect.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.entry().sequence
    }

    /// Acknowledges the message: its effect is committed.
    pub fn settle(mut self) {
        // Emptied first, so that the drop that follows charges nothing.
        self.entry = None;
        self.inbox.settled();
    }

    /// Returns the message without charging it, for failures that are not its fault (a server is unavailable).
    pub fn give_back(mut self) {
        if let Some(entry) = self.entry.take() {
            self.inbox.hand.push_front(entry);
            self.inbox.returned = true;
        }
    }

    /// Makes the message a dead letter at once, since no attempt can succeed.
    pub fn bury(mut self, reason: impl Into<String>) {
        if let Some(entry) = self.entry.take() {
            self.inbox.bury(entry, Some(reason.into()));
        }
    }

    fn entry(&self) -> &Entry<M> {
        match &self.entry {
            Some(entry) => entry,
            // `entry` is taken only by the methods that consume the lease and by `drop`.
            None => unreachable!("a lease holds its message until it ends"),
        }
    }
}

impl<M: Message> Deref for Lease<'_, M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.entry().message
    }
}

impl<M: Message> Drop for Lease<'_, M> {
    fn drop(&mut self) {
        let Some(mut entry) = self.entry.take() else {
            return;
        };
        if self.inbox.answers_for_drop() {
            entry.attempts += 1;
            // This lease is charged, so the rest of its batch is not suspected.
            self.inbox.batched = false;
        }
        if entry.attempts >= self.inbox.shared.limits.max_attempts {
            self.inbox.bury(entry, crash::unwinding_message());
        } else {
            self.inbox.hand.push_front(entry);
        }
    }
}

/// All messages in flight, to be settled together or one by one. Messages that are not settled when the batch is dropped stay
/// in flight, uncharged. When the actor fails with several of them, its next incarnation gets them one by one, which finds the
/// cause; when it fails with a single one, that one has an attempt charged.
pub struct Batch<'a, M: Message>(&'a mut Inbox<M>);

impl<M: Message> Batch<'_, M> {
    /// The messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &M> {
        self.0.hand.iter().map(|entry| &entry.message)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.hand.len()
    }

    /// Whether all are settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.hand.is_empty()
    }

    /// The oldest of them as a lease of its own.
    pub fn lease(&mut self) -> Option<Lease<'_, M>> {
        self.0.lease()
    }

    /// Keeps the messages in flight without suspecting them, for failures that are not their fault (a server is unavailable).
    pub fn give_back(self) {
        self.0.batched = false;
        self.0.returned = true;
    }

    /// Acknowledges all messages: their effects are committed.
    pub fn settle(self) {
        let inbox = self.0;
        inbox.batched = false;
        inbox.returned = false;
        let settled = inbox.hand.len() as u64;
        inbox.hand.clear();
        inbox.shared.reading.0.handled.store(inbox.shared.reading.0.handled.load(Relaxed) + settled, Relaxed);
        inbox.shared.reading.0.oldest_in_hand.store(0, Relaxed);
    }
}
