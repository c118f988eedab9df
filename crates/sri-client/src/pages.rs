//! The paths of the API, and what a page of each list is. Pure.

use peer_snapshots::polled::{
    ChannelKind, ChannelsPage, ClientChannel, ClientInfo, ClientsPage, ServerChannel, ServerChannelsPage,
    Sv1Client, Sv1ClientsPage,
};

use crate::entry::Entry;

/// The most entries of a page, by the API.
pub(crate) const LIMIT: usize = 100;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    Global,
    Clients,
    ClientChannels(u32),
    Sv1Clients,
    ServerChannels,
}

impl Path {
    /// As it stands in an error.
    pub(crate) fn shown(self) -> &'static str {
        match self {
            Self::Global => "/api/v1/global",
            Self::Clients => "/api/v1/clients",
            Self::ClientChannels(_) => "/api/v1/clients/{id}/channels",
            Self::Sv1Clients => "/api/v1/sv1/clients",
            Self::ServerChannels => "/api/v1/server/channels",
        }
    }

    /// Its path with the id of a client.
    pub(crate) fn path(self) -> String {
        match self {
            Self::ClientChannels(id) => format!("/api/v1/clients/{id}/channels"),
            other => other.shown().to_owned(),
        }
    }

    pub(crate) fn is_list(self) -> bool {
        self != Self::Global
    }
}

/// A page of a list.
pub(crate) trait Page {
    type Item: Entry;

    /// The number of its first entry, as the answer tells it.
    fn offset(&self) -> Option<u64>;

    /// How many entries there are, as the answer tells it: the first one of a list of two parts says how many of each.
    fn totals(&self) -> [u64; 2];

    /// Its entries, and how far they reach beyond its offset.
    fn items(self) -> (Vec<Self::Item>, usize);

    /// The client that it is of, as the answer tells it.
    fn client(&self) -> Option<u32> {
        None
    }

    /// The field by which it is another page than the one that was asked for.
    fn is_not(&self, path: Path, offset: usize) -> Option<&'static str> {
        let is_other = |told: Option<u64>, asked: u64| told.is_some_and(|told| told != asked);
        match path {
            Path::ClientChannels(id) if is_other(self.client().map(u64::from), id.into()) => {
                Some("client_id")
            }
            _ => is_other(self.offset(), offset as u64).then_some("offset"),
        }
    }
}

impl Page for ClientsPage {
    type Item = ClientInfo;

    fn offset(&self) -> Option<u64> {
        self.offset
    }

    fn totals(&self) -> [u64; 2] {
        [self.total, 0]
    }

    fn items(self) -> (Vec<ClientInfo>, usize) {
        let length = self.items.len();
        (self.items, length)
    }
}

impl Page for Sv1ClientsPage {
    type Item = Sv1Client;

    fn offset(&self) -> Option<u64> {
        self.offset
    }

    fn totals(&self) -> [u64; 2] {
        [self.total, 0]
    }

    fn items(self) -> (Vec<Sv1Client>, usize) {
        let length = self.items.len();
        (self.items, length)
    }
}

/// Both parts of a page of channels.
fn both<T>(extended: Vec<T>, standard: Vec<T>) -> (Vec<(ChannelKind, T)>, usize) {
    let length = extended.len().max(standard.len());
    let extended = extended.into_iter().map(|channel| (ChannelKind::Extended, channel));
    let standard = standard.into_iter().map(|channel| (ChannelKind::Standard, channel));
    (extended.chain(standard).collect(), length)
}

impl Page for ChannelsPage {
    type Item = (ChannelKind, ClientChannel);

    fn offset(&self) -> Option<u64> {
        self.offset
    }

    fn totals(&self) -> [u64; 2] {
        [self.total_extended, self.total_standard]
    }

    fn items(self) -> (Vec<Self::Item>, usize) {
        both(self.extended_channels, self.standard_channels)
    }

    fn client(&self) -> Option<u32> {
        self.client_id
    }
}

impl Page for ServerChannelsPage {
    type Item = (ChannelKind, ServerChannel);

    fn offset(&self) -> Option<u64> {
        self.offset
    }

    fn totals(&self) -> [u64; 2] {
        [self.total_extended, self.total_standard]
    }

    fn items(self) -> (Vec<Self::Item>, usize) {
        both(self.extended_channels, self.standard_channels)
    }
}
