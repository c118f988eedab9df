//! The open connections. An entry leaves when its owner is dropped, however that ends: so no end of a connection is missed.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
};

use crate::env::lock::lock;

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    open: BTreeMap<u64, (Arc<str>, IpAddr)>,
}

/// The open connections. A clone is the same ones.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenConnections(Arc<Mutex<Entries>>);

/// An open connection.
#[derive(Debug)]
pub(super) struct OpenConnection {
    all: OpenConnections,
    /// Its number: larger than those of all before it.
    pub(super) number: u64,
    /// The name of its source.
    pub(super) source: Arc<str>,
}

impl OpenConnections {
    /// Adds a connection, unless its address has `most` already.
    pub(super) fn open(&self, source: Arc<str>, from: IpAddr, most: usize) -> Option<OpenConnection> {
        let mut entries = lock(&self.0);
        if entries.open.values().filter(|(_, address)| *address == from).count() >= most {
            return None;
        }
        entries.last += 1;
        let number = entries.last;
        entries.open.insert(number, (source.clone(), from));
        Some(OpenConnection { all: self.clone(), number, source })
    }

    /// The numbers of all, with the names of their sources.
    pub(super) fn all(&self) -> BTreeMap<u64, Arc<str>> {
        lock(&self.0).open.iter().map(|(number, (source, _))| (*number, source.clone())).collect()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).open.len()
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        lock(&self.all.0).open.remove(&self.number);
    }
}
