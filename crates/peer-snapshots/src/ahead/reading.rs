//! A long list whose entries are read one by one while they come.

use std::str::from_utf8;

use super::list::{Entries, List, Next, One};
use crate::{
    Message, Unreadable,
    read::{Fields, parse},
    trail::Trail,
};

/// A longer entry makes its line an unusual one, in bytes.
const LONGEST_ENTRY: usize = 16 << 10;
/// The most bytes of a line whose entries are read ahead, since they are held beside the line.
const MOST: usize = 4 << 20;
/// How many entries are read at once.
const BATCH: usize = 256;

/// A list that is being read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Where the first entry begins in the line.
    start: usize,
    /// Where the next one begins.
    place: usize,
    /// What comes there.
    next: Next,
    list: List,
}

impl Reading {
    /// Nothing is read yet of a list whose first entry begins there.
    pub(super) fn new(start: usize, list: List) -> Self {
        Self { start, place: start, next: Next::First, list }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// The entries from this one on.
    pub(super) fn from(&mut self, first: usize) -> Entries<'_> {
        self.list.from(first)
    }

    /// Where the first entry begins in the line.
    #[cfg(test)]
    pub(super) fn start(&self) -> usize {
        self.start
    }

    /// Reads a batch of entries; returns whether there may be more by now, `None` if the line is unusual.
    pub(super) fn batch(&mut self, line: &[u8]) -> Option<bool> {
        for _ in 0..BATCH {
            if self.place > MOST || self.next == Next::Over {
                return Some(false);
            }
            let rest = line.get(self.place..)?;
            match self.list.read_one(rest) {
                One::Read(length, next) => (self.place, self.next) = (self.place + length, next),
                One::Unfinished if rest.len() <= LONGEST_ENTRY => return Some(false),
                One::Unfinished | One::Unusual => return None,
            }
        }
        Some(true)
    }

    /// Reads what is left of the line; `None` if it has to be read as a whole.
    pub(super) fn join(self, line: &[u8]) -> Option<(Result<Message, Unreadable>, usize)> {
        let rest = line.get(self.place..)?;
        // A comma without an entry after it would be lost.
        if self.next == Next::Entry && rest.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        // The texts of unknown fields were not examined.
        from_utf8(line).ok()?;
        let left = [line.get(..self.start)?, rest].concat();
        let mut fields: Fields = parse(from_utf8(&left).ok()?, &Trail::default()).ok()?;
        let prepared = self.list.len();
        self.list.put_before(&mut fields)?;
        Some((fields.message(), prepared))
    }
}
