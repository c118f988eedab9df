//! A connection for bytes that no well-behaved sender writes.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};

use super::target::Target;

/// How long a connection, or a write, may take.
const WITHIN: Duration = Duration::from_secs(5);

/// A connection that is made when there is something to write, and again after it broke.
#[derive(Debug, Default)]
pub(super) struct Raw {
    stream: Option<TcpStream>,
    /// How often it was made.
    pub(super) connections: u64,
    /// How often it could not be made, or broke.
    pub(super) failures: u64,
}

impl Raw {
    /// Writes bytes, on a new connection where there is none, behind its first line; whether the system took them all.
    pub(super) async fn write(&mut self, target: &Target, bytes: &[u8]) -> bool {
        let written = timeout(WITHIN, self.try_write(target, bytes)).await;
        let is_written = matches!(written, Ok(Ok(())));
        if !is_written {
            self.failures += 1;
            self.stream = None;
        }
        is_written
    }

    /// Ends the connection.
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    async fn try_write(&mut self, target: &Target, bytes: &[u8]) -> io::Result<()> {
        if self.stream.as_ref().is_some_and(has_ended) {
            self.stream = None;
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            None => {
                let mut stream = connect(&target.destination.address, target.destination.from).await?;
                self.connections += 1;
                if let Some(line) = &target.first_line {
                    stream.write_all(&[line.as_bytes(), b"\n"].concat()).await?;
                }
                self.stream.insert(stream)
            }
        };
        stream.write_all(bytes).await
    }
}

/// Whether the receiver has closed the connection. It sends nothing, so all that can be read is the end.
fn has_ended(stream: &TcpStream) -> bool {
    match stream.try_read(&mut [0; 64]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

async fn connect(to: &str, from: Option<IpAddr>) -> io::Result<TcpStream> {
    let fits = |to: &SocketAddr| from.is_none_or(|from| from.is_ipv4() == to.is_ipv4());
    let to = lookup_host(to).await?.find(fits).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(from) = from {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
