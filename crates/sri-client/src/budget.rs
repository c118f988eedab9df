//! What a poll may still cost.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::{error::PollError, limits::Limits};

/// What is left of the limits of a poll.
pub(crate) struct Budget {
    requests: Left,
    bytes: Left,
    items: Left,
}

/// What is left of one limit.
struct Left {
    what: &'static str,
    most: usize,
    left: AtomicUsize,
}

impl Left {
    fn new(what: &'static str, most: usize) -> Self {
        Self { what, most, left: AtomicUsize::new(most) }
    }

    fn take(&self, number: usize) -> Result<(), PollError> {
        let taken = self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(number));
        taken.map(|_| ()).map_err(|_| PollError::TooMany { what: self.what, most: self.most })
    }
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            requests: Left::new("requests", limits.requests),
            bytes: Left::new("bytes", limits.bytes),
            items: Left::new("entries", limits.items),
        }
    }

    pub(crate) fn request(&self) -> Result<(), PollError> {
        self.requests.take(1)
    }

    pub(crate) fn bytes(&self, number: usize) -> Result<(), PollError> {
        self.bytes.take(number)
    }

    pub(crate) fn items(&self, number: usize) -> Result<(), PollError> {
        self.items.take(number)
    }
}
