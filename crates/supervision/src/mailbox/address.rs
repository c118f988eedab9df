//! The sending end of a mailbox: one [`Address`] an edge, with the edge's policy for a full mailbox.

use std::{fmt, sync::Arc};

use super::{
    message::Message,
    overflow::{Overflow, SendError, Sent},
    queue::{Offer, Place},
    shared::{Shared, wake},
};
use crate::{name::Name, sync::lock};

/// The sending end of one edge. Clones are the same edge, which ends with the last of them.
pub struct Address<M: Message>(Arc<Declared<M>>);

/// An edge, which is among those of its mailbox as long as it exists.
struct Declared<M: Message> {
    shared: Arc<Shared<M>>,
    from: Name,
    overflow: Overflow,
}

impl<M: Message> Drop for Declared<M> {
    fn drop(&mut self) {
        let mut edges = lock(&self.shared.edges);
        let key = (self.from.identity(), self.overflow);
        if let Some((_, count)) = edges.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                edges.remove(&key);
            }
        }
        if self.overflow.waits() {
            self.from.count_waiting_edge(false);
        }
    }
}

impl<M: Message> Clone for Address<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message> fmt::Debug for Address<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({} -> {}, {:?})", self.0.from.shown(), self.mailbox(), self.0.overflow)
    }
}

impl<M: Message> Address<M> {
    pub(super) fn declare(shared: Arc<Shared<M>>, from: Name, overflow: Overflow) -> Self {
        let mut edges = lock(&shared.edges);
        edges.entry((from.identity(), overflow)).or_insert_with(|| (from.clone(), 0)).1 += 1;
        drop(edges);
        if overflow.waits() {
            from.count_waiting_edge(true);
        }
        Self(Arc::new(Declared { shared, from, overflow }))
    }

    pub(super) fn shared(&self) -> &Shared<M> {
        &self.0.shared
    }

    pub(super) fn overflow(&self) -> Overflow {
        self.0.overflow
    }

    /// The edge of another sender into the same mailbox, with the same overflow: for a sender that comes when the mailbox is in a
    /// tree already. Like any address of a sender, it is declared before that sender is added.
    #[must_use]
    pub fn for_sender(&self, from: impl Into<Name>) -> Self {
        Self::declare(self.0.shared.clone(), from.into(), self.0.overflow)
    }

    /// The path of the actor that reads the mailbox; its name, before it is in a tree.
    #[must_use]
    pub fn mailbox(&self) -> &str {
        self.0.shared.name.shown()
    }

    /// Sends a message without waiting.
    ///
    /// # Errors
    /// [`SendError`] with the message: the mailbox is full and no message could be merged or dropped, the message is too large,
    /// or the mailbox is closed.
    pub fn try_send(&self, message: M) -> Result<Sent, SendError<M>> {
        let shared = self.shared();
        let (weight, now) = (message.weight(), shared.now());
        let (accepted, receiver, next) = {
            let mut state = shared.lock();
            let place = if state.senders.is_empty() { Place::First } else { Place::Behind };
            let offer = Offer { message, weight, overflow: self.0.overflow, place };
            let accepted = state.queue.admit(offer, now, &shared.limits);
            let accepted = accepted.inspect_err(|error| state.queue.refused(error))?;
            (accepted, state.receiver.take(), state.grant(&shared.limits))
        };
        // Woken outside of the lock, which the receiver takes at once.
        wake(receiver);
        wake(next);
        Ok(accepted.sent())
    }
}
