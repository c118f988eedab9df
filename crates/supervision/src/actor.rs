//! An actor: a value with a `run` loop, created again for each incarnation.

use std::{
    future::{poll_fn, ready},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use tracing::Instrument;

use crate::{
    context::Context,
    crash::Guarded,
    current,
    exit::{Exit, Failure},
    mailbox::{Inbox, Mailbox, Message, NoMessage, Reader},
    slot::Slot,
    state::ExitKind,
    sync::CancellationToken,
};

/// A supervised actor with a mailbox. Each incarnation is a new value. State that must survive a crash is outside of it (in a
/// database, in the mailbox); the rest is rebuilt in [`Actor::pre_start`].
pub trait Actor: Sized + Send + 'static {
    /// The messages of its mailbox.
    type Message: Message;

    /// Rebuilds the state. The next sibling in the start order waits for it, so it must not wait for a server that may be
    /// unavailable: `run` does that.
    ///
    /// # Errors
    /// An error is a crash.
    fn pre_start(&mut self, _cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    /// The work of the actor. It returns when [`Inbox::recv`] gives `None` or [`Context::stopped`] resolves.
    ///
    /// # Errors
    /// An error is a crash: the supervisor decides about a restart.
    fn run(
        &mut self,
        cx: &Context,
        inbox: &mut Inbox<Self::Message>,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Cleans up after `run` has returned without an error; it is not called after a crash.
    ///
    /// # Errors
    /// An error is recorded as a crash.
    fn post_stop(&mut self, _cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }
}

/// A supervised actor without a mailbox: it waits for servers, sockets and timers, and may send messages.
pub trait Worker: Sized + Send + 'static {
    /// As [`Actor::pre_start`].
    ///
    /// # Errors
    /// An error is a crash.
    fn pre_start(&mut self, _cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }

    /// The work. It returns when [`Context::stopped`] resolves.
    ///
    /// # Errors
    /// An error is a crash: the supervisor decides about a restart.
    fn run(&mut self, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send;

    /// As [`Actor::post_stop`].
    ///
    /// # Errors
    /// An error is recorded as a crash.
    fn post_stop(&mut self, _cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Ok(()))
    }
}

/// A worker as an actor whose mailbox nobody knows.
pub(crate) struct WithoutMessages<W>(pub(crate) W);

impl<W: Worker> Actor for WithoutMessages<W> {
    type Message = NoMessage;

    fn pre_start(&mut self, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        self.0.pre_start(cx)
    }

    fn run(
        &mut self,
        cx: &Context,
        _: &mut Inbox<NoMessage>,
    ) -> impl Future<Output = Result<(), Failure>> + Send {
        self.0.run(cx)
    }

    fn post_stop(&mut self, cx: &Context) -> impl Future<Output = Result<(), Failure>> + Send {
        self.0.post_stop(cx)
    }
}

/// One incarnation, from its wait at the gate of the slot to its exit. `ready` is called when `pre_start` is done. Dropping the
/// future kills it.
pub(crate) fn live<A: Actor>(
    slot: Arc<Slot>,
    mailbox: Arc<Mailbox<A::Message>>,
    make: Arc<dyn Fn() -> A + Send + Sync>,
    stop: CancellationToken,
    ready: impl FnOnce() + Send,
) -> impl Future<Output = ()> + Send {
    let span = slot.span();
    let incarnation = async move {
        // A killed predecessor may not have ended yet. Two incarnations at once would share the mailbox.
        let mut incarnation = slot.enter().await;
        let reader = Reader { actor: slot.identity.clone(), stop: stop.clone() };
        // The gate admits one incarnation, so only a reader outside the tree can be in the way.
        let Some(mut inbox) = mailbox.open_for(reader) else {
            let why = format!("the mailbox of {} has another reader", slot.path());
            incarnation.ending(Exit::new(ExitKind::Failed, why));
            return incarnation.end();
        };
        let cx = Context::new(slot.clone(), stop.clone(), &incarnation.presence());
        let _end_of_tasks = EndOfTasks(&cx);
        let exit = {
            let life = async {
                // Awaited where it is made: a future that is moved into another one takes its room twice.
                let ended: Result<(), Failure> = async {
                    // tokio keeps the task that was woken last for this thread. It is the supervisor, which was informed that the
                    // cell runs. An actor that held the thread at once would hold the supervisor too.
                    step_aside().await;
                    let mut actor = make();
                    actor.pre_start(&cx).await?;
                    slot.ready();
                    ready();
                    // Again, since `ready` has woken the supervisor.
                    step_aside().await;
                    actor.run(&cx, &mut inbox).await?;
                    actor.post_stop(&cx).await
                }
                .await;
                // The text of the error is the actor's code too: it may panic, or not yield.
                ended.map_err(|failure| Exit::failed(&failure))
            };
            let life = pin!(Some(current::scope(slot.identity.clone(), life)));
            let outcome = tokio::select! {
                biased;
                outcome = Guarded::new(life, slot.progress()) => outcome,
                panicked = cx.tasks().crashed() => Err(panicked),
            };
            match outcome {
                Ok(Ok(())) if stop.is_cancelled() => Exit::new(ExitKind::Stopped, "stopped as asked"),
                Ok(Ok(())) => Exit::new(ExitKind::Finished, "finished by itself"),
                Ok(Err(failed)) => failed,
                Err(panicked) => Exit::panicked(panicked),
            }
        };
        // The life is dropped, so nothing is being handled any more. Only now is it known why it ended.
        exit.charge().into_iter().for_each(|reason| inbox.failed(&reason));
        drop(inbox);
        let is_crash = exit.kind.is_crash();
        incarnation.ending(exit);
        cx.tasks().end().await;
        // A sub-task that panicked after the actor's own code had ended.
        if let Some(panicked) = cx.tasks().take_panic().filter(|_| !is_crash) {
            incarnation.ending(Exit::panicked(panicked));
        }
        incarnation.end();
    };
    incarnation.instrument(span)
}

/// Lets the task run first that this one has woken. tokio's `yield_now` would keep this task for its thread until the thread has
/// nothing else to do, which another task that holds the thread could prevent; like this, another thread can take it.
pub(crate) async fn step_aside() {
    let mut is_first = true;
    poll_fn(|cx| {
        if std::mem::take(&mut is_first) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

/// Ends the sub-tasks of an incarnation that is killed.
struct EndOfTasks<'a>(&'a Context);

impl Drop for EndOfTasks<'_> {
    fn drop(&mut self) {
        self.0.tasks().close();
    }
}
