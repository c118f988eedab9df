//! A client's WebSocket: one task that reads, sends and waits for the application, as one small future.
//!
//! What is rare is kept in a box, and no buffer is held while nothing arrives: a client that waits costs little more than its socket.

use std::{
    collections::VecDeque,
    io::IoSlice,
    mem::MaybeUninit,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::{
    application::Application,
    connection::Connection,
    ending::Ending,
    frame::{BadFrame, Reader, Received, close, pong},
    message::Message,
    outbox::Bounds,
    packet::{BadPacket, Frame},
    server::{Server, Work},
    stream::Stream,
};

/// What one system call reads.
const READ: usize = 4 << 10;
/// What is taken from what waits to be sent by one system call.
const BATCH: Bounds = Bounds { messages: 16, bytes: 64 << 10 };

/// A client's WebSocket, as a future that ends with the connection.
pub(crate) struct Driver<A: Application> {
    server: Arc<Server<A>>,
    connection: Arc<Connection<A::Client>>,
    stream: Stream,
    reader: Reader,
    sending: VecDeque<Message>,
    /// The bytes of the first one that are sent.
    sent: usize,
    work: Option<Work>,
    /// Whether the closing frame is among what is sent.
    is_closing: bool,
}

impl<A: Application> Driver<A> {
    /// Drives a connection over `stream`, from which the reader may have bytes already.
    pub(crate) fn new(
        server: Arc<Server<A>>,
        connection: Arc<Connection<A::Client>>,
        stream: Stream,
        reader: Reader,
    ) -> Self {
        Self {
            server,
            connection,
            stream,
            reader,
            sending: VecDeque::new(),
            sent: 0,
            work: None,
            is_closing: false,
        }
    }

    /// Sends what waits. Ready when nothing waits, with an error where the connection is broken.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        loop {
            if self.sending.is_empty() {
                self.sending = VecDeque::new();
                self.connection.take(BATCH, &mut self.sending, cx);
                if self.sending.is_empty() {
                    // TLS has a buffer of its own.
                    return Pin::new(&mut self.stream).poll_flush(cx).map_err(|_| Ending::Broken);
                }
            }
            let mut parts = [IoSlice::new(&[]); BATCH.messages];
            for (part, message) in parts.iter_mut().zip(&self.sending) {
                *part = IoSlice::new(message.frame());
            }
            let count = self.sending.len().min(BATCH.messages);
            if let Some(first) = parts.first_mut() {
                first.advance(self.sent);
            }
            let written =
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, parts.get(..count).unwrap_or(&[])));
            match written {
                Ok(0) | Err(_) => return Poll::Ready(Err(Ending::Broken)),
                Ok(bytes) => self.advance(bytes),
            }
        }
    }

    /// Forgets what was sent.
    fn advance(&mut self, bytes: usize) {
        self.sent += bytes;
        while let Some(first) = self.sending.front().map(|first| first.frame().len())
            && self.sent >= first
        {
            self.sent -= first;
            self.sending.pop_front();
        }
    }

    /// Reads until something is complete.
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, Ending>> {
        loop {
            match self.reader.next(self.server.settings().max_payload) {
                Ok(Some(received)) => return Poll::Ready(Ok(received)),
                Ok(None) => {}
                Err(bad) => return Poll::Ready(Err(self.refuse(bad))),
            }
            let mut place = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut place);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Err(Ending::Broken)),
                Ok(()) => self.reader.add(buffer.filled()),
                Err(_) => return Poll::Ready(Err(Ending::Broken)),
            }
        }
    }

    /// Sends the reason for which the connection ends.
    fn refuse(&mut self, bad: BadFrame) -> Ending {
        self.connection.send_first(Message::control(close(bad.status(), &bad.to_string())));
        self.is_closing = true;
        Ending::Protocol
    }

    fn take(&mut self, received: Received) -> Result<(), Ending> {
        match received {
            Received::Ping(content) => {
                self.connection.send_first(Message::control(pong(&content)));
                Ok(())
            }
            Received::Close => Err(Ending::Client),
            Received::Text(text) => {
                let taken = Frame::parse(&text).and_then(|frame| self.server.take(&self.connection, frame));
                self.work = taken.map_err(|bad| match bad {
                    BadPacket::Binary => self.refuse(BadFrame::Binary),
                    _ => self.refuse(BadFrame::Protocol),
                })?;
                Ok(())
            }
        }
    }

    /// What remains once the connection ends: the closing frame, if there is time for it.
    fn poll_end(&mut self, why: Ending, cx: &mut Context<'_>) -> Poll<Ending> {
        if !why.flushes() || self.connection.is_over(Instant::now()) {
            return Poll::Ready(why);
        }
        // The tick of the server wakes it too, so that a client that does not read is left.
        self.connection.register(cx);
        let is_sent = self.poll_send(cx).map(|sent| sent.is_err());
        match is_sent {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(true) => return Poll::Ready(why),
            Poll::Ready(false) if self.is_closing => {}
            Poll::Ready(false) => {
                self.is_closing = true;
                let status = if why == Ending::Restarting { 1001 } else { 1000 };
                self.sending.push_back(Message::control(close(status, why.name())));
                if self.poll_send(cx).is_pending() {
                    return Poll::Pending;
                }
            }
        }
        let _ = Pin::new(&mut self.stream).poll_shutdown(cx);
        Poll::Ready(why)
    }
}

impl<A: Application> Future for Driver<A> {
    type Output = Ending;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ending> {
        // No field is pinned.
        let this = self.get_mut();
        loop {
            if let Some(why) = this.connection.ending() {
                this.work = None;
                return this.poll_end(why, cx);
            }
            // What is queued from here on, or ends the connection, wakes this task.
            this.connection.register(cx);
            if let Poll::Ready(Err(why)) = this.poll_send(cx) {
                this.connection.end(why);
                continue;
            }
            if let Some(work) = this.work.as_mut() {
                ready!(work.as_mut().poll(cx));
                this.work = None;
                continue;
            }
            match this.poll_received(cx) {
                // A message may have been queued, or the connection ended, since this task registered.
                Poll::Pending => return Poll::Pending,
                Poll::Ready(received) => {
                    if let Err(why) = received.and_then(|received| this.take(received)) {
                        this.connection.end(why);
                    }
                }
            }
        }
    }
}

impl<A: Application> Drop for Driver<A> {
    fn drop(&mut self) {
        // Also where the task is aborted: the application must hear of each end.
        self.server.close(&self.connection, Ending::Broken);
    }
}
