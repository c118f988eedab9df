//! The thread of a sender: it waits for a message, connects, writes, and repeats with growing pauses.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use retry::{Attempts, table};

use super::{destination::Destination, shared::Shared};
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

    fn connect(&mut self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(ErrorKind::NotFound);
        for address in self.destination.address.to_socket_addrs()?.take(MOST_ADDRESSES) {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(mut stream) => {
                    stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
                    // A message is one write; waiting for more would delay it.
                    stream.set_nodelay(true)?;
                    if let Some(secret) = &self.destination.secret {
                        self.line.clear();
                        self.line.extend_from_slice(secret.line());
                        self.line.push(b'\n');
                        stream.write_all(&self.line)?;
                    }
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Writes messages until the sender is dropped (`Ok`) or the connection fails.
    fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
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
        Ok(())
    }

    fn write(&mut self, stream: &mut TcpStream, message: &Message) -> io::Result<()> {
        // Before the JSON is made: the first write to a connection that the receiver has closed would succeed, and the
        // message would be lost.
        look_for_end(stream)?;
        self.line.clear();
        message.write_line(self.destination.tagging, &mut self.line);
        let written = stream.write_all(&self.line);
        if self.line.capacity() > KEPT {
            self.line = Vec::new();
        }
        written
    }
}

/// Fails if the receiver has closed the connection. It sends nothing, so what comes is passed over.
fn look_for_end(stream: &mut TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let read = stream.read(&mut [0; 256]);
    stream.set_nonblocking(false)?;
    match read {
        Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(error) => Err(error),
    }
}
