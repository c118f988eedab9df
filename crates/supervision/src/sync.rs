//! The locks, atomics, signals and tasks of the parts whose interleavings are explored exhaustively.
//!
//! One door, so that a model checker can take the place of these types: `make loom` does that for the tests in `models`.

#[cfg(test)]
#[cfg(kit_loom)]
mod modelled;

#[cfg(not(all(test, kit_loom)))]
mod real {
    // Its locks spin before they sleep. The critical sections here are shorter than a sleep, so that with the standard library's
    // locks two threads at one mailbox handle half as many messages.
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
    pub(crate) use tokio::{spawn, task::AbortHandle};
    pub(crate) use tokio_util::sync::CancellationToken;

    /// Locks `mutex`, also when a thread panicked while it held it: every critical section of this crate leaves the data whole.
    pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock()
    }
}

#[cfg(not(all(test, kit_loom)))]
pub(crate) use real::*;

#[cfg(all(test, kit_loom))]
pub(crate) use modelled::{
    AbortHandle, AtomicBool, AtomicU32, AtomicU64, CancellationToken, Mutex, MutexGuard, block_on, lock,
    spawn,
};

pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
