//! A message on its way into a mailbox: the future of [`Address::send`].

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use super::{
    address::Address,
    message::Message,
    overflow::{SendError, Sent},
    queue::{Accepted, Offer, Place},
    shared::{Ticket, wake},
};
use crate::current::{self, Blocked};

impl<M: Message> Address<M> {
    /// Sends a message, and waits for room if the edge waits. The wait is measured, and the sending actor counts as blocked (not
    /// as stalled) meanwhile.
    ///
    /// # Errors
    /// [`SendError::TooLarge`] or [`SendError::Closed`], with the message; [`SendError::Full`] on an edge that coalesces and
    /// does not wait.
    pub async fn send(&self, message: M) -> Result<Sent, SendError<M>> {
        // A sender that never waits would never yield in its loop, and could not be killed.
        tokio::task::coop::consume_budget().await;
        Sending::new(self, message).await
    }
}

/// A message that is being sent: tried at once, then in the line for room. Dropping it passes its turn to the next in line.
struct Sending<'a, M: Message> {
    address: &'a Address<M>,
    message: Option<M>,
    weight: usize,
    in_line: Option<InLine>,
}

/// A place in the line of senders.
struct InLine {
    ticket: Ticket,
    /// When it got in line, in nanoseconds.
    since: u64,
    /// The sender counts as blocked while this exists.
    _blocked: Blocked,
}

impl<'a, M: Message> Sending<'a, M> {
    fn new(address: &'a Address<M>, message: M) -> Self {
        Self { address, weight: message.weight(), message: Some(message), in_line: None }
    }
}

impl<M: Message> Unpin for Sending<'_, M> {}

impl<M: Message> Future for Sending<'_, M> {
    type Output = Result<Sent, SendError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(message) = this.message.take() else {
            return Poll::Pending;
        };
        let (shared, overflow) = (this.address.shared(), this.address.overflow());
        let now = shared.now();
        let mut state = shared.lock();
        let mut granted = false;
        if let Some(place) = &this.in_line {
            if let Some(waiting) = state.senders.iter_mut().find(|waiting| waiting.ticket == place.ticket) {
                // Woken by something else.
                waiting.waker.clone_from(cx.waker());
                this.message = Some(message);
                return Poll::Pending;
            }
            granted = state.granted.contains_key(&place.ticket);
            // The room is used in the same step, so no other sender gets it in between.
            state.leave_line(place.ticket);
        }
        // Without a grant the mailbox was closed meanwhile, and open again: then it is like a new sender.
        let place = match granted {
            true => Place::Granted,
            false if state.senders.is_empty() => Place::First,
            false => Place::Behind,
        };
        let offer = Offer { message, weight: this.weight, overflow, place };
        match state.queue.admit(offer, now, &shared.limits) {
            Err(SendError::Full(message)) if overflow.waits() => {
                this.message = Some(message);
                let ticket = state.get_in_line(this.weight, cx.waker());
                drop(state);
                let since = shared.clock.awake_nanos();
                match &mut this.in_line {
                    Some(place) => place.ticket = ticket,
                    none => *none = Some(InLine { ticket, since, _blocked: current::blocked() }),
                }
                Poll::Pending
            }
            done => {
                done.as_ref().err().into_iter().for_each(|error| state.queue.refused(error));
                if let Some(place) = this.in_line.take() {
                    state.queue.counts.waits += 1;
                    let waited = shared.clock.awake_nanos().saturating_sub(place.since);
                    state.queue.counts.waited_nanos += waited;
                }
                let receiver = state.receiver.take();
                // A merged message has not used its room, and what was dropped for one may have freed more than it needs.
                let next = state.grant(&shared.limits);
                drop(state);
                wake(receiver);
                wake(next);
                Poll::Ready(done.map(Accepted::sent))
            }
        }
    }
}

impl<M: Message> Drop for Sending<'_, M> {
    fn drop(&mut self) {
        // A dropped sender may be the one that was just granted room: without passing it on, the others would wait for ever.
        let Some(InLine { ticket, .. }) = self.in_line else { return };
        let shared = self.address.shared();
        let next = {
            let mut state = shared.lock();
            state.leave_line(ticket);
            state.grant(&shared.limits)
        };
        wake(next);
    }
}
