//! A list that is read page by page: where the next page begins, and whether the list changed meanwhile. Pure.

use std::collections::HashSet;

use peer_snapshots::polled::ChannelKind;

use crate::{entry::Entry, pages::Page};

/// What has been read of a list.
#[derive(Debug)]
pub(crate) struct Listing<T> {
    items: Vec<T>,
    ids: HashSet<(Option<ChannelKind>, u32)>,
    /// As the first page told them.
    totals: Option<[u64; 2]>,
    /// Where the next page begins.
    offset: usize,
    has_changed: bool,
}

/// What comes after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The page that begins here.
    Page(usize),
    /// Nothing.
    End,
}

// Not derived: that would ask for entries that have a default.
impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self { items: Vec::new(), ids: HashSet::new(), totals: None, offset: 0, has_changed: false }
    }
}

impl<T: Entry> Listing<T> {
    /// Takes the next page. Its totals are only compared: the list ends where a page has nothing, or where they say so.
    pub(crate) fn take<P: Page<Item = T>>(&mut self, page: P) -> Next {
        let totals = page.totals();
        self.has_changed |= *self.totals.get_or_insert(totals) != totals;
        let (items, length) = page.items();
        for item in items {
            // One that is there twice was moved from page to page: another one may have been moved past us.
            if self.ids.insert(item.id()) {
                self.items.push(item);
            } else {
                self.has_changed = true;
            }
        }
        self.offset = self.offset.saturating_add(length);
        let announced = totals.into_iter().max().unwrap_or_default();
        match (self.offset as u64).cmp(&announced) {
            std::cmp::Ordering::Less if length > 0 => return Next::Page(self.offset),
            std::cmp::Ordering::Equal => {}
            // Fewer or more than announced.
            std::cmp::Ordering::Less | std::cmp::Ordering::Greater => self.has_changed = true,
        }
        Next::End
    }

    /// How many entries it has.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it is not one list of one moment.
    pub(crate) fn has_changed(&self) -> bool {
        self.has_changed
    }

    /// Its entries; also notes whether they are uncertain.
    pub(crate) fn into_items(self, is_uncertain: &mut bool) -> Vec<T> {
        *is_uncertain |= self.has_changed;
        self.items
    }
}

#[cfg(test)]
mod tests {
    use peer_snapshots::polled::{ChannelsPage, ClientChannel, ClientInfo, ClientsPage};

    use super::*;

    fn page(ids: std::ops::Range<u32>, total: u64) -> ClientsPage {
        let items = ids.map(|client_id| ClientInfo { client_id, ..ClientInfo::default() }).collect();
        ClientsPage { offset: None, total, items }
    }

    fn read(pages: impl IntoIterator<Item = (ClientsPage, Next)>) -> (Vec<u32>, bool) {
        let mut listing = Listing::default();
        for (page, next) in pages {
            assert_eq!(listing.take(page), next);
        }
        let mut is_uncertain = false;
        let ids = listing.into_items(&mut is_uncertain).iter().map(|item| item.client_id).collect();
        (ids, is_uncertain)
    }

    #[test]
    fn a_list_is_read_to_the_end_of_its_pages() {
        let all: Vec<u32> = (0..7).collect();
        let pages =
            [(page(0..3, 7), Next::Page(3)), (page(3..6, 7), Next::Page(6)), (page(6..7, 7), Next::End)];
        assert_eq!(read(pages), (all.clone(), false));
        assert_eq!(read([(page(0..7, 7), Next::End)]), (all, false));
        assert_eq!(read([(page(0..0, 0), Next::End)]), (vec![], false));
    }

    #[test]
    fn a_list_that_changes_meanwhile_or_announces_what_is_not_there_is_told_apart() {
        let changed = [
            // The total is another one.
            vec![(page(0..2, 4), Next::Page(2)), (page(2..3, 3), Next::End)],
            // The total is the same, and somebody was moved.
            vec![(page(0..2, 4), Next::Page(2)), (page(1..3, 4), Next::End)],
            // It ends too early: a total of any size costs one more request.
            vec![(page(0..2, u64::MAX), Next::Page(2)), (page(0..0, u64::MAX), Next::End)],
            // It has more than it announces.
            vec![(page(0..5, 2), Next::End)],
        ];
        for pages in changed {
            assert!(read(pages).1);
        }
    }

    #[test]
    fn both_parts_of_a_list_of_channels_end_with_the_longer_one() {
        let channel = |channel_id| ClientChannel { channel_id, ..ClientChannel::default() };
        let page = |extended: &[u32], standard: &[u32]| ChannelsPage {
            total_extended: 1,
            total_standard: 3,
            extended_channels: extended.iter().map(|id| channel(*id)).collect(),
            standard_channels: standard.iter().map(|id| channel(*id)).collect(),
            ..ChannelsPage::default()
        };
        let mut listing = Listing::default();
        // The same number in both parts is no repetition.
        assert_eq!(listing.take(page(&[1], &[1, 2])), Next::Page(2));
        assert_eq!(listing.take(page(&[], &[3])), Next::End);
        assert_eq!((listing.len(), listing.has_changed()), (4, false));
    }
}
