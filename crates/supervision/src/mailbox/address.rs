//! The sending end of a mailbox: one [`Address`] an edge, with the edge's policy for a full mailbox.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use serde::Serialize;

use super::{Limits, Message, Shared, State};
use crate::seat;

/// What an edge does when the mailbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The sender waits: backpressure.
    Wait,
    /// The message is merged into the newest waiting message that accepts it, else refused: the sender never waits.
    Coalesce,
    /// The message is merged into the newest waiting message that accepts it, else the sender waits.
    CoalesceOrWait,
    /// The oldest waiting messages are dropped, and counted.
    DropOldest,
}

impl Overflow {
    /// Whether a sender may have to wait. Such edges must form no cycle.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Wait | Self::CoalesceOrWait)
    }
}

/// How a message was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has a place of its own.
    Queued,
    /// It was merged into a waiting message.
    Coalesced,
    /// It was queued, and this many older messages were dropped for it.
    Displaced(usize),
}

/// Why a message was not accepted. The error contains the message.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// The mailbox is full: `try_send` does not wait, and on an edge that coalesces no waiting message accepted it.
    #[error("the mailbox is full: send it again later, or wait with `send` on an edge that waits")]
    Full(M),
    /// The message alone exceeds the byte limit of the mailbox.
    #[error(
        "the message of {weight} bytes is larger than its mailbox ({limit} bytes): raise the mailbox's byte limit"
    )]
    TooLarge {
        /// The refused message.
        message: M,
        /// Its weight in bytes.
        weight: usize,
        /// The mailbox's byte limit.
        limit: usize,
    },
    /// The mailbox is closed: its actor is being stopped for good.
    #[error("the mailbox is closed: its actor has been stopped")]
    Closed(M),
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The sending end of one edge. Clones are the same edge, which ends with the last of them.
pub struct Address<M: Message> {
    shared: Arc<Shared<M>>,
    overflow: Overflow,
    edge: Arc<Declared<M>>,
}

/// The entry of an edge among those of its mailbox, as long as it exists.
struct Declared<M> {
    shared: Arc<Shared<M>>,
    edge: (String, Overflow),
}

impl<M> Drop for Declared<M> {
    fn drop(&mut self) {
        let mut edges = self.shared.edges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = edges.get_mut(&self.edge) {
            *count -= 1;
            if *count == 0 {
                edges.remove(&self.edge);
            }
        }
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), overflow: self.overflow, edge: self.edge.clone() }
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} -> {}, {:?})", self.edge.edge.0, self.shared.name, self.overflow)
    }
}

impl<M: Message> Address<M> {
    pub(super) fn declare(shared: Arc<Shared<M>>, from: String, overflow: Overflow) -> Self {
        let edge = (from, overflow);
        let mut edges = shared.edges.lock().unwrap_or_else(PoisonError::into_inner);
        *edges.entry(edge.clone()).or_default() += 1;
        drop(edges);
        Self { edge: Arc::new(Declared { shared: shared.clone(), edge }), shared, overflow }
    }

    /// The name of the mailbox that this edge leads to.
    #[must_use]
    pub fn mailbox(&self) -> &str {
        &self.shared.name
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// [`SendError`] with the message: the mailbox is full and no message could be merged or dropped, the message is too large,
    /// or the mailbox is closed.
    pub fn try_send(&self, message: M) -> Result<Sent, SendError<M>> {
        let weight = message.weight();
        let now = self.shared.clock.nanos();
        let (sent, receiver) = {
            let mut state = self.shared.lock();
            let sent = self.admit(&mut state, message, weight, now, false);
            let sent = sent.inspect_err(|error| state.refused(error))?;
            (sent, state.receiver.take())
        };
        // Woken outside of the lock, which the receiver takes at once.
        wake(receiver);
        Ok(sent)
    }

    /// Sends a message, and waits for room if the edge waits. The wait is measured, and the sending actor counts as blocked (not
    /// as stalled) meanwhile.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] or [`SendError::Closed`], with the message; [`SendError::Full`] on an edge that coalesces and
    /// does not wait.
    pub async fn send(&self, message: M) -> Result<Sent, SendError<M>> {
        // A sender that never waits would never yield in its loop, and could not be killed.
        tokio::task::coop::consume_budget().await;
        let weight = message.weight();
        let since = self.shared.clock.nanos();
        Sending { address: self, message: Some(message), weight, since, in_line: None }.await
    }

    /// The only place that decides about a message. `in_turn`: the sender is the first of the waiting senders, which no other
    /// sender overtakes.
    fn admit(
        &self,
        state: &mut State<M>,
        mut message: M,
        weight: usize,
        now: u64,
        in_turn: bool,
    ) -> Result<Sent, SendError<M>> {
        let limits = &self.shared.limits;
        if state.closed {
            return Err(SendError::Closed(message));
        }
        // It would wait for ever: no amount of room is enough.
        if weight > limits.bytes {
            return Err(SendError::TooLarge { message, weight, limit: limits.bytes });
        }
        let merges = matches!(self.overflow, Overflow::Coalesce | Overflow::CoalesceOrWait);
        // The weight of a merged message is known only afterwards. One merge may exceed the limit; then none follows.
        if merges && state.bytes <= limits.bytes {
            match state.merge(message) {
                Ok(()) => return Ok(Sent::Coalesced),
                Err(unmerged) => message = unmerged,
            }
        }
        let droppable = self.overflow == Overflow::DropOldest;
        let has_turn = in_turn || state.senders.is_empty();
        if state.has_room(weight, limits) && has_turn {
            state.push(message, weight, now, droppable);
            return Ok(Sent::Queued);
        }
        // The message makes room itself. Free room belongs to the line of senders, where there is one.
        let Some(dropped) = droppable.then(|| state.drop_oldest(weight, limits, has_turn)).flatten() else {
            return Err(SendError::Full(message));
        };
        state.push(message, weight, now, droppable);
        Ok(Sent::Displaced(dropped))
    }
}

impl<M: Message> State<M> {
    /// Merges a message into the newest waiting one that takes it.
    fn merge(&mut self, mut message: M) -> Result<(), M> {
        // Not into a message with a charged attempt: the new one would become a dead letter with it.
        for entry in self.waiting.iter_mut().rev().filter(|entry| entry.attempts == 0) {
            match entry.message.merge(message) {
                Ok(()) => {
                    let merged = entry.message.weight();
                    self.bytes = self.bytes + merged - entry.weight;
                    entry.weight = merged;
                    self.counts.accepted += 1;
                    self.counts.coalesced += 1;
                    return Ok(());
                }
                Err(unmerged) => message = unmerged,
            }
        }
        Err(message)
    }

    /// Drops the oldest droppable messages until one of `weight` has room, and tells how many; none, where all of them
    /// would not be enough. One without a turn may use only what it has freed.
    fn drop_oldest(&mut self, weight: usize, limits: &Limits, has_turn: bool) -> Option<usize> {
        let (mut dropped, mut freed) = (0, 0);
        let is_enough = |dropped: usize, freed: usize| {
            let has_room =
                self.waiting.len() - dropped < limits.capacity && self.bytes - freed + weight <= limits.bytes;
            has_room && (has_turn || (dropped > 0 && freed >= weight))
        };
        for entry in self.waiting.iter().filter(|entry| entry.droppable) {
            if is_enough(dropped, freed) {
                break;
            }
            dropped += 1;
            freed += entry.weight;
        }
        if !is_enough(dropped, freed) {
            return None;
        }
        let mut left = dropped;
        while left > 0 && self.waiting.front().is_some_and(|entry| entry.droppable) {
            self.waiting.pop_front();
            left -= 1;
        }
        if left > 0 {
            // The others stand behind messages of edges that wait.
            self.waiting.retain(|entry| {
                let goes = left > 0 && entry.droppable;
                left -= usize::from(goes);
                !goes
            });
        }
        self.bytes -= freed;
        self.counts.dropped += dropped as u64;
        Some(dropped)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// A message that is being sent: tried at once, then in the line for room. Dropping it passes its turn to the next in line.
struct Sending<'a, M: Message> {
    address: &'a Address<M>,
    message: Option<M>,
    weight: usize,
    since: u64,
    in_line: Option<InLine>,
}

/// A place in the line of senders.
struct InLine {
    ticket: u64,
    /// The sender counts as blocked while this exists.
    _blocked: seat::Blocked,
}

impl<M: Message> Unpin for Sending<'_, M> {}

impl<M: Message> Future for Sending<'_, M> {
    type Output = Result<Sent, SendError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(message) = this.message.take() else {
            return Poll::Pending;
        };
        let shared = &this.address.shared;
        let ticket = this.in_line.as_ref().map(|place| place.ticket);
        // The clock is read once for a message that finds room at once, which is the usual case.
        let now = if ticket.is_some() { shared.clock.nanos() } else { this.since };
        let mut state = shared.lock();
        // An empty line counts too: then no sender is overtaken.
        let in_turn = state.senders.front().is_none_or(|&(first, _)| Some(first) == ticket);
        match this.address.admit(&mut state, message, this.weight, now, in_turn) {
            Err(SendError::Full(message)) if this.address.overflow.waits() => {
                this.message = Some(message);
                let ticket = ticket.unwrap_or_else(|| {
                    state.last_ticket += 1;
                    state.last_ticket
                });
                match state.senders.iter_mut().find(|(queued, _)| *queued == ticket) {
                    Some((_, waker)) => waker.clone_from(cx.waker()),
                    None => state.senders.push_back((ticket, cx.waker().clone())),
                }
                drop(state);
                this.in_line.get_or_insert_with(|| InLine { ticket, _blocked: seat::blocked() });
                Poll::Pending
            }
            settled => {
                settled.as_ref().err().into_iter().for_each(|error| state.refused(error));
                let receiver = state.receiver.take();
                let next = ticket.and_then(|ticket| {
                    state.counts.waits += 1;
                    state.counts.waited_nanos += now.saturating_sub(this.since);
                    state.leave_line(ticket, &shared.limits)
                });
                drop(state);
                this.in_line = None;
                wake(receiver);
                wake(next);
                Poll::Ready(settled)
            }
        }
    }
}

impl<M: Message> Drop for Sending<'_, M> {
    fn drop(&mut self) {
        // A dropped sender may be the one that was just woken: without passing the wake on, the others would wait for ever.
        let Some(InLine { ticket, .. }) = self.in_line else { return };
        let shared = &self.address.shared;
        let next = shared.lock().leave_line(ticket, &shared.limits);
        wake(next);
    }
}
