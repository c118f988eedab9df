//! How much the system holds of what a client has sent and nobody has read.

use std::io;

use socket2::SockRef;
use tokio::net::TcpStream;

/// Limits what the system holds of a connection to about this many bytes. Left alone it holds up to 6 MB on Linux, in memory that no
/// limit of ours counts, and a client that is read slowly has that much on its way.
///
/// # Errors
/// The system's.
pub fn limit_received(stream: &TcpStream, bytes: usize) -> io::Result<()> {
    SockRef::from(stream).set_recv_buffer_size(bytes)
}
