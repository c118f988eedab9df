//! Bounds what a server may send in answer to one request, and so the memory that a hostile or broken server can take.
//!
//! The client library reads an answer as a whole before it returns it. So the bytes are counted where they are read, between the
//! client library and the stream, after decryption. A server that exceeds the limit loses its connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use redis::RedisError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The limit of what a server may send in answer to one request, in bytes. It is ten times of what a pass reads from one
/// server at once: the keys of 1,000 epochs under four spellings. A page of 10,000 entries takes a fiftieth of it.
pub(crate) const ANSWER_BYTES: usize = 64 << 20;
/// What a line of an answer counts beside its bytes: each line can begin a value, and a value takes more memory than its bytes, such
/// as `:1` does.
const LINE_WEIGHT: usize = 32;

/// The error of a server that exceeded the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server sent more than {limit} bytes in answer to one request")]
pub(crate) struct AnswerTooLarge {
    limit: usize,
}

/// Counts what a server has sent since the last request.
pub(crate) struct AnswerLimit {
    limit: usize,
    used: AtomicUsize,
    is_exceeded: AtomicBool,
    /// The error that is all that the server has said so far.
    only_words: Mutex<Option<String>>,
    has_spoken: AtomicBool,
}

impl AnswerLimit {
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            is_exceeded: AtomicBool::new(false),
            only_words: Mutex::default(),
            has_spoken: AtomicBool::new(false),
        })
    }

    /// Begins a request.
    pub(crate) fn reset(&self) {
        self.used.store(0, Relaxed);
    }

    /// The limit's error if it is what ended the connection, and otherwise this one. The client library passes on that a connection
    /// ended, and not always why.
    pub(crate) fn explain(&self, error: RedisError) -> RedisError {
        if self.is_exceeded.load(Relaxed) {
            return io::Error::from(self.too_large()).into();
        }
        let is_of_connection = error.is_connection_dropped() || error.is_io_error();
        match self.only_words().take_if(|_| is_of_connection) {
            // A server with too many clients says so at once, and closes. The client library tells only that it closed.
            Some(words) => match redis::parse_redis_value(words.as_bytes()) {
                Ok(redis::Value::ServerError(said)) => said.into(),
                _ => error,
            },
            None => error,
        }
    }

    /// Keeps the first words of the server if they are one error, until it says more.
    fn hear(&self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let is_first = !self.has_spoken.swap(true, Relaxed);
        let is_error =
            bytes.starts_with(b"-") && bytes.iter().position(|byte| *byte == b'\n') == Some(bytes.len() - 1);
        let words = (is_first && is_error).then(|| String::from_utf8_lossy(bytes).into_owned());
        // After the first words nothing is kept any more.
        if is_first || self.only_words().is_some() {
            *self.only_words() = words;
        }
    }

    fn only_words(&self) -> MutexGuard<'_, Option<String>> {
        self.only_words.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn too_large(&self) -> AnswerTooLarge {
        AnswerTooLarge::of(self.limit)
    }

    fn count(&self, bytes: &[u8]) -> Result<(), AnswerTooLarge> {
        let lines = memchr::memchr_iter(b'\n', bytes).count();
        let weight = bytes.len() + lines * LINE_WEIGHT;
        // Only the connection's own task reads, so no other thread adds in between.
        if self.used.fetch_add(weight, Relaxed) + weight <= self.limit {
            return Ok(());
        }
        self.is_exceeded.store(true, Relaxed);
        Err(self.too_large())
    }
}

impl AnswerTooLarge {
    /// The error of this limit, in bytes.
    pub(super) fn of(limit: usize) -> Self {
        Self { limit }
    }
}

impl From<AnswerTooLarge> for io::Error {
    fn from(error: AnswerTooLarge) -> Self {
        // A kind after which the client library ends the connection.
        Self::new(io::ErrorKind::ConnectionAborted, error)
    }
}

/// A stream whose reads are counted.
pub(crate) struct Limited<S> {
    stream: S,
    limit: Arc<AnswerLimit>,
}

impl<S> Limited<S> {
    pub(crate) fn new(stream: S, limit: Arc<AnswerLimit>) -> Self {
        Self { stream, limit }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Limited<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        let read = &buffer.filled()[before..];
        self.limit.hear(read);
        Poll::Ready(self.limit.count(read).map_err(io::Error::from))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Limited<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        Poll::Ready(left_to_the_reader(written, bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(left_to_the_reader(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Takes what could not be sent to a server that has closed the connection as sent: what the server said before is still to be read, and
/// behind it the end of the connection. The client library reads nothing more after an error of writing.
fn left_to_the_reader<T>(sent: io::Result<T>, as_sent: T) -> io::Result<T> {
    let is_closed = |error: &io::Error| {
        matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
    };
    match sent {
        Err(error) if is_closed(&error) => Ok(as_sent),
        sent => sent,
    }
}
