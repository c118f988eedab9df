//! The open connections. An entry leaves when its owner is dropped, however that ends: so no end of a connection is missed.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::env::lock::lock;

#[derive(Debug, Default)]
struct Entries {
    last_place: u64,
    last_number: u64,
    /// By their places.
    open: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// A polled source has none.
    from: Option<IpAddr>,
    /// Its number and the name of its source, once it is admitted.
    admitted: Option<(u64, Arc<str>)>,
}

/// The open connections. A clone is the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenConnections(Arc<Mutex<Entries>>);

/// The place of a connection. Before it is admitted it belongs to no source.
#[derive(Debug)]
pub(super) struct Place {
    all: OpenConnections,
    place: u64,
}

/// A connection whose source is known.
#[derive(Debug)]
pub(super) struct OpenConnection {
    _place: Place,
    /// Its number: larger than those of all that were admitted before it.
    pub(super) number: u64,
    /// The name of its source.
    pub(super) source: Arc<str>,
}

impl OpenConnections {
    /// Adds a connection, unless its address has `most` already.
    pub(super) fn take_place(&self, from: IpAddr, most: usize) -> Option<Place> {
        let mut entries = lock(&self.0);
        if entries.open.values().filter(|entry| entry.from == Some(from)).count() >= most {
            return None;
        }
        Some(self.add(&mut entries, Some(from)))
    }

    /// Adds a polled source, which takes no place of a sender.
    pub(super) fn poll(&self, source: Arc<str>) -> OpenConnection {
        let place = self.add(&mut lock(&self.0), None);
        place.admit(source)
    }

    fn add(&self, entries: &mut Entries, from: Option<IpAddr>) -> Place {
        entries.last_place += 1;
        let place = entries.last_place;
        entries.open.insert(place, Entry { from, admitted: None });
        Place { all: self.clone(), place }
    }

    /// The numbers of those that are admitted, with the names of their sources.
    pub(super) fn all(&self) -> BTreeMap<u64, Arc<str>> {
        lock(&self.0).open.values().filter_map(|entry| entry.admitted.clone()).collect()
    }

    /// How many connections of senders there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).open.values().filter(|entry| entry.from.is_some()).count()
    }
}

impl Place {
    /// Makes it a connection of this source.
    pub(super) fn admit(self, source: Arc<str>) -> OpenConnection {
        let mut entries = lock(&self.all.0);
        entries.last_number += 1;
        let number = entries.last_number;
        if let Some(entry) = entries.open.get_mut(&self.place) {
            entry.admitted = Some((number, source.clone()));
        }
        drop(entries);
        OpenConnection { _place: self, number, source }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.all.0).open.remove(&self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_connection_belongs_to_no_source_before_it_is_admitted_and_has_its_place_all_the_time() {
        let open = OpenConnections::default();
        let take = || open.take_place(Ipv4Addr::LOCALHOST.into(), 2);
        let (slow, quick) = (take().expect("a place"), take().expect("a place"));
        assert!(take().is_none() && open.len() == 2 && open.all().is_empty());
        let quick = quick.admit("north".into());
        // The one that came first is admitted last, so its pictures are the newer ones.
        let slow = slow.admit("north".into());
        assert!(slow.number > quick.number);
        assert_eq!(open.all(), [(quick.number, "north".into()), (slow.number, "north".into())].into());
        drop(quick);
        assert!(take().is_some());
        drop(slow);
        assert_eq!(open.len(), 0);
    }
}
