//! An actor: a value with a `run` loop, created again for each incarnation, and the [`Context`] through which it takes
//! messages, reports progress and sees that it is stopped.

use std::{future::ready, ops::Deref, sync::Arc};

use ractor::ActorRef;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    Clock, Failure,
    crash::Guarded,
    health::ExitKind,
    mailbox::{Batch, Inbox, Lease, Mailbox, Message},
    seat::{self, Exit, Seat},
};

/// A supervised actor. Each incarnation is a new value. State that must survive a crash is outside of it (in a database, in
/// the mailbox); the rest is rebuilt in [`Actor::pre_start`].
pub trait Actor: Sized + Send + 'static {
    /// The messages of its mailbox; [`NoMessage`](crate::NoMessage) for an actor without one.
    type Message: Message;

    /// Rebuilds the state. The next sibling in the start order waits for it, so it must not wait for a server that may be
    /// unavailable: `run` does that.
    ///
    /// # Errors
    /// An error is a crash.
    fn pre_start(
        &mut self,
        _cx: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    /// The work of the actor. It returns when [`Context::recv`] gives `None` or [`Handle::stopped`] resolves.
    ///
    /// # Errors
    /// An error is a crash: the supervisor decides about a restart.
    fn run(&mut self, cx: &mut Context<Self::Message>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Cleans up after `run` has returned without an error; it is not called after a crash.
    ///
    /// # Errors
    /// An error is recorded as a crash.
    fn post_stop(
        &mut self,
        _cx: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }
}

/// What an incarnation can see and do in its tree: its [`Handle`], and its mailbox.
pub struct Context<M: Message> {
    handle: Handle,
    inbox: Inbox<M>,
    stop_seen: bool,
}

/// The part of an incarnation's [`Context`] that is not its mailbox. A clone can be used while a message is in flight, which
/// borrows the context: to report progress, to wait, to ask whether the actor is being stopped.
#[derive(Clone)]
pub struct Handle {
    seat: Arc<Seat>,
    stop: CancellationToken,
}

impl<M: Message> Deref for Context<M> {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl<M: Message> Context<M> {
    /// The next message; `None` when the actor is stopped. When it is stopped for good, the messages in its mailbox come
    /// first. The wait counts as idle, the time after it as work.
    pub async fn recv(&mut self) -> Option<Lease<'_, M>> {
        self.wait_for_messages().await.then(|| self.inbox.try_recv()).flatten()
    }

    /// All waiting messages, up to the batch limit of the mailbox; else like [`Context::recv`].
    pub async fn recv_many(&mut self) -> Option<Batch<'_, M>> {
        if self.wait_for_messages().await { self.inbox.recv_many().await } else { None }
    }

    async fn wait_for_messages(&mut self) -> bool {
        // Messages in flight are handled even when the actor is stopped, with one exception.
        if self.inbox.has_hand() {
            // What went back uncharged can't be handled now. An actor that shall stop leaves it to its successor, where it
            // would otherwise take it again and again.
            if self.inbox.has_returned() && self.stop.is_cancelled() {
                return false;
            }
            // A hand that is never empty must not keep its actor from yielding.
            tokio::task::coop::consume_budget().await;
            self.seat.progress.beat();
            return true;
        }
        // A guard, since the wait may be dropped: the caller's `select!` may take another branch.
        let _idling = self.handle.seat.progress.idling();
        tokio::select! {
            biased;
            () = self.handle.stop.cancelled(), if !self.stop_seen => {
                // A stop for good closes the mailbox before it cancels the token: then waiting messages are still handled. An
                // actor that will be restarted leaves them to its next incarnation.
                self.stop_seen = true;
                self.inbox.is_closed() && self.inbox.fill().await
            }
            found = self.inbox.fill() => found && (!self.stop_seen || self.inbox.is_closed()),
        }
    }

    /// The handle, to use while a message is in flight.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Handle {
    /// Resolves when the actor is stopped.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the actor is being stopped.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A token that is cancelled when the actor is stopped, for code that it calls.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Reports progress in the middle of long work, so that the watch does not take it for a stall.
    pub fn progress(&self) {
        self.seat.progress.beat();
    }

    /// Waits for an outside event (a socket, a timer, a server). The wait counts as idle and can't be a stall.
    pub async fn idle<F: Future>(&self, wait: F) -> F::Output {
        let _idling = self.seat.progress.idling();
        wait.await
    }

    /// Waits as [`Handle::idle`] does, but at most until the actor is stopped.
    pub async fn pause(&self, wait: impl Future<Output = ()>) {
        self.idle(async {
            tokio::select! {
                () = self.stopped() => {}
                () = wait => {}
            }
        })
        .await;
    }

    /// The clock of the tree.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.seat.tree.clock
    }

    /// The number of this incarnation, from 1.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.seat.generation()
    }

    /// The actor's path in the tree.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.seat.path
    }
}

/// An incarnation's report to its supervisor that `pre_start` is done.
pub(crate) struct Ready;

/// One incarnation, from its turn at the turnstile to its exit. Dropping the future kills it.
pub(crate) async fn live<A: Actor>(
    seat: Arc<Seat>,
    mailbox: Mailbox<A::Message>,
    make: Arc<dyn Fn() -> A + Send + Sync>,
    stop: CancellationToken,
    ready: impl FnOnce(Ready) + Send,
) -> ExitKind {
    let span = seat.span();
    let incarnation = async move {
        // A killed predecessor may not have ended yet. Two incarnations at once would share the mailbox.
        let incarnate = seat.enter().await;
        let asked = stop.clone();
        let life = async {
            // The turnstile admits one incarnation, so only a reader outside the tree can be in the way.
            let Some(inbox) = mailbox.open() else {
                return Err(format!("the mailbox of {} has another reader", seat.path).into());
            };
            let handle = Handle { seat: seat.clone(), stop };
            let mut cx = Context { handle, inbox: inbox.supervised(), stop_seen: false };
            let mut actor = make();
            actor.pre_start(&mut cx).await?;
            ready(Ready);
            // tokio keeps the task that was woken last, the supervisor, for this thread. An actor that held the thread at
            // once would hold the supervisor too.
            tokio::task::yield_now().await;
            let ran = actor.run(&mut cx).await;
            // Noted while the inbox still exists: its drop decides by it which messages are charged. An actor that returns
            // by itself with a batch in flight is at fault, too.
            if ran.is_err() || !asked.is_cancelled() {
                cx.inbox.failed();
            }
            ran?;
            actor.post_stop(&mut cx).await
        };
        let life = Guarded::new(seat::scope(seat.clone(), life), &seat.progress);
        let exit = match life.await {
            Ok(Ok(())) if asked.is_cancelled() => Exit::new(ExitKind::Stopped, "stopped as asked"),
            Ok(Ok(())) => Exit::new(ExitKind::Finished, "finished by itself"),
            Ok(Err(failure)) => Exit::failed(&failure),
            Err(panicked) => Exit::panicked(panicked),
        };
        let kind = exit.kind;
        incarnate.end(exit);
        kind
    };
    incarnation.instrument(span).await
}

/// The `ractor` actor around one incarnation: supervisors link to its cell, and kill it.
pub(crate) struct Carrier;

/// An incarnation that is ready to be carried.
pub(crate) type Life = std::pin::Pin<Box<dyn Future<Output = ExitKind> + Send>>;

/// The only message of a carrier: begin.
pub(crate) struct Begin;

impl ractor::Actor for Carrier {
    type Msg = Begin;
    type State = std::sync::Mutex<Option<Life>>;
    type Arguments = Life;

    async fn pre_start(
        &self,
        _: ActorRef<Begin>,
        life: Life,
    ) -> Result<Self::State, ractor::ActorProcessingErr> {
        // The incarnation runs in a message handler, where a kill signal of `ractor` reaches it.
        Ok(std::sync::Mutex::new(Some(life)))
    }

    async fn handle(
        &self,
        myself: ActorRef<Begin>,
        Begin: Begin,
        life: &mut Self::State,
    ) -> Result<(), ractor::ActorProcessingErr> {
        let life = life.get_mut().map_or(None, Option::take);
        if let Some(life) = life {
            // The seat has recorded the exit already, and the supervisor reads it there.
            let _kind = life.await;
        }
        myself.stop(None);
        Ok(())
    }
}
