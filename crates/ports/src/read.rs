//! Reads what has arrived.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    task::{Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads at most `most` bytes; none at the end of the stream.
///
/// The buffer is made when bytes may be there and is freed when there are none: a connection that waits holds no buffer, so a thousand idle
/// ones cost nothing here. To make one costs less than a system call.
///
/// # Errors
/// The stream's.
pub async fn read_some(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut bytes = Vec::with_capacity(most);
        // This future keeps nothing between two polls, so a new one each time loses no byte.
        ready!(pin!((&mut *stream).take(most as u64).read_buf(&mut bytes)).poll(cx))?;
        Poll::Ready(Ok(bytes))
    })
    .await
}
