//! The locks, atomics, signals and tasks of the parts whose interleavings are explored exhaustively.
//!
//! One door, so that a model checker can take the place of these types: `make loom` does that for the tests in `models`.

#[cfg(test)]
#[cfg(kit_loom)]
mod modelled;

#[cfg(not(all(test, kit_loom)))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
#[cfg(not(all(test, kit_loom)))]
pub(crate) use tokio::{spawn, task::AbortHandle};
#[cfg(not(all(test, kit_loom)))]
pub(crate) use tokio_util::sync::CancellationToken;

#[cfg(all(test, kit_loom))]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU32, AtomicU64},
};
#[cfg(all(test, kit_loom))]
pub(crate) use modelled::{AbortHandle, CancellationToken, block_on, spawn};

pub(crate) use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

/// Locks `mutex`, also when a thread panicked while it held it: every critical section of this crate leaves the data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
