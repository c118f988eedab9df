//! The connection of a sender: bare TCP, or TLS over it.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
};

#[cfg(feature = "tls")]
use super::tls::Secured;

/// A connection. Writes wait for the receiver within the timeout of the socket.
pub(super) enum Stream {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Secured(Box<Secured>),
}

impl Stream {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(socket) => socket,
            #[cfg(feature = "tls")]
            Self::Secured(secured) => secured.get_ref(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            #[cfg(feature = "tls")]
            Self::Secured(secured) => secured.read(buffer),
        }
    }

    /// Writes all of this, and gives it to the network.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.write_all(bytes),
            // A write reports no error of the network that it meets; the flush does.
            #[cfg(feature = "tls")]
            Self::Secured(secured) => secured.write_all(bytes).and_then(|()| secured.flush()),
        }
    }

    /// Fails if the receiver has closed the connection. It sends nothing, so what comes is passed over.
    pub(super) fn look_for_end(&mut self) -> io::Result<()> {
        self.socket().set_nonblocking(true)?;
        let read = self.read(&mut [0; 256]);
        self.socket().set_nonblocking(false)?;
        match read {
            Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Says goodbye, where the protocol has a word for it.
    pub(super) fn end(self) {
        match self {
            Self::Plain(socket) => drop(socket),
            #[cfg(feature = "tls")]
            Self::Secured(mut secured) => {
                secured.conn.send_close_notify();
                // The receiver may be gone; then it needs no goodbye.
                let _ = secured.flush();
            }
        }
    }
}
