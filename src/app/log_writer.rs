//! The log's way out: a bounded queue, and a thread that writes from it.
//!
//! To log is to enqueue: it never waits for the reader of the log, and never fails. When the reader is too slow the oldest
//! lines are dropped, and a line that can't be written is dropped too. Dropped lines are counted; a notice with their
//! number is written in their place once writing works again. Touches nothing but its sink, and that only on its thread.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use retry::table::LOG_WRITER;

use super::bar::Frame;

/// Lines that wait at most.
const MOST_LINES: usize = 4_096;
/// Their bytes at most.
const MOST_BYTES: usize = 1 << 20;

/// Where lines are written to, and a progress bar below them is drawn.
pub(super) trait Sink: io::Write + Send + 'static {
    /// Draws the bar, or removes it.
    fn draw(&mut self, frame: Option<&Frame>);
}

/// The queue. Clones are the same queue; its thread ends with the process.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// There is something to write.
    filled: Condvar,
    /// Something was written or dropped.
    settled: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// What the bar is to show next; only the newest counts.
    frame: Option<Option<Frame>>,
    /// Lines and frames that were enqueued since the beginning …
    accepted: u64,
    /// … and those of them that were written or dropped.
    settled: u64,
    /// Lines that were dropped since the beginning …
    dropped: u64,
    /// … and those of them that no notice has counted yet.
    unreported: u64,
}

impl Queue {
    fn drop_line(&mut self) {
        self.settled += 1;
        self.dropped += 1;
        self.unreported += 1;
    }
}

/// What the thread does next.
enum Work {
    /// Write a line, after a notice if lines before it were dropped.
    Line(Vec<u8>, u64),
    Draw(Option<Frame>),
}

impl LogWriter {
    /// Starts the thread. `notice` makes the line that says how many lines were dropped.
    ///
    /// # Errors
    /// When the system has no thread for it.
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

    /// Enqueues a line, its line break included.
    pub(super) fn line(&self, line: Vec<u8>) {
        let mut queue = self.0.queue();
        let dropped = queue.dropped;
        queue.accepted += 1;
        if line.len() > MOST_BYTES {
            queue.drop_line();
        } else {
            while queue.lines.len() >= MOST_LINES || queue.bytes + line.len() > MOST_BYTES {
                // The oldest: the latest lines say how things stand now.
                let Some(oldest) = queue.lines.pop_front() else { break };
                queue.bytes -= oldest.len();
                queue.drop_line();
            }
            queue.bytes += line.len();
            queue.lines.push_back(line);
        }
        self.0.filled.notify_one();
        if queue.dropped > dropped {
            self.0.settled.notify_all();
        }
    }

    /// Draws the bar below the lines, or removes it. A frame that was not drawn yet is replaced.
    pub(super) fn draw(&self, frame: Option<Frame>) {
        let mut queue = self.0.queue();
        queue.accepted += 1;
        queue.settled += u64::from(queue.frame.replace(frame).is_some());
        self.0.filled.notify_one();
    }

    /// Waits until everything that was enqueued before is written or dropped, at most this long; `false` when it is not.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let mut queue = self.0.queue();
        let all = queue.accepted;
        while queue.settled < all {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else { return false };
            let waited = self.0.settled.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Lines that were dropped so far, for want of room or because they could not be written.
    pub(super) fn dropped(&self) -> u64 {
        self.0.queue().dropped
    }
}

impl Shared {
    /// Held for a few instructions at a time, never over a write: no thread can be kept waiting for it.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, sink: impl Sink, notice: impl Fn(u64) -> Vec<u8>) {
        let mut out = Out { sink, torn: false };
        loop {
            match self.next() {
                Work::Line(line, unreported) => {
                    let reported = unreported == 0 || out.line(notice(unreported));
                    let written = reported && out.line(line);
                    let mut queue = self.queue();
                    if reported {
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
                return Work::Line(line, queue.unreported);
            }
            if let Some(frame) = queue.frame.take() {
                return Work::Draw(frame);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The sink, and whether the last line in it lacks its end.
struct Out<S> {
    sink: S,
    torn: bool,
}

impl<S: Sink> Out<S> {
    /// Writes a line; `false` when it could not be written whole.
    fn line(&mut self, mut line: Vec<u8>) -> bool {
        if self.torn {
            line.insert(0, b'\n');
        }
        let written = self.put(&line);
        if written > 0 {
            self.torn = written > usize::from(self.torn) && written < line.len();
        }
        written == line.len()
    }

    /// How much of it could be written.
    fn put(&mut self, line: &[u8]) -> usize {
        let (mut written, mut retries) = (0, 0);
        while written < line.len() {
            match self.sink.write(&line[written..]) {
                Ok(0) => break,
                Ok(some) => (written, retries) = (written + some, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process has made the descriptor one that does not block.
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
