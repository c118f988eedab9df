//! The lists that may be long, and how their entries are read one by one.

use serde::{Deserialize, Deserializer};

use crate::{
    ConnectionInfo, DownstreamMetrics, Message, MinerInfo, PoolProxy, ProxyMiner, read::Fields, trail::Trail,
    wire::Wire,
};

/// What comes next in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Its first entry, or its end.
    First,
    /// An entry: there is a comma before.
    Entry,
    /// Its end.
    Over,
}

/// An entry alone.
struct Alone<T>(T);

impl<'de, T: Wire> Deserialize<'de> for Alone<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        // Where it fails does not matter: the whole line is read then.
        T::read(input, &Trail::default()).map(Self)
    }
}

/// What came of an entry.
pub(super) enum One {
    /// It was read: how many bytes it takes, with the comma after it, and what comes next.
    Read(usize, Next),
    /// It has not come as a whole, with what follows it.
    Unfinished,
    /// It can't be read alone.
    Unusual,
}

/// Reads the first entry of these bytes, and what follows it.
fn read_one<T: Wire>(list: &mut Vec<T>, bytes: &[u8]) -> One {
    let mut all = serde_json::Deserializer::from_slice(bytes).into_iter::<Alone<T>>();
    let entry = match all.next() {
        Some(Ok(Alone(entry))) => entry,
        Some(Err(error)) if !error.is_eof() => return One::Unusual,
        Some(Err(_)) | None => return One::Unfinished,
    };
    let end = all.byte_offset();
    // The blanks of JSON alone: what is passed over here is read by nobody.
    let is_blank = |byte: &u8| b" \t\r\n".contains(byte);
    let Some(blanks) = bytes[end..].iter().position(|byte| !is_blank(byte)) else { return One::Unfinished };
    let read = match bytes[end + blanks] {
        b',' => One::Read(end + blanks + 1, Next::Entry),
        b']' => One::Read(end + blanks, Next::Over),
        _ => return One::Unusual,
    };
    list.push(entry);
    read
}

/// Puts the entries that were read ahead before the others.
fn put_before<T>(mut first: Vec<T>, list: &mut Vec<T>) {
    first.append(list);
    *list = first;
}

/// The entries from this one on.
fn entries_from<T>(all: &mut [T], first: usize) -> &mut [T] {
    all.get_mut(first..).unwrap_or_default()
}

/// The entries of a list, to be changed before they are shown.
#[derive(Debug)]
pub enum Entries<'a> {
    /// Miners in the enum form.
    Miners(&'a mut [MinerInfo]),
    /// Connections in the enum form.
    Connections(&'a mut [ConnectionInfo]),
    /// Miners of a status.
    ProxyMiners(&'a mut [ProxyMiner]),
    /// Proxies of a status.
    PoolProxies(&'a mut [PoolProxy]),
    /// Peers of metrics.
    Metrics(&'a mut [DownstreamMetrics]),
    /// None: the message has no such list.
    None,
}

impl Message {
    /// Its entries from this one on.
    pub fn entries_from(&mut self, first: usize) -> Entries<'_> {
        match self {
            Self::Miners(all) => Entries::Miners(entries_from(&mut all.miners, first)),
            Self::Connections(all) => Entries::Connections(entries_from(&mut all.connections, first)),
            Self::Proxy(status) => Entries::ProxyMiners(entries_from(&mut status.downstream_miners, first)),
            Self::Pool(status) => Entries::PoolProxies(entries_from(&mut status.downstream_proxies, first)),
            Self::Metrics(metrics) => Entries::Metrics(entries_from(&mut metrics.downstreams, first)),
            Self::Balance(_) | Self::Quote(_) | Self::Heartbeat(_) | Self::Retired(_) => Entries::None,
        }
    }
}

/// Declares the lists: the message of the enum form that they are in, their name, and where they are in the fields of a line.
macro_rules! lists {
    ($(
        $list:ident: $entries:ident of $entry:ident, $message:pat, $name:literal, |$fields:ident| $place:expr;
    )+) => {
        #[derive(Debug)]
        pub(super) enum List {
            $($list(Vec<$entry>),)+
        }

        impl List {
            /// The empty list of this name, in a message of the enum form or in the line itself.
            pub(super) fn of(message: Option<&[u8]>, name: &[u8]) -> Option<Self> {
                match (message, name) {
                    $(($message, $name) => Some(Self::$list(Vec::new())),)+
                    _ => None,
                }
            }

            pub(super) fn len(&self) -> usize {
                match self {
                    $(Self::$list(all) => all.len(),)+
                }
            }

            /// The entries from this one on.
            pub(super) fn from(&mut self, first: usize) -> Entries<'_> {
                match self {
                    $(Self::$list(all) => Entries::$entries(entries_from(all, first)),)+
                }
            }

            /// Reads the first entry of these bytes, and what follows it.
            pub(super) fn read_one(&mut self, bytes: &[u8]) -> One {
                match self {
                    $(Self::$list(all) => read_one(all, bytes),)+
                }
            }

            /// Puts these entries before those that were read in the end; `None` where the fields have no such list.
            pub(super) fn put_before(self, fields: &mut Fields) -> Option<()> {
                match self {
                    $(Self::$list(all) => {
                        let $fields = fields;
                        put_before(all, $place?);
                    })+
                }
                Some(())
            }
        }
    };
}

lists! {
    Miners: Miners of MinerInfo, None, b"miners", |fields| fields.miners.as_mut();
    Connections: Connections of ConnectionInfo, None, b"connections", |fields| fields.connections.as_mut();
    Downstreams: Metrics of DownstreamMetrics, None, b"downstreams", |fields| fields.downstreams.as_mut();
    ProxyMiners: ProxyMiners of ProxyMiner, None, b"downstream_miners",
        |fields| fields.downstream_miners.as_mut();
    PoolProxies: PoolProxies of PoolProxy, None, b"downstream_proxies",
        |fields| fields.downstream_proxies.as_mut();
    SnapshotMiners: Miners of MinerInfo, Some(b"MinerSnapshot"), b"miners",
        |fields| fields.MinerSnapshot.as_mut().map(|all| &mut all.miners);
    SnapshotConnections: Connections of ConnectionInfo, Some(b"ConnectionSnapshot"), b"connections",
        |fields| fields.ConnectionSnapshot.as_mut().map(|all| &mut all.connections);
}

/// Whether the object of this name may have a long list.
pub(super) fn has_list(name: &[u8]) -> bool {
    matches!(name, b"MinerSnapshot" | b"ConnectionSnapshot")
}
