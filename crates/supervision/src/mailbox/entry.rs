//! A message in a mailbox.

/// A message with what the mailbox knows about it.
pub(super) struct Entry<M> {
    pub(super) message: M,
    pub(super) weight: usize,
    pub(super) sequence: u64,
    pub(super) attempts: u32,
    pub(super) accepted_at: u64,
    /// It came by an edge that drops the oldest: newer ones of such edges may take its place.
    pub(super) droppable: bool,
}
