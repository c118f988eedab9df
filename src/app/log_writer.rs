//! The output of the log: a bounded queue, and a thread that writes from it.
//!
//! Logging only enqueues: it never waits for the reader of the log, and never fails. If the reader is too slow, the oldest
//! lines are dropped; a line that can't be written is dropped too. Dropped lines are counted, and a notice with their number is
//! written in their place once writing works again. Only the thread touches the sink.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use retry::table::LOG_WRITER;

use super::bar::Frame;

/// How many lines may wait.
const MAX_LINES: usize = 4_096;
/// How many bytes of lines may wait.
const MAX_BYTES: usize = 1 << 20;

/// The destination of the lines, and of the progress bar below them.
pub(super) trait Sink: io::Write + Send + 'static {
    /// Draws the bar, or removes it.
    fn draw(&mut self, frame: Option<&Frame>);
}

/// The queue. Clones share it; its thread ends with the process.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a line or a frame was enqueued.
    filled: Condvar,
    /// Signalled when a line or a frame was written or dropped.
    settled: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The next frame of the bar, if one waits; `Some(None)` removes the bar. A newer frame replaces it.
    frame: Option<Option<Frame>>,
    /// How many lines and frames were ever enqueued.
    accepted: u64,
    /// How many of them were written or dropped. `flush` waits until it reaches `accepted` as it was at the call.
    settled: u64,
    /// How many lines were ever dropped.
    dropped: u64,
    /// How many of them no notice has reported yet.
    unreported: u64,
}

impl Queue {
    fn drop_line(&mut self) {
        self.settled += 1;
        self.dropped += 1;
        self.unreported += 1;
    }
}

/// The next step of the thread.
enum Work {
    /// A line, and how many dropped lines to report before it.
    Line(Vec<u8>, u64),
    Draw(Option<Frame>),
}

impl LogWriter {
    /// Starts the thread. `notice` formats the line that reports dropped lines.
    ///
    /// # Errors
    /// The thread could not be started.
    pub(super) fn start(
        sink: impl Sink,
        notice: impl Fn(u64) -> Vec<u8> + Send + 'static,
    ) -> io::Result<Self> {
        let writer = Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            settled: Condvar::new(),
        }));
        let shared = writer.0.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || shared.write(sink, notice))?;
        Ok(writer)
    }

    /// Enqueues a line, which includes its line break.
    pub(super) fn line(&self, line: Vec<u8>) {
        let mut queue = self.0.queue();
        let dropped = queue.dropped;
        queue.accepted += 1;
        // Such a line would never fit: without this check the loop below would drop every other line first.
        if line.len() > MAX_BYTES {
            queue.drop_line();
        } else {
            while queue.lines.len() >= MAX_LINES || queue.bytes + line.len() > MAX_BYTES {
                // The oldest goes first: when something is wrong, the newest lines explain the present state.
                let Some(oldest) = queue.lines.pop_front() else { break };
                queue.bytes -= oldest.len();
                queue.drop_line();
            }
            queue.bytes += line.len();
            queue.lines.push_back(line);
        }
        // Only the log's thread waits for this condition, so one notification is enough.
        self.0.filled.notify_one();
        // A dropped line settles: a waiting `flush` may be satisfied without any write.
        if queue.dropped > dropped {
            self.0.settled.notify_all();
        }
    }

    /// Draws the bar below the lines, or removes it. It replaces a frame that still waits.
    pub(super) fn draw(&self, frame: Option<Frame>) {
        let mut queue = self.0.queue();
        queue.accepted += 1;
        // The replaced frame will never be drawn: it counts as settled, or `flush` would wait for it until its deadline.
        queue.settled += u64::from(queue.frame.replace(frame).is_some());
        self.0.filled.notify_one();
    }

    /// Waits until everything that was enqueued before the call is written or dropped. `false` if `within` passed first.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut queue = self.0.queue();
        // Later lines don't count: busy actors could keep a flush waiting for ever.
        let target = queue.accepted;
        while queue.settled < target {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.0.settled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// How many lines were dropped so far, since the queue was full or a write failed.
    pub(super) fn dropped(&self) -> u64 {
        self.0.queue().dropped
    }
}

impl Shared {
    /// Locks the queue. No caller holds it over a write, so nobody waits for the reader of the log.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic in a logging thread poisons the lock, but every change of the queue is complete before anything can panic.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, sink: impl Sink, notice: impl Fn(u64) -> Vec<u8>) {
        let mut out = Out { sink, torn: false };
        loop {
            match self.next() {
                Work::Line(line, unreported) => {
                    // The notice goes first, in the place of the lines that are missing. If it fails, the line is dropped too.
                    let reported = unreported == 0 || out.line(notice(unreported));
                    let written = reported && out.line(line);
                    let mut queue = self.queue();
                    if reported {
                        // Subtracted, not set to 0: more lines may have been dropped during the write.
                        queue.unreported -= unreported;
                    }
                    if written {
                        queue.settled += 1;
                    } else {
                        queue.drop_line();
                    }
                }
                Work::Draw(frame) => {
                    out.sink.draw(frame.as_ref());
                    self.queue().settled += 1;
                }
            }
            self.settled.notify_all();
        }
    }

    fn next(&self) -> Work {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                queue.bytes -= line.len();
                // Lines before frames: the bar is below the lines, and a frame between two lines of a burst would flicker.
                return Work::Line(line, queue.unreported);
            }
            if let Some(frame) = queue.frame.take() {
                return Work::Draw(frame);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The sink, and whether the last line in it was cut off.
struct Out<S> {
    sink: S,
    torn: bool,
}

impl<S: Sink> Out<S> {
    /// Writes a line. `false` if not all of it was written.
    fn line(&mut self, mut line: Vec<u8>) -> bool {
        if self.torn {
            // The rest of the cut line is lost. A line break keeps the next one parseable.
            line.insert(0, b'\n');
        }
        let written = self.put(&line);
        if written > 0 {
            // The inserted line break alone ends the cut line. Only if bytes after it were written is a new line cut off.
            self.torn = written > usize::from(self.torn) && written < line.len();
        }
        written == line.len()
    }

    /// Writes as much of it as possible, and returns the number of bytes.
    fn put(&mut self, line: &[u8]) -> usize {
        let (mut written, mut retries) = (0, 0);
        while written < line.len() {
            match self.sink.write(&line[written..]) {
                Ok(0) => break,
                Ok(some) => (written, retries) = (written + some, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Standard error is shared with other processes, and any of them can set O_NONBLOCK on it.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && retries < LOG_WRITER.attempts => {
                    retries += 1;
                    thread::sleep(LOG_WRITER.first);
                }
                Err(_) => break,
            }
        }
        written
    }
}

#[cfg(test)]
mod tests;
