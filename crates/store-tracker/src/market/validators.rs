//! The remote validators of epochs, from sets of any size: each command reads a page, so that none blocks Redis for long. Most sets end
//! with the first page, which is read with the other keys of an epoch.

use std::collections::BTreeSet;

use store_redis::{Batch, ErrorKind, Replies, Session, StoreError};

use super::{facts::MOST_VALIDATORS, pages::PAGE};
use crate::operations::READ_EPOCHS;

/// The most pages of a set. A page may have few members, or none, and a broken server says each time that there are more.
const MOST_PAGES: usize = 20;
/// The most sets of which one round trip reads a page.
const SETS_A_TRIP: usize = 100;

/// The validators of all epochs that a pass counts.
#[derive(Debug, Default)]
pub(super) struct Validators {
    all: BTreeSet<String>,
    /// Sets with further pages.
    unfinished: Vec<Unfinished>,
    /// Whether a set can't be read, or has too many members.
    is_unknown: bool,
}

/// A set with further pages.
#[derive(Debug)]
struct Unfinished {
    key: String,
    cursor: u64,
    /// How many members were read. One may have been read twice, while the set grows.
    read: usize,
    pages: usize,
}

/// Asks for a page of a set.
pub(super) fn ask(batch: &mut Batch, key: &str, cursor: u64) {
    batch.cmd("SSCAN", key).arg(cursor).arg("COUNT").arg(PAGE);
}

impl Validators {
    /// Takes the first page of a set; `counts` is false for an epoch whose validators are not counted.
    pub(super) fn take_first(
        &mut self,
        replies: &mut Replies,
        key: String,
        counts: bool,
    ) -> Result<(), StoreError> {
        self.take(replies, Unfinished { key, cursor: 0, read: 0, pages: 0 }, counts)
    }

    fn take(&mut self, replies: &mut Replies, set: Unfinished, counts: bool) -> Result<(), StoreError> {
        let Unfinished { key, read, pages, .. } = set;
        let Some((cursor, members)) = replies.take::<(u64, Vec<Vec<u8>>)>(&key)? else {
            self.is_unknown |= counts;
            return Ok(());
        };
        let (read, pages) = (read + members.len(), pages + 1);
        if read > MOST_VALIDATORS || (cursor > 0 && pages >= MOST_PAGES) {
            let detail = format!("it has more than {MOST_VALIDATORS} validators, or {MOST_PAGES} pages");
            replies.fault(&key, ErrorKind::Malformed, detail);
            self.is_unknown |= counts;
            return Ok(());
        }
        if members.iter().any(Vec::is_empty) {
            replies.fault(&key, ErrorKind::Malformed, "a validator is empty, and left out");
        }
        if counts {
            let named = members.iter().filter(|member| !member.is_empty());
            self.all.extend(named.map(|member| String::from_utf8_lossy(member).into_owned()));
            if cursor > 0 {
                self.unfinished.push(Unfinished { key, cursor, read, pages });
            }
        }
        Ok(())
    }

    /// Whether sets have further pages.
    pub(super) fn has_more(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Reads the next page of the sets that have one. One round trip; a set has a limit of pages.
    pub(super) async fn read_more(
        &mut self,
        session: &mut Session,
        market: &str,
    ) -> Result<Vec<store_redis::Fault>, StoreError> {
        let rest = self.unfinished.split_off(self.unfinished.len().min(SETS_A_TRIP));
        let sets = std::mem::replace(&mut self.unfinished, rest);
        let mut batch = Batch::new();
        sets.iter().for_each(|set| ask(&mut batch, &set.key, set.cursor));
        let mut replies = Replies::new(READ_EPOCHS, session.run(READ_EPOCHS, market, batch).await?);
        for set in sets {
            self.take(&mut replies, set, true)?;
        }
        Ok(replies.into_faults())
    }

    /// All of them; `None` where they can't be read, or are too many.
    pub(super) fn finish(self) -> Option<BTreeSet<String>> {
        (!self.is_unknown).then_some(self.all)
    }
}
