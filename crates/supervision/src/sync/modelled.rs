//! Stand-ins for what this crate uses of tokio, for the model checker, which sees only its own locks. Each of them is one lock,
//! so every order in which its users can meet is explored. What happens inside tokio is not.

#![allow(unreachable_pub)] // A part of the public interface has tokio's type here.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Wake, Waker},
};

pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
use loom::{sync::Condvar, thread};

/// Locks `mutex`.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A thread that drives a future. Unlike that of `loom`, it is never woken without a wake, and its wakers are no objects of the
/// model: both would multiply the executions.
#[derive(Default)]
struct Driver {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Driver {
    fn wake(self: Arc<Self>) {
        let mut woken = lock(&self.woken);
        *woken = true;
        self.changed.notify_one();
    }
}

/// Drives a future on this thread.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let driver = Arc::new(Driver::default());
    let waker = Waker::from(driver.clone());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = lock(&driver.woken);
        while !std::mem::take(&mut *woken) {
            woken = driver.changed.wait(woken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// As that of `tokio_util`.
#[derive(Clone, Default)]
pub struct CancellationToken(Arc<Mutex<Cancellation>>);

#[derive(Default)]
struct Cancellation {
    cancelled: bool,
    waiters: Vec<Waker>,
}

impl CancellationToken {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn cancel(&self) {
        let waiters = {
            let mut state = lock(&self.0);
            state.cancelled = true;
            std::mem::take(&mut state.waiters)
        };
        waiters.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        lock(&self.0).cancelled
    }

    pub(crate) async fn cancelled(&self) {
        poll_fn(|cx| {
            let mut state = lock(&self.0);
            if state.cancelled {
                return Poll::Ready(());
            }
            state.waiters.push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// As `tokio::task::AbortHandle`.
#[derive(Clone, Default)]
pub(crate) struct AbortHandle(Arc<Mutex<Task>>);

#[derive(Default)]
struct Task {
    aborted: bool,
    finished: bool,
    waker: Option<Waker>,
}

impl AbortHandle {
    pub(crate) fn abort(&self) {
        let waker = {
            let mut task = lock(&self.0);
            task.aborted = true;
            task.waker.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn is_finished(&self) -> bool {
        lock(&self.0).finished
    }

    /// Runs `work` on this thread until it ends or is aborted.
    pub(crate) fn run(&self, work: impl Future) {
        let mut work = Box::pin(work);
        block_on(poll_fn(|cx| {
            {
                let mut task = lock(&self.0);
                if task.aborted {
                    return Poll::Ready(());
                }
                task.waker = Some(cx.waker().clone());
            }
            work.as_mut().poll(cx).map(drop)
        }));
        drop(work);
        let mut task = lock(&self.0);
        task.finished = true;
        task.waker = None;
    }
}

/// As `tokio::spawn`. The task is a thread here.
pub(crate) fn spawn(work: impl Future + 'static) -> Spawned {
    let handle = AbortHandle::default();
    let running = handle.clone();
    thread::spawn(move || running.run(work));
    Spawned(handle)
}

pub(crate) struct Spawned(AbortHandle);

impl Spawned {
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.0.clone()
    }
}
