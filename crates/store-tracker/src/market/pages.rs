//! Keys of any size, read in pages: each command reads at most one page, so that none blocks Redis for long, and a pass
//! keeps only what it needs of each page.

use domain::{EpochId, tracker::Timed};
use store_redis::{Batch, ErrorKind, Fault, Replies, StoreError};

use super::members::{self, OtherForms, Unread};

/// The most entries that one command reads. Redis needs about a microsecond for each, and all other clients wait meanwhile.
pub(super) const PAGE: usize = 2_000;
/// The most pages of one key that a pass reads: 20 million entries.
const MOST_PAGES: usize = 10_000;
/// A page of a scan has at least so many members on average, except for the first pages: the server shrinks a set's table when fewer than
/// that are left in it. One that has fewer says for ever that there are more.
const LEAST: usize = PAGE / 50;
/// The pages of a scan that may be empty.
const EMPTY_PAGES: usize = 500;
/// The most entries of one timeline that a pass keeps.
const MOST_KEPT: usize = 200_000;

/// The members of a page with their scores.
pub(super) type Page = Vec<(Vec<u8>, f64)>;

/// A timeline, read from its newest entry to the oldest one that matters.
pub(super) struct Timeline<T> {
    pub(super) key: String,
    /// Entries up to this moment (Unix seconds) are not read.
    since: f64,
    /// Where the next page begins; `None` at the end.
    next: Option<Position>,
    pages: usize,
    unread: Unread,
    /// Why older entries were not read.
    cut: Option<String>,
    /// Whether a page could not be read.
    failed: bool,
    /// What is kept of the pages.
    pub(super) kept: Vec<Timed<T>>,
}

/// Where a page begins: at this score, downwards, after `offset` entries of it.
#[derive(Clone, Copy)]
struct Position {
    score: f64,
    offset: usize,
}

impl<T> Timeline<T> {
    pub(super) fn new(key: String, since: f64) -> Self {
        let next = Some(Position { score: f64::INFINITY, offset: 0 });
        let (pages, unread, cut, failed, kept) = (0, Unread::default(), None, false, Vec::new());
        Self { key, since, next, pages, unread, cut, failed, kept }
    }

    /// Extends the span to this moment (Unix seconds), if it is earlier.
    pub(super) fn extend(&mut self, since: f64) {
        let was_read = self.next.is_none() && !self.failed && self.cut.is_none();
        if since < self.since && was_read {
            self.next = Some(Position { score: self.since, offset: 0 });
        }
        self.since = self.since.min(since);
    }

    /// Asks for the next page, if there is one.
    pub(super) fn ask(&self, batch: &mut Batch) {
        if let Some(Position { score, offset }) = self.next {
            let page = batch.cmd("ZREVRANGEBYSCORE", &self.key);
            page.arg(score.to_string()).arg(format!("({}", self.since)).arg("WITHSCORES");
            page.arg("LIMIT").arg(offset).arg(PAGE);
        }
    }

    /// Takes the page that was asked for, and finds where the next one begins.
    pub(super) fn take(&mut self, replies: &mut Replies) -> Result<Page, StoreError> {
        let Some(from) = self.next.take() else { return Ok(Vec::new()) };
        let Some(members) = replies.take::<Vec<(Vec<u8>, f64)>>(&self.key)? else {
            self.failed = true;
            return Ok(Vec::new());
        };
        self.pages += 1;
        self.next = from.after(&members);
        if self.next.is_some() && self.pages >= MOST_PAGES {
            self.stop(format!("it has more than {} entries", MOST_PAGES * PAGE));
        } else if self.next.is_some() && self.kept.len() > MOST_KEPT {
            self.stop(format!("it has more than {MOST_KEPT} entries of new or unsealed epochs"));
        }
        Ok(members)
    }

    /// Reads the entries of a page. An entry may be in two pages.
    pub(super) fn read<E>(
        &mut self,
        page: Page,
        parse: impl Fn(&str) -> Result<T, E>,
        forms: &mut OtherForms,
    ) -> Vec<Timed<T>> {
        members::timed(page, parse, &mut self.unread, forms)
    }

    fn stop(&mut self, why: String) {
        self.next = None;
        self.cut = Some(why);
    }

    /// Whether a page could not be read.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// The entries that were kept; `None` if a page could not be read and none were. Adds its faults to `faults`.
    pub(super) fn finish(self, faults: &mut Vec<Fault>) -> Option<Vec<Timed<T>>> {
        faults.extend(self.unread.fault(&self.key));
        let cut =
            |why| Fault::new(&self.key, ErrorKind::Malformed, format!("{why}: older ones are not read"));
        faults.extend(self.cut.map(cut));
        (!self.failed || !self.kept.is_empty()).then_some(self.kept)
    }
}

impl Position {
    /// The position behind this page; `None` when it was the last one.
    ///
    /// The score advances, so that the cost of a page does not grow with the number of pages before it. Where few entries share the
    /// last score they are read again: an offset would skip one if another of them was removed in between.
    fn after<M>(self, page: &[(M, f64)]) -> Option<Self> {
        let score = page.last().filter(|_| page.len() >= PAGE)?.1;
        let equal = page.iter().rev().take_while(|entry| entry.1 == score).count();
        let before = if score == self.score { self.offset } else { 0 };
        let equal = before + equal;
        Some(Self { score, offset: if equal < PAGE / 2 { 0 } else { equal } })
    }
}

/// A set of epoch ids, read in the order of the server.
pub(super) struct ActiveSet {
    key: String,
    cursor: Option<u64>,
    pages: usize,
    members: usize,
    unread: Unread,
    cut: bool,
    /// Whether a page could not be read.
    failed: bool,
}

impl ActiveSet {
    pub(super) fn new(key: String) -> Self {
        Self {
            key,
            cursor: Some(0),
            pages: 0,
            members: 0,
            unread: Unread::default(),
            cut: false,
            failed: false,
        }
    }

    /// Asks for the next page, if there is one.
    pub(super) fn ask(&self, batch: &mut Batch) {
        if let Some(cursor) = self.cursor {
            batch.cmd("SSCAN", &self.key).arg(cursor).arg("COUNT").arg(PAGE);
        }
    }

    /// Takes the members of the page that was asked for. A page that can't be read is a fault, unless one was reported when the number
    /// of members was asked for.
    pub(super) fn take(
        &mut self,
        replies: &mut Replies,
        is_reported: bool,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        if self.cursor.take().is_none() {
            return Ok(Vec::new());
        }
        let page = match is_reported {
            true => replies.unreported::<(u64, Vec<Vec<u8>>)>(&self.key)?,
            false => replies.take(&self.key)?,
        };
        let Some((next, members)) = page else {
            self.failed = true;
            return Ok(Vec::new());
        };
        self.pages += 1;
        self.members += members.len();
        let most = MOST_PAGES.min(EMPTY_PAGES + self.members / LEAST);
        self.cut = next > 0 && self.pages >= most;
        self.cursor = Some(next).filter(|next| *next > 0 && !self.cut);
        Ok(members)
    }

    /// The ids among the members of a page; an id may be in two pages.
    pub(super) fn read(&mut self, members: Vec<Vec<u8>>, forms: &mut OtherForms) -> Vec<EpochId> {
        members::epochs(members, &mut self.unread, forms)
    }

    /// Whether a page could not be read.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Adds its faults to `faults`.
    pub(super) fn finish(self, faults: &mut Vec<Fault>) {
        faults.extend(self.unread.fault(&self.key));
        if self.cut {
            let detail = format!(
                "{} pages with {} members are not all of it: the others are not read",
                self.pages, self.members
            );
            faults.push(Fault::new(&self.key, ErrorKind::Malformed, detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads scores, which are in descending order, page by page; returns how often each was read, and the highest offset.
    fn read(scores: &[f64]) -> (Vec<usize>, usize) {
        let (mut times, mut offsets, mut before) = (vec![0; scores.len()], 0, None);
        let mut from = Some(Position { score: f64::INFINITY, offset: 0 });
        while let Some(position) = from {
            let rest = scores.iter().enumerate().filter(|(_, score)| **score <= position.score);
            let page: Vec<(usize, f64)> =
                rest.skip(position.offset).take(PAGE).map(|(at, score)| (at, *score)).collect();
            page.iter().for_each(|(at, _)| times[*at] += 1);
            offsets = offsets.max(position.offset);
            let after = position.after(&page);
            let reached = after.map(|after| (after.score, after.offset));
            assert!(reached.is_none() || reached != before, "it goes on");
            (from, before) = (after, reached);
        }
        (times, offsets)
    }

    #[test]
    fn pages_cover_every_entry_whatever_scores_are_equal() {
        for equal in [1, 2, 7, 999, 1_000, 1_001, 1_999, 2_000, 2_001, 5_000, 12_000] {
            for entries in [0, 1, 1_999, 2_000, 2_001, 7_000] {
                let scores: Vec<f64> = (0..entries).rev().map(|number| f64::from(number / equal)).collect();
                let (times, offset) = read(&scores);
                assert!(times.iter().all(|times| *times > 0), "{entries} entries, {equal} with each score");
                assert!(offset <= equal as usize);
            }
        }
    }
}
