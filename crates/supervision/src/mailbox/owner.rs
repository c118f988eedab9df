//! The owner's end of a mailbox, and the view of it that stays when it has gone into a tree.

use std::sync::Arc;

use super::{
    address::Address,
    inbox::{Inbox, Reader},
    letters::DeadLetter,
    message::{Limits, MailboxStats, Message},
    overflow::Overflow,
    shared::{AnyMailbox, Shared},
};
use crate::{clock::Clock, name::Name};

/// A mailbox, as the owner of its actor has it until the actor is described by a [`Child`](crate::Child), which owns it from then
/// on. A mailbox whose owner is gone is closed.
pub struct Mailbox<M: Message>(Arc<Shared<M>>);

impl<M: Message> Mailbox<M> {
    /// Creates an empty mailbox. `name` is the name of the actor that will read it, among its siblings.
    #[must_use]
    pub fn new(name: impl Into<Name>, limits: Limits, clock: &Clock) -> Self {
        Self(Arc::new(Shared::new(name.into(), limits, clock)))
    }

    /// The name of its actor.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// Declares an edge into this mailbox and returns its address, which only this sender should hold. `from` is the
    /// [`Name`] of the sending actor; a text is a new name, of a sender outside the tree, however it reads. The edge also declares
    /// what happens when the mailbox is full. Create addresses before the reader is started or added: that is when the tree checks for cycles of waiting edges.
    #[must_use]
    pub fn address(&self, from: impl Into<Name>, overflow: Overflow) -> Address<M> {
        Address::declare(self.0.clone(), from.into(), overflow)
    }

    /// Borrows the reading end, to read it outside of a tree. `None` while another inbox of this mailbox exists.
    #[must_use]
    pub fn open(&self) -> Option<Inbox<M>> {
        Inbox::open(self.0.clone(), None)
    }

    /// The reading end for one incarnation.
    pub(crate) fn open_for(&self, reader: Reader) -> Option<Inbox<M>> {
        Inbox::open(self.0.clone(), Some(reader))
    }

    /// A view of the mailbox that can be kept when the mailbox has gone into a tree.
    #[must_use]
    pub fn view(&self) -> MailboxView {
        MailboxView(self.0.clone())
    }

    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> MailboxStats {
        self.0.stats()
    }
}

impl<M: Message> Drop for Mailbox<M> {
    fn drop(&mut self) {
        // A sender that still has an address must not wait for a reader that will never come.
        self.0.close();
    }
}

/// A view of a mailbox: its counts and its dead letters, without its messages' type.
#[derive(Clone)]
pub struct MailboxView(Arc<dyn AnyMailbox>);

impl MailboxView {
    /// The counts now.
    #[must_use]
    pub fn stats(&self) -> MailboxStats {
        self.0.stats()
    }

    /// The dead letters that are not evicted, oldest first.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.0.dead_letters()
    }
}

impl<M: Message> Mailbox<M> {
    /// The mailbox without its message type.
    pub(crate) fn any(&self) -> Arc<dyn AnyMailbox> {
        self.0.clone()
    }
}
