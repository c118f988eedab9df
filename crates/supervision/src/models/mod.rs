//! Models: small cases whose interleavings are explored one by one, with `loom` in place of the locks and atomics of `sync`.
//!
//! `make loom` runs them, and prints the number of executions of each. A model finds a lost wake-up as a deadlock, and a value
//! that two threads use at once as a race. The first argument of `explore` is the bound: `None` is every interleaving, `Some(3)`
//! all of those in which threads are interrupted at most three times where they could have continued. A model that takes more than two minutes
//! without a bound has one. What is not modelled: the inside of tokio (see `sync::modelled`), and tasks that are polled without
//! a wake, but for the sends and waits that `poll_once` polls.

#![allow(clippy::print_stderr, clippy::unwrap_used, clippy::expect_used, reason = "tests")]
#![allow(clippy::arc_with_non_send_sync, reason = "`loom` runs its threads one at a time")]

mod gate;
mod mailbox;
mod progress;
mod reader;
mod slot;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
};

use loom::{cell::UnsafeCell, model::Builder};

use crate::sync::block_on;

/// What only one thread at a time may use: `loom` fails where two uses are not ordered.
#[derive(Default)]
struct Alone(UnsafeCell<u64>);

impl Alone {
    #[allow(unsafe_code)]
    fn step(&self) {
        // SAFETY: one thread at a time uses it, which is what `loom` checks here.
        self.0.with_mut(|steps| unsafe { *steps += 1 });
    }
}

/// Explores `case` with at most `preemptions` involuntary switches of threads; `None`: with any number of them.
fn explore(preemptions: Option<usize>, case: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    model.max_branches = 10_000;
    // LOOM_MAX_PREEMPTIONS stays stronger.
    model.preemption_bound = model.preemption_bound.or(preemptions);
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let began = std::time::Instant::now();
    model.check(move || {
        counted.fetch_add(1, Relaxed);
        case();
    });
    let name = std::thread::current().name().unwrap_or_default().to_owned();
    eprintln!("{name}: {} executions, {:.1?}", executions.load(Relaxed), began.elapsed());
}

/// Polls a future once, on this thread.
fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    block_on(poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))))
}
