//! Messages in flight: one as a [`Lease`], several as a [`Batch`]. They are answered: acknowledged, returned, or dead-lettered.

use std::ops::Deref;

use super::{entry::Entry, inbox::Inbox, message::Message};
use crate::text::clipped;

impl<M: Message> Inbox<M> {
    /// The next message, in order; `None` when there will be none: its actor is stopped, or the mailbox is closed and empty. When
    /// an actor is stopped for good, the messages in its mailbox come first; an actor that will be restarted leaves them to its
    /// successor. The wait counts as idle, the time after it as work. Dropping the future loses no message.
    pub async fn recv(&mut self) -> Option<Lease<'_, M>> {
        let is_ready = self.ready().await;
        // One at a time from here: the lease alone is charged.
        self.batched = false;
        is_ready.then(|| Lease::of(self)).flatten()
    }

    /// As many messages as wait, at least one and at most [`Limits::batch`](crate::Limits::batch); else like [`Inbox::recv`].
    pub async fn recv_many(&mut self) -> Option<Batch<'_, M>> {
        self.batched = self.ready().await;
        if self.batched { Some(Batch(self)) } else { None }
    }

    /// The next message, if one waits.
    pub fn try_recv(&mut self) -> Option<Lease<'_, M>> {
        self.fill();
        self.batched = false;
        Lease::of(self)
    }
}

/// One message in flight. It must be acknowledged when its effect is committed. If it is dropped before, it has an attempt charged
/// when its handler continues or fails, and becomes a dead letter after the last attempt; it is not charged when its actor is
/// stopped or killed.
#[must_use = "a lease that is dropped without an answer counts as a failed attempt"]
pub struct Lease<'a, M: Message> {
    inbox: &'a mut Inbox<M>,
    answered: bool,
}

impl<'a, M: Message> Lease<'a, M> {
    /// The first message in flight, if there is one.
    fn of(inbox: &'a mut Inbox<M>) -> Option<Self> {
        (!inbox.hand.is_empty()).then_some(Self { inbox, answered: false })
    }

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
    pub fn ack(mut self) {
        self.answered = true;
        self.inbox.acknowledged(1);
        self.inbox.hand.pop_front();
    }

    /// Returns the message without charging it, for failures that are not its fault (a server is unavailable). It is the next one
    /// that [`Inbox::recv`] gives: wait with [`Context::pause`](crate::Context::pause) before that.
    pub fn nack(mut self) {
        self.answered = true;
        self.inbox.returned = true;
    }

    /// Makes the message a dead letter at once, since no attempt can succeed. Of `reason`, 4 KiB are kept.
    pub fn dead_letter(mut self, reason: impl Into<String>) {
        self.answered = true;
        if let Some(entry) = self.inbox.hand.pop_front() {
            self.inbox.dead_letter(entry, clipped(reason.into()));
        }
    }

    fn entry(&self) -> &Entry<M> {
        match self.inbox.hand.front() {
            Some(entry) => entry,
            // Made where there is one, which only the methods that consume the lease take.
            None => unreachable!("a lease is of the first message in flight"),
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
        if !self.answered {
            // Charged alone, so the rest of its batch is not suspected.
            (self.inbox.unanswered, self.inbox.batched) = (true, false);
        }
    }
}

/// All messages in flight, to be acknowledged together or one by one. Messages that are not answered when the batch is dropped stay
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

    /// Whether all are answered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.hand.is_empty()
    }

    /// The oldest of them as a lease of its own.
    pub fn lease(&mut self) -> Option<Lease<'_, M>> {
        self.0.charge_unanswered();
        Lease::of(self.0)
    }

    /// Keeps the messages in flight without suspecting them, for failures that are not their fault (a server is unavailable).
    pub fn nack(self) {
        self.0.batched = false;
        self.0.returned = true;
    }

    /// Acknowledges all messages: their effects are committed.
    pub fn ack(self) {
        self.0.batched = false;
        self.0.acknowledged(self.0.hand.len());
        self.0.hand.clear();
    }
}
