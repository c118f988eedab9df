//! What a host and the thread of its sender share.

use std::sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicBool};

use super::outbox::Outbox;

/// What the host and the thread share.
#[derive(Default)]
pub(super) struct Shared {
    outbox: Mutex<Outbox>,
    pub(super) is_connected: AtomicBool,
}

impl Shared {
    /// The outbox. It is locked for moves of single messages only, and no code that may panic runs meanwhile.
    pub(super) fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
