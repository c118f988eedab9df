//! What the code of an incarnation can see and do in its tree, apart from its messages.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use crate::{
    Clock,
    changes::Subscription,
    current,
    mailbox::{Address, Message},
    slot::{Presence, Slot},
    sync::CancellationToken,
    tasks::{SpawnError, Task, Tasks},
};

/// One incarnation's place in its tree: to see that it is stopped, to report progress, to wait, to start sub-tasks and timers.
/// Clones are the same; one that outlives the incarnation can start nothing.
#[derive(Clone)]
pub struct Context(Arc<Inner>);

struct Inner {
    slot: Arc<Slot>,
    generation: u64,
    stop: CancellationToken,
    tasks: Arc<Tasks>,
    /// Weak: a forgotten clone of the context must not keep the slot from its next incarnation.
    presence: Weak<Presence>,
}

impl Context {
    pub(crate) fn new(slot: Arc<Slot>, stop: CancellationToken, presence: &Arc<Presence>) -> Self {
        let (tasks, generation) = (Arc::default(), slot.generation());
        Self(Arc::new(Inner { slot, generation, stop, tasks, presence: Arc::downgrade(presence) }))
    }

    pub(crate) fn tasks(&self) -> &Arc<Tasks> {
        &self.0.tasks
    }

    /// Resolves when the actor is stopped.
    pub async fn stopped(&self) {
        self.0.stop.cancelled().await;
    }

    /// Whether the actor is being stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.stop.is_cancelled()
    }

    /// A token that is cancelled when the actor is stopped, for code that it calls.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.0.stop.clone()
    }

    /// Reports progress in the middle of long work, so that the watch does not take it for a stall.
    pub fn progress(&self) {
        current::progress(&self.0.slot.identity).beat();
    }

    /// Waits for an outside event (a socket, a timer, a server). The wait counts as idle and can't be a stall.
    pub async fn idle<F: Future>(&self, wait: F) -> F::Output {
        let progress = current::progress(&self.0.slot.identity);
        // A clone that outlives its incarnation says nothing about the next one.
        let _idling = (self.0.presence.strong_count() > 0).then(|| progress.idling());
        wait.await
    }

    /// Waits as [`Context::idle`] does, but at most until the actor is stopped.
    pub async fn pause(&self, wait: impl Future<Output = ()>) {
        self.idle(async {
            tokio::select! {
                biased;
                () = self.stopped() => {}
                () = wait => {}
            }
        })
        .await;
    }

    /// The clock of the tree.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.0.slot.env().clock
    }

    /// The number of this incarnation, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// The actor's path in the tree.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.slot.path()
    }

    /// Starts a sub-task, which ends with this incarnation: it is aborted when the incarnation ends, and no other incarnation
    /// begins before it has ended. A panic in it is a crash of the actor. The watch reports one that does not yield; whether it
    /// makes progress is the actor's business.
    ///
    /// # Errors
    /// [`SpawnError`] when the incarnation has ended, or has 10,000 sub-tasks.
    pub fn spawn<F>(&self, work: F) -> Result<Task<F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let presence = self.0.presence.upgrade().ok_or(SpawnError::Ended)?;
        self.0.tasks.spawn(&self.0.slot.identity, presence, work)
    }

    /// Sends `message` after a time of the tree's clock, if this incarnation still runs then. For a message to itself, an actor has
    /// an address of its own mailbox, on an edge that does not wait. A message that is refused is dropped.
    ///
    /// # Errors
    /// As [`Context::spawn`].
    pub fn send_after<M: Message>(
        &self,
        after: Duration,
        to: &Address<M>,
        message: M,
    ) -> Result<Task<()>, SpawnError> {
        let (clock, to) = (self.clock().clone(), to.clone());
        self.spawn(async move {
            clock.sleep(after).await;
            // Refused by a mailbox that is full or closed: the next timer comes, or nobody reads.
            drop(to.send(message).await);
        })
    }

    /// Sends the messages of `make` at a fixed interval of the tree's clock, as long as this incarnation runs. Each interval begins
    /// when the message before was accepted or refused, so late ones do not pile up.
    ///
    /// # Errors
    /// As [`Context::spawn`].
    pub fn send_every<M: Message>(
        &self,
        every: Duration,
        to: &Address<M>,
        mut make: impl FnMut() -> M + Send + 'static,
    ) -> Result<Task<()>, SpawnError> {
        let (clock, to) = (self.clock().clone(), to.clone());
        self.spawn(async move {
            loop {
                clock.sleep(every).await;
                drop(to.send(make()).await);
            }
        })
    }

    /// The changes of all actors of the tree from now on: to see the end of another actor.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.0.slot.env().changes.subscribe()
    }
}
