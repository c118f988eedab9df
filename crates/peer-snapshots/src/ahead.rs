//! Reads the entries of a long list while its line still arrives, so that little is left to do after the last byte.
//!
//! **Invariant:** what is read is what [`read()`] reads from the whole line. Each entry is read by the same code, and so is what
//! is left of the line, with the beginning before its list: the same line with fewer entries. Whatever is unusual, which every
//! error is, makes [`read()`] read the whole line.

mod list;
mod reading;
mod start;

pub use list::Entries;
use reading::Reading;

use crate::{Message, Unreadable, read};

/// How many further bytes are waited for before a line is looked at again: what was read in vain of an entry without an end
/// is little beside them. Shorter lines are not looked at.
const STEP: usize = 32 << 10;

/// Reads ahead in the lines of one connection.
///
/// It is shown what has come of a line ([`Self::look`]), and reads the line in the end ([`Self::read`]).
///
/// ```
/// use peer_snapshots::{Frame, Framer, MAX_LINE, ReadAhead};
///
/// let (mut framer, mut ahead) = (Framer::new(MAX_LINE), ReadAhead::default());
/// let mut lines = 0;
/// for packet in [&b"{\"balance\":1,"[..], b"\"timestamp\":2,\"type\":\"BalanceUpdate\"}\n"] {
///     let mut input = packet;
///     while let Some(frame) = framer.next(&mut input)? {
///         match frame {
///             Frame::Line(line) => lines += usize::from(ahead.read(line).0.is_ok()),
///             Frame::TooLong(_) => ahead.forget(),
///         }
///     }
///     while ahead.look(framer.unfinished_line(), |_| {}) {}
/// }
/// assert_eq!(lines, 1);
/// # Ok::<(), peer_snapshots::Endless>(())
/// ```
#[derive(Debug)]
pub struct ReadAhead {
    /// How many further bytes are waited for.
    step: usize,
    /// How long the line was when no more of it could be read.
    looked: usize,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The line has not been looked at.
    #[default]
    Unknown,
    /// The line has no long list, or is unusual.
    Whole,
    /// Entries of this list are read.
    Reading(Reading),
}

impl Default for ReadAhead {
    fn default() -> Self {
        Self::every(STEP)
    }
}

impl ReadAhead {
    /// Looks at a line whenever so many further bytes of it have come.
    #[must_use]
    pub fn every(step: usize) -> Self {
        Self { step, looked: 0, state: State::Unknown }
    }

    /// Reads some of the entries that have come of a line, and lets the caller `prepare` them; returns whether there may be more.
    ///
    /// `line` is what [`Framer::unfinished_line`](crate::Framer::unfinished_line) has: all that has come, or nothing of a line that
    /// is skipped.
    pub fn look(&mut self, line: &[u8], prepare: impl FnOnce(Entries<'_>)) -> bool {
        if line.is_empty() {
            // What was read of a line that is skipped is not needed.
            self.forget();
        }
        if line.len() < self.looked.saturating_add(self.step) {
            return false;
        }
        if matches!(self.state, State::Unknown) {
            self.state = start::find(line).map_or(State::Whole, State::Reading);
        }
        let State::Reading(reading) = &mut self.state else { return false };
        let before = reading.len();
        match reading.batch(line) {
            Some(has_more) => {
                if reading.len() > before {
                    prepare(reading.from(before));
                }
                if !has_more {
                    self.looked = line.len();
                }
                has_more
            }
            None => {
                self.state = State::Whole;
                false
            }
        }
    }

    /// Reads a line, without its end, as [`read()`] does; with how many of its entries the caller has prepared.
    pub fn read(&mut self, line: &[u8]) -> (Result<Message, Unreadable>, usize) {
        let state = std::mem::take(&mut self.state);
        self.forget();
        let joined = match state {
            State::Reading(reading) => reading.join(line),
            State::Unknown | State::Whole => None,
        };
        joined.unwrap_or_else(|| (read(line), 0))
    }

    /// Forgets what was read: the line is too long.
    pub fn forget(&mut self) {
        *self = Self::every(self.step);
    }
}
