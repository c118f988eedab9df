//! The sub-tasks of one incarnation: they end with it, whatever ends it, and a panic in one is a crash of the actor.

use std::{
    collections::BTreeMap,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Waker},
};

use tokio::sync::oneshot;
use tracing::Instrument;

use crate::{
    crash::{Guarded, Panicked},
    current::{self, Identity},
    progress::Progress,
    slot::Presence,
    sync::{AbortHandle, Mutex, lock, spawn},
};

/// The most sub-tasks of one incarnation at a time.
const MOST: usize = 10_000;

/// A running sub-task, to wait for its output. Dropping this does not end the sub-task. It never resolves when the sub-task
/// panicked, since its actor crashes then.
pub struct Task<T> {
    output: oneshot::Receiver<T>,
    abort: AbortHandle,
}

impl<T> Task<T> {
    /// Ends the sub-task at its next await.
    pub fn abort(self) {
        self.abort.abort();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.abort.is_finished()
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match Pin::new(&mut self.output).poll(cx) {
            Poll::Ready(Ok(output)) => Poll::Ready(output),
            // It panicked, and its actor crashes.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Why a sub-task was not started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpawnError {
    /// The incarnation has as many as it may.
    #[error("the actor has {MOST} sub-tasks already: wait for some of them")]
    TooMany,
    /// The incarnation has ended.
    #[error("the incarnation has ended: nothing can run in its name")]
    Ended,
}

#[derive(Default)]
pub(crate) struct Tasks(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    /// Those that have not ended, and how to end them: not known in the moment between registering one and starting it.
    running: BTreeMap<u64, Option<AbortHandle>>,
    closed: bool,
    panicked: Option<Box<Panicked>>,
    /// The incarnation, which waits until one has panicked, or the last one has ended.
    waiter: Option<Waker>,
}

impl State {
    /// Has the incarnation woken at the next change.
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waiter {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

impl Tasks {
    /// Starts a sub-task of `actor`, which is in its slot as long as the sub-task runs.
    pub(crate) fn spawn<F>(
        self: &Arc<Self>,
        actor: &Identity,
        presence: Arc<Presence>,
        work: F,
    ) -> Result<Task<F::Output>, SpawnError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (sender, output) = oneshot::channel();
        let progress = actor.progress.task();
        let identity =
            Identity { path: actor.path.clone(), progress: progress.clone(), env: actor.env.clone() };
        // The output is refused when nobody waits for it.
        let work = async move { drop(sender.send(work.await)) };
        let abort = self.start(presence, progress, current::scope(Arc::new(identity), work))?;
        Ok(Task { output, abort })
    }

    /// Starts `work` as a sub-task whose polls `progress` shows.
    pub(crate) fn start(
        self: &Arc<Self>,
        presence: Arc<Presence>,
        progress: Arc<Progress>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Result<AbortHandle, SpawnError> {
        let number = self.register()?;
        let ending = Ending { tasks: self.clone(), number, presence };
        let sub_task = SubTask { work, ending };
        let task = async move {
            let sub_task = sub_task;
            // The work is dropped first, also where the task is aborted.
            let SubTask { ending, work } = sub_task;
            let work = pin!(Some(work));
            if let Err(panicked) = Guarded::new(work, &progress).await {
                ending.tasks.panicked(panicked);
            }
        };
        // Not under the lock, which the end of a sub-task takes: a runtime that shuts down ends it here.
        let abort = spawn(task.in_current_span()).abort_handle();
        let is_late = {
            let mut state = lock(&self.0);
            let is_closed = state.closed;
            // It is not among them if it has ended by now.
            if let Some(running) = state.running.get_mut(&number) {
                *running = Some(abort.clone());
            }
            is_closed
        };
        // The incarnation ended before it knew how to end this one.
        if is_late {
            abort.abort();
        }
        Ok(abort)
    }

    /// Makes a new sub-task one of those that run, so that one that ends at once finds itself among them.
    fn register(&self) -> Result<u64, SpawnError> {
        let mut state = lock(&self.0);
        if state.closed {
            return Err(SpawnError::Ended);
        }
        if state.running.len() >= MOST {
            return Err(SpawnError::TooMany);
        }
        let number = state.next;
        state.next += 1;
        state.running.insert(number, None);
        Ok(number)
    }

    fn panicked(&self, panicked: Box<Panicked>) {
        self.change(|state| {
            state.panicked.get_or_insert(panicked);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let waiter = {
            let mut state = lock(&self.0);
            change(&mut state);
            state.waiter.take()
        };
        // Outside of the lock, which the incarnation takes at once.
        waiter.into_iter().for_each(Waker::wake);
    }

    /// Resolves when a sub-task has panicked.
    pub(crate) async fn crashed(&self) -> Box<Panicked> {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            match state.panicked.take() {
                Some(panicked) => Poll::Ready(panicked),
                None => {
                    state.wait(cx);
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// The first panic of a sub-task that has not been taken.
    pub(crate) fn take_panic(&self) -> Option<Box<Panicked>> {
        lock(&self.0).panicked.take()
    }

    /// Ends all sub-tasks, and waits until they have ended.
    pub(crate) async fn end(&self) {
        self.close();
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.running.is_empty() {
                return Poll::Ready(());
            }
            state.wait(cx);
            Poll::Pending
        })
        .await;
    }

    /// Ends all sub-tasks at their next await; there will be no other.
    pub(crate) fn close(&self) {
        let mut state = lock(&self.0);
        state.closed = true;
        state.running.values().flatten().for_each(AbortHandle::abort);
    }
}

/// A sub-task that was not polled yet. Its fields are dropped in this order: the end is the last that is left of it.
struct SubTask<F> {
    work: F,
    ending: Ending,
}

/// The end of one sub-task, however it comes.
struct Ending {
    tasks: Arc<Tasks>,
    number: u64,
    #[expect(dead_code, reason = "held as long as the sub-task exists")]
    presence: Arc<Presence>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tasks.change(|state| drop(state.running.remove(&self.number)));
    }
}
