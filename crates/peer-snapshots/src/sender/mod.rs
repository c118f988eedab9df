//! Sends the newest pictures of a host, and costs it nothing when the receiver is away.
//!
//! One thread, the standard library and no runtime: a host may use any runtime or none, and what the network does never
//! touches the host's own tasks. [`Sender::send`] puts a picture into the place of its kind and returns; the thread writes
//! JSON only when it can send it. While the receiver is away, a new picture replaces the one before, unwritten.

mod connection;
mod destination;
mod dial;
mod outbox;
mod shared;
mod stream;
#[cfg(feature = "tls")]
mod tls;

use std::{
    fmt, io,
    sync::{Arc, atomic::Ordering},
    thread,
};

use crate::Message;
use connection::Worker;
pub use destination::{Destination, Secret};
pub use outbox::SenderCounts;
use shared::Shared;
#[cfg(feature = "tls")]
pub use tls::{BadTls, ClientTls};

/// Sends the newest pictures to one receiver. Its thread ends when it is dropped; what is unsent is dropped too.
pub struct Sender {
    shared: Arc<Shared>,
    thread: thread::Thread,
}

impl Sender {
    /// Starts the thread. It connects when there is something to send, and again, with growing pauses, after a failure.
    ///
    /// # Errors
    /// The system's, if it starts no thread.
    pub fn start(destination: Destination) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(destination, Arc::clone(&shared));
        let thread = thread::Builder::new().name("peer-snapshots".to_owned()).spawn(move || worker.run())?;
        Ok(Self { shared, thread: thread.thread().clone() })
    }

    /// Sends a message as soon as the receiver takes it, unless a newer one of its kind comes first.
    ///
    /// Never blocks and never fails. A retired event is ignored. Quotes are no pictures: the last 64 of them wait.
    pub fn send(&self, message: Message) {
        let replaced = self.shared.outbox().put(message);
        self.thread.unpark();
        // Here, since a large picture takes a while to drop, and the outbox is unlocked now.
        drop(replaced);
    }

    /// Whether the receiver is there. A host may save itself the making of a picture otherwise.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.shared.is_connected.load(Ordering::Relaxed)
    }

    /// What was done since the start.
    #[must_use]
    pub fn counts(&self) -> SenderCounts {
        self.shared.outbox().counts
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.shared.outbox().is_closed = true;
        self.thread.unpark();
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("is_connected", &self.is_connected()).finish_non_exhaustive()
    }
}
