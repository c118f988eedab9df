//! What happens to a message that does not fit, and what its sender learns.

use std::fmt;

use serde::Serialize;

/// What an edge does when the mailbox is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Overflow {
    /// The sender waits: backpressure.
    Wait,
    /// The message is merged into the newest waiting message that accepts it, else refused: the sender never waits.
    Coalesce,
    /// The message is merged into the newest waiting message that accepts it, else the sender waits.
    CoalesceOrWait,
    /// The oldest waiting messages are dropped, and counted.
    DropOldest,
}

impl Overflow {
    /// Whether a sender may have to wait. Such edges must form no cycle.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Wait | Self::CoalesceOrWait)
    }

    /// Whether a message may be merged into a waiting one.
    pub(super) fn merges(self) -> bool {
        matches!(self, Self::Coalesce | Self::CoalesceOrWait)
    }
}

/// How a message was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It has a place of its own.
    Queued,
    /// It was merged into a waiting message.
    Coalesced,
    /// It was queued, and this many older messages were dropped for it.
    Displaced(usize),
}

/// Why a message was not accepted. The error contains the message.
#[derive(thiserror::Error)]
pub enum SendError<M> {
    /// The mailbox is full: `try_send` does not wait, and on an edge that coalesces no waiting message accepted it.
    #[error("the mailbox is full: send it again later, or wait with `send` on an edge that waits")]
    Full(M),
    /// The message alone exceeds the byte limit of the mailbox.
    #[error(
        "the message of {weight} bytes is larger than its mailbox ({limit} bytes): raise the mailbox's byte limit"
    )]
    TooLarge {
        /// The refused message.
        message: M,
        /// Its weight in bytes.
        weight: usize,
        /// The mailbox's byte limit.
        limit: usize,
    },
    /// The mailbox is closed: its actor is being stopped for good.
    #[error("the mailbox is closed: its actor has been stopped")]
    Closed(M),
}

impl<M> fmt::Debug for SendError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_message_need_not_be_shown_to_show_why_it_was_refused() {
        struct Hidden;
        let shown = |error: SendError<Hidden>| (format!("{error:?}"), error.to_string());
        for error in [SendError::Full(Hidden), SendError::Closed(Hidden)] {
            let (debug, text) = shown(error);
            assert_eq!(debug, text);
            assert!(text.starts_with("the mailbox is"), "{text}");
        }
        let (debug, _) = shown(SendError::TooLarge { message: Hidden, weight: 9, limit: 5 });
        assert!(debug.contains("of 9 bytes") && debug.contains("(5 bytes)"), "{debug}");
    }
}
