//! Work that waits for a disk, in a thread that may wait.
//!
//! The one place where an actor starts something that can outlive it, since a thread can't be stopped. Promise: such work ends by
//! itself, and gives back what it owns, such as a file, when it does; until then the next incarnation of its actor is refused that.

use supervision::Failure;
use tokio::task::spawn_blocking;

/// Does this work in a thread of its own.
///
/// # Errors
/// A panic within the work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    Ok(spawn_blocking(work).await?)
}
