//! What an actor of this kit is: a struct with a `run` loop, made anew for each incarnation, and the
//! [`Context`] through which it takes messages, notes progress and learns that it shall stop.

use std::{future::ready, sync::Arc};

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

/// A supervised actor. Each incarnation is a new value; what must survive lives outside (a database, the
/// mailbox), and the rest is rebuilt in [`Actor::pre_start`].
pub trait Actor: Sized + Send + 'static {
    /// What its mailbox takes; [`NoMessage`](crate::NoMessage) where it reads from elsewhere.
    type Message: Message;

    /// Rebuilds the state. The next sibling in the start order waits for it, and it must not wait for servers
    /// that may be away: that is work for `run`.
    ///
    /// # Errors
    /// An error is a crash.
    fn pre_start(
        &mut self,
        _cx: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    /// The actor's life. It returns when [`Context::recv`] gives `None` or [`Context::stopped`] resolves.
    ///
    /// # Errors
    /// An error is a crash: the supervisor decides about a restart.
    fn run(&mut self, cx: &mut Context<Self::Message>) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Cleans up after an orderly end of `run`; it is not called after a crash.
    ///
    /// # Errors
    /// An error is a crash, as far as the record is concerned.
    fn post_stop(
        &mut self,
        _cx: &mut Context<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }
}

/// An incarnation's view of its seat.
pub struct Context<M: Message> {
    seat: Arc<Seat>,
    inbox: Inbox<M>,
    stop: CancellationToken,
    stop_seen: bool,
}

impl<M: Message> Context<M> {
    /// The next message. `None` when the actor shall stop; when it stops for good, only after its mailbox is
    /// empty. Waiting here is idling, what follows is work.
    pub async fn recv(&mut self) -> Option<Lease<'_, M>> {
        self.wait_for_messages().await.then(|| self.inbox.try_recv()).flatten()
    }

    /// All messages that wait, up to the mailbox's batch; else like [`Context::recv`].
    pub async fn recv_many(&mut self) -> Option<Batch<'_, M>> {
        if self.wait_for_messages().await { self.inbox.recv_many().await } else { None }
    }

    async fn wait_for_messages(&mut self) -> bool {
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
        // A wait that is dropped (another branch of the caller's `select!` went on) ends the idling too.
        let _idling = self.seat.progress.idling();
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if !self.stop_seen => {
                // Stopping for good closes the mailbox first: then what waits is still handled.
                self.stop_seen = true;
                self.inbox.is_closed() && self.inbox.fill().await
            }
            found = self.inbox.fill() => found && (!self.stop_seen || self.inbox.is_closed()),
        }
    }

    /// Resolves when the actor shall stop.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the actor shall stop.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// A token that is cancelled when the actor shall stop, to hand to what it calls.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// A sign of progress in the middle of long work, so that slow is not taken for hung.
    pub fn progress(&self) {
        self.seat.progress.beat();
    }

    /// Waits for something outside (a socket, a timer, a server that is away): that is idling, not a stall.
    pub async fn idle<F: Future>(&self, wait: F) -> F::Output {
        let _idling = self.seat.progress.idling();
        wait.await
    }

    /// Waits as [`Context::idle`] does, and no longer than until the actor shall stop.
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

    /// The actor's place in the tree.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.seat.path
    }
}

/// Told by an incarnation to its supervisor when `pre_start` is done.
pub(crate) struct Ready;

/// One whole incarnation, from the turnstile to its exit. Dropping the future kills it.
pub(crate) async fn live<A: Actor>(
    seat: Arc<Seat>,
    mailbox: Mailbox<A::Message>,
    make: Arc<dyn Fn() -> A + Send + Sync>,
    stop: CancellationToken,
    ready: impl FnOnce(Ready) + Send,
) -> ExitKind {
    let span = seat.span();
    let incarnation = async move {
        let incarnate = seat.enter().await;
        let asked = stop.clone();
        let life = async {
            let Some(inbox) = mailbox.open() else {
                return Err(format!("the mailbox of {} has another reader", seat.path).into());
            };
            let mut cx = Context { seat: seat.clone(), inbox: inbox.supervised(), stop, stop_seen: false };
            let mut actor = make();
            actor.pre_start(&mut cx).await?;
            ready(Ready);
            // The scheduler keeps the task that was woken last for this thread. An actor that held the thread at once
            // would hold its supervisor.
            tokio::task::yield_now().await;
            let ran = actor.run(&mut cx).await;
            // One that returned by itself with a batch in hand is at fault, too.
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

/// The ractor actor that carries one incarnation: it gives it a cell that supervisors can link to and kill.
pub(crate) struct Carrier;

/// An incarnation that is ready to be carried.
pub(crate) type Life = std::pin::Pin<Box<dyn Future<Output = ExitKind> + Send>>;

/// Begin; the only message of a carrier.
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
        // The incarnation runs as a message's handler, where a kill signal can reach it.
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
            // How it ended stands in the seat already; the supervisor reads it there.
            let _kind = life.await;
        }
        myself.stop(None);
        Ok(())
    }
}
