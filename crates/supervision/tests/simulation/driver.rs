//! The runtime of one simulated tree, and how it is known that nothing in it can run.
//!
//! One thread runs everything. tokio calls `on_thread_park` exactly when that thread has no task left that could run, so a
//! `block_on` of a future that only this hook completes returns when all is quiet: from then on something happens only if the
//! clock moves or a test acts. Neither rounds of yields nor counters could tell that.
//!
//! The runtime has a time driver only because the kit gives killed actors a grace of real time (`KILL_GRACE`). In a
//! simulation every killed actor ends at its next poll, so nothing has to wait for that timer. A call that did would still be
//! pending when all is quiet, and the checks report it.

use std::{
    future::poll_fn,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Poll, Waker},
};

use tokio::runtime::{Builder, Runtime};

/// Runs the tasks of one simulation.
pub(crate) struct Driver {
    runtime: Runtime,
    quiet: Arc<Quiet>,
}

#[derive(Default)]
struct Quiet {
    parked: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Driver {
    pub(crate) fn new() -> Self {
        let quiet = Arc::new(Quiet::default());
        let hook = quiet.clone();
        let runtime = Builder::new_current_thread()
            .enable_time()
            .on_thread_park(move || {
                hook.parked.store(true, SeqCst);
                if let Some(waker) = hook.waker.lock().expect("no panic").take() {
                    waker.wake();
                }
            })
            .build()
            .expect("a runtime");
        Self { runtime, quiet }
    }

    /// Runs `work` to its end, which must not need the clock.
    pub(crate) fn run<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Starts `work` beside the tree.
    pub(crate) fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.spawn(work)
    }

    /// Makes calls of the kit that need a runtime possible on this thread.
    pub(crate) fn enter(&self) -> tokio::runtime::EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Runs until nothing can run unless the clock moves.
    pub(crate) fn settle(&self) {
        self.quiet.parked.store(false, SeqCst);
        self.runtime.block_on(poll_fn(|cx| {
            if self.quiet.parked.load(SeqCst) {
                return Poll::Ready(());
            }
            *self.quiet.waker.lock().expect("no panic") = Some(cx.waker().clone());
            Poll::Pending
        }));
    }
}
