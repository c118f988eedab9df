//! The sending end of a mailbox: one [`Address`] an edge, with the edge's policy for a full mailbox.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use serde::Serialize;

use super::{Message, Shared, State};
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

/// The sending end of one edge. Clones are the same edge.
pub struct Address<M: Message> {
    shared: Arc<Shared<M>>,
    overflow: Overflow,
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), overflow: self.overflow }
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({}, {:?})", self.shared.name, self.overflow)
    }
}

impl<M: Message> Address<M> {
    pub(super) fn new(shared: Arc<Shared<M>>, overflow: Overflow) -> Self {
        Self { shared, overflow }
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
        if state.has_room(weight, limits) && (in_turn || state.senders.is_empty()) {
            state.push(message, weight, now);
            return Ok(Sent::Queued);
        }
        match self.overflow {
            Overflow::Wait => Err(SendError::Full(message)),
            // The weight of a merged message is known only afterwards. One merge may exceed the limit; then none follows.
            Overflow::Coalesce | Overflow::CoalesceOrWait if state.bytes > limits.bytes => {
                Err(SendError::Full(message))
            }
            Overflow::Coalesce | Overflow::CoalesceOrWait => {
                // Not into a message with a charged attempt: the new one would become a dead letter with it.
                for entry in state.waiting.iter_mut().rev().filter(|entry| entry.attempts == 0) {
                    match entry.message.merge(message) {
                        Ok(()) => {
                            let merged = entry.message.weight();
                            state.bytes = state.bytes + merged - entry.weight;
                            entry.weight = merged;
                            state.counts.accepted += 1;
                            state.counts.coalesced += 1;
                            return Ok(Sent::Coalesced);
                        }
                        Err(unmerged) => message = unmerged,
                    }
                }
                Err(SendError::Full(message))
            }
            Overflow::DropOldest => {
                let mut dropped = 0;
                while !state.has_room(weight, limits) {
                    let Some(oldest) = state.waiting.pop_front() else {
                        break;
                    };
                    state.bytes -= oldest.weight;
                    dropped += 1;
                }
                state.counts.dropped += dropped as u64;
                state.push(message, weight, now);
                Ok(Sent::Displaced(dropped))
            }
        }
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
