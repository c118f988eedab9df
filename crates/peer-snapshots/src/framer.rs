//! From bytes to lines, in bounded memory.

/// The longest line that is read, in bytes without its end.
pub const MAX_LINE: usize = 8 << 20;
/// A line of so many times the limit without an end closes its connection.
pub const ENDLESS: usize = 4;
/// What is kept for the next line, in bytes. A thousand idle connections must not hold a thousand large buffers.
const KEPT: usize = 4 << 10;

/// Finds the lines in the bytes of a connection, wherever packets split them.
///
/// Lines end with LF or CRLF. Empty ones are passed over. A line over the limit is counted and skipped: of it no byte is
/// kept. Memory stays below the limit, and between two lines below 4 KiB.
///
/// ```
/// use peer_snapshots::{Frame, Framer, MAX_LINE};
///
/// let mut framer = Framer::new(MAX_LINE);
/// let mut lines = Vec::new();
/// for packet in [&b"on"[..], b"e\r\ntwo\nthr"] {
///     let mut input = packet;
///     while let Some(frame) = framer.next(&mut input)? {
///         if let Frame::Line(line) = frame {
///             lines.push(line.to_vec());
///         }
///     }
/// }
/// assert_eq!(lines, [&b"one"[..], b"two"]);
/// # Ok::<(), peer_snapshots::Endless>(())
/// ```
#[derive(Debug)]
pub struct Framer {
    max_line: usize,
    /// The beginning of a line whose end has not come, or the line that was returned last.
    buffer: Vec<u8>,
    /// Whether the buffer was returned, so that its content is over.
    is_returned: bool,
    /// The bytes of the present line; more than the limit while it is skipped.
    length: usize,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A line, without its end.
    Line(&'a [u8]),
    /// A line over the limit was skipped; with its length in bytes.
    TooLong(usize),
}

/// A line is four times as long as the limit and has no end: the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a line of more than {0} bytes has no end")]
pub struct Endless(pub usize);

impl Framer {
    /// A framer for lines of at most `max_line` bytes.
    #[must_use]
    pub fn new(max_line: usize) -> Self {
        Self { max_line, buffer: Vec::new(), is_returned: false, length: 0 }
    }

    /// The next line. It takes from `input` what it has used; `None` when `input` is used up.
    ///
    /// # Errors
    /// [`Endless`] if the connection must be closed.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'a>>, Endless> {
        if self.is_returned {
            self.is_returned = false;
            self.buffer.clear();
            if self.buffer.capacity() > KEPT {
                self.buffer = Vec::new();
            }
        }
        loop {
            let Some(end) = memchr::memchr(b'\n', input) else {
                return self.keep(input).map(|()| None);
            };
            let (part, rest) = (&input[..end], &input[end + 1..]);
            *input = rest;
            let length = self.length + part.len();
            self.length = 0;
            let is_whole = self.buffer.is_empty() && length == part.len();
            let is_kept = !self.buffer.is_empty() && length == self.buffer.len() + part.len();
            if is_whole {
                let line = part.strip_suffix(b"\r").unwrap_or(part);
                if line.len() > self.max_line {
                    return self.skipped(length);
                }
                if !line.is_empty() {
                    return Ok(Some(Frame::Line(line)));
                }
            } else if is_kept && length <= self.max_line + 1 {
                self.extend(part);
                let line = self.buffer.strip_suffix(b"\r").unwrap_or(&self.buffer).len();
                if line > self.max_line {
                    self.buffer = Vec::new();
                    return self.skipped(length);
                }
                if line > 0 {
                    self.is_returned = true;
                    return Ok(Some(Frame::Line(&self.buffer[..line])));
                }
                self.buffer.clear();
            } else {
                self.buffer = Vec::new();
                return self.skipped(length);
            }
        }
    }

    /// How many bytes of an unfinished line have come.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.length
    }

    /// What has come of an unfinished line; nothing while a line is skipped.
    #[must_use]
    pub fn unfinished_line(&self) -> &[u8] {
        if self.is_returned { &[] } else { &self.buffer }
    }

    /// How much memory it holds, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.buffer.capacity()
    }

    fn skipped(&self, length: usize) -> Result<Option<Frame<'static>>, Endless> {
        if length > self.endless() { Err(Endless(self.endless())) } else { Ok(Some(Frame::TooLong(length))) }
    }

    fn endless(&self) -> usize {
        self.max_line.saturating_mul(ENDLESS)
    }

    /// Keeps the beginning of a line.
    fn keep(&mut self, input: &mut &[u8]) -> Result<(), Endless> {
        let part = std::mem::take(input);
        self.length += part.len();
        // One more than the limit: it may be the CR of the end.
        if self.length <= self.max_line + 1 {
            self.extend(part);
        } else {
            self.buffer = Vec::new();
            if self.length > self.endless() {
                return Err(Endless(self.endless()));
            }
        }
        Ok(())
    }

    /// Appends to the buffer, which grows to the limit and no further.
    fn extend(&mut self, part: &[u8]) {
        let needed = self.buffer.len() + part.len();
        if needed > self.buffer.capacity() {
            let capacity = needed.max(self.buffer.capacity() * 2).min(self.max_line + 1);
            self.buffer.reserve_exact(capacity - self.buffer.len());
        }
        self.buffer.extend_from_slice(part);
    }
}
