//! The thread of a sender: it waits for a message, connects, writes, and repeats with growing pauses.

use std::{
    io::{self, ErrorKind},
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use retry::{Attempts, table};

use super::{destination::Destination, dial::dial, shared::Shared, stream::Stream};
use crate::Message;

/// How long a connection may take, for each address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the receiver may take for a part of a message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;
/// A connection that has lasted so long was a success: the next pause is the shortest. One that is accepted and closed at
/// once, for a wrong secret perhaps, must not be repeated without a pause.
const PROVEN: Duration = Duration::from_secs(5);
/// What is kept of the buffer for a line, in bytes.
const KEPT: usize = 1 << 20;

pub(super) struct Worker {
    destination: Destination,
    shared: Arc<Shared>,
    /// The line that is written.
    line: Vec<u8>,
}

impl Worker {
    pub(super) fn new(destination: Destination, shared: Arc<Shared>) -> Self {
        Self { destination, shared, line: Vec::new() }
    }

    /// Sends until the host has dropped its sender.
    pub(super) fn run(mut self) {
        let mut attempts = Attempts::new(table::PEER_SENDER);
        while self.wait_for_message() {
            match self.connect() {
                Ok(stream) => {
                    let since = Instant::now();
                    self.shared.is_connected.store(true, Ordering::Relaxed);
                    self.shared.outbox().counts.connections += 1;
                    let ended = self.serve(stream);
                    self.shared.is_connected.store(false, Ordering::Relaxed);
                    if ended.is_ok() {
                        return;
                    }
                    if since.elapsed() >= PROVEN {
                        attempts.succeeded();
                    }
                }
                Err(_) => self.shared.is_connected.store(false, Ordering::Relaxed),
            }
            self.shared.outbox().counts.failures += 1;
            self.pause(attempts.failed());
        }
    }

    /// Waits for a message; false if the sender was dropped.
    fn wait_for_message(&self) -> bool {
        loop {
            {
                let outbox = self.shared.outbox();
                if outbox.is_closed {
                    return false;
                }
                if !outbox.is_empty() {
                    return true;
                }
            }
            // A call that comes in between is not lost: `park` then returns at once.
            thread::park();
        }
    }

    /// Waits for a time. New messages don't shorten it.
    fn pause(&self, pause: Duration) {
        let until = Instant::now() + pause;
        while !self.shared.outbox().is_closed {
            match until.checked_duration_since(Instant::now()) {
                Some(left) if !left.is_zero() => thread::park_timeout(left),
                _ => return,
            }
        }
    }

    fn connect(&mut self) -> io::Result<Stream> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in self.destination.address.to_socket_addrs()?.take(MOST_ADDRESSES) {
            let socket = dial(address, self.destination.from, CONNECT_TIMEOUT);
            match socket.and_then(|socket| self.opened(socket)) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Makes a connection ready for messages.
    fn opened(&mut self, socket: TcpStream) -> io::Result<Stream> {
        socket.set_write_timeout(Some(WRITE_TIMEOUT))?;
        // A message is one write; waiting for more would delay it.
        socket.set_nodelay(true)?;
        #[cfg(feature = "tls")]
        let mut stream = match &self.destination.tls {
            Some(tls) => Stream::Secured(Box::new(tls.connect(socket)?)),
            None => Stream::Plain(socket),
        };
        #[cfg(not(feature = "tls"))]
        let mut stream = Stream::Plain(socket);
        if let Some(secret) = &self.destination.secret {
            self.line.clear();
            self.line.extend_from_slice(secret.line());
            self.line.push(b'\n');
            stream.write(&self.line)?;
        }
        Ok(stream)
    }

    /// Writes messages until the sender is dropped (`Ok`) or the connection fails.
    fn serve(&mut self, mut stream: Stream) -> io::Result<()> {
        while self.wait_for_message() {
            let Some(message) = self.shared.outbox().take() else { continue };
            let written = self.write(&mut stream, &message);
            let dropped = match &written {
                Ok(()) => {
                    self.shared.outbox().counts.sent += 1;
                    Some(message)
                }
                Err(_) => self.shared.outbox().put_back(message),
            };
            // A large picture takes a while to drop: not while the outbox is locked.
            drop(dropped);
            written?;
        }
        stream.end();
        Ok(())
    }

    fn write(&mut self, stream: &mut Stream, message: &Message) -> io::Result<()> {
        // Before the JSON is made: the first write to a connection that the receiver has closed would succeed, and the
        // message would be lost.
        stream.look_for_end()?;
        self.line.clear();
        message.write_line(self.destination.tagging, &mut self.line);
        let written = stream.write(&self.line);
        if self.line.capacity() > KEPT {
            self.line = Vec::new();
        }
        written
    }
}
