//! What current Stratum V2 applications (pool, job declarator client, translator proxy) answer over HTTP, and the picture that
//! one poll of all of it makes.
//!
//! The names of fields are those of the applications; unknown ones are passed over. An answer that lacks a field or has another type in
//! it is refused with the field's path. A rate or a sum that can't be one is not known, and costs its application nothing more.

use serde::Serialize;

use crate::{
    read::parse,
    shape::shape,
    trail::Trail,
    unreadable::{Reason, Unreadable},
    wire::{Known, Wire, write_known},
};

shape! {
    /// `/api/v1/global`: what is monitored. An absent summary is a kind that is not, which is not the same as zero.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Global {
        /// How long the application has been running, in seconds. It falls with a restart.
        pub uptime_secs: u64,
        /// Its own connection to a server.
        pub server: Option<Summary>,
        /// Clients that speak Stratum V2.
        pub sv2_clients: Option<Summary>,
        /// Miners that speak Stratum V1.
        pub sv1_clients: Option<Summary>,
    }
}

shape! {
    /// A summary. Only its presence counts: the lists have the rest.
    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub struct Summary {
        /// The declared rate of all, in H/s.
        pub total_hashrate: Option<Known>,
    }
}

shape! {
    /// A page of `/api/v1/clients`.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ClientsPage {
        /// The number of its first entry.
        pub offset: Option<u64>,
        /// How many there are on all pages.
        pub total: u64,
        /// Its entries.
        pub items: Vec<ClientInfo>,
    }
}

shape! {
    /// A client that speaks Stratum V2.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ClientInfo {
        /// Its number. It is used again after a restart.
        pub client_id: u32,
        /// `miner`, `translator_proxy` or `unknown`.
        pub client_kind: String,
        /// How many extended channels it has.
        pub extended_channels_count: Option<u64>,
        /// How many standard channels it has.
        pub standard_channels_count: Option<u64>,
        /// The declared rate of its channels, in H/s.
        pub total_hashrate: Known,
        /// Where its management answers.
        pub management_ip: Option<String>,
        /// What the miner tells of itself.
        pub miner_telemetry: Option<Telemetry>,
    }
}

shape! {
    /// What a miner tells of itself. Nothing of it is measured.
    #[derive(Clone, Debug, Default, PartialEq, Serialize)]
    pub struct Telemetry {
        /// Its maker.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub make: Option<String>,
        /// Its model.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub model: Option<String>,
        /// Its firmware.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub firmware_version: Option<String>,
        /// Its rate, in H/s.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_known")]
        pub reported_hashrate_hs: Option<Known>,
        /// Its power, in W.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_known")]
        pub power_consumption_w: Option<Known>,
        /// Its efficiency, in J/TH.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_known")]
        pub efficiency_j_per_th: Option<Known>,
        /// Its temperature, in °C; one below zero is not told.
        #[serde(skip_serializing_if = "Option::is_none", serialize_with = "write_known")]
        pub average_temperature_c: Option<Known>,
        /// How long it has been running, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub uptime_secs: Option<u64>,
        /// Whether it mines.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub is_mining: Option<bool>,
    }
}

shape! {
    /// A page of `/api/v1/clients/{id}/channels`. Both lists have the same offset.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ChannelsPage {
        /// The client that it is of.
        pub client_id: Option<u32>,
        /// The number of the first entry of each list.
        pub offset: Option<u64>,
        /// How many extended channels there are on all pages.
        pub total_extended: u64,
        /// How many standard channels there are on all pages.
        pub total_standard: u64,
        /// The extended channels of this page.
        pub extended_channels: Vec<ClientChannel>,
        /// The standard channels of this page.
        pub standard_channels: Vec<ClientChannel>,
    }
}

shape! {
    /// A channel of a client.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ClientChannel {
        /// Its number.
        pub channel_id: u32,
        /// Whose work it is.
        pub user_identity: String,
        /// The declared rate, in H/s.
        pub nominal_hashrate: Known,
        /// Shares that were accepted.
        pub shares_accepted: Option<u64>,
        /// Shares that were rejected.
        pub shares_rejected: Option<u64>,
        /// The work of all accepted shares; it only grows while the channel lives.
        pub share_work_sum: Known,
    }
}

shape! {
    /// A page of `/api/v1/server/channels`.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ServerChannelsPage {
        /// The number of the first entry of each list.
        pub offset: Option<u64>,
        /// How many extended channels there are on all pages.
        pub total_extended: u64,
        /// How many standard channels there are on all pages.
        pub total_standard: u64,
        /// The extended channels of this page.
        pub extended_channels: Vec<ServerChannel>,
        /// The standard channels of this page.
        pub standard_channels: Vec<ServerChannel>,
    }
}

shape! {
    /// A channel of the application itself at its server.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct ServerChannel {
        /// Its number.
        pub channel_id: u32,
        /// Whose work it is.
        pub user_identity: String,
        /// The declared rate, in H/s.
        pub nominal_hashrate: Option<Known>,
        /// The work of all shares that the application has validated; it only grows while the channel lives.
        pub validated_work_sum: Known,
    }
}

shape! {
    /// A page of `/api/v1/sv1/clients`.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Sv1ClientsPage {
        /// The number of its first entry.
        pub offset: Option<u64>,
        /// How many there are on all pages.
        pub total: u64,
        /// Its entries.
        pub items: Vec<Sv1Client>,
    }
}

shape! {
    /// A miner that speaks Stratum V1.
    #[derive(Clone, Debug, Default, PartialEq)]
    pub struct Sv1Client {
        /// Its number. It is used again after a restart.
        pub client_id: u32,
        /// Its address.
        pub connection_ip: Option<String>,
        /// The user of the pool.
        pub sv1_username: Option<String>,
        /// The worker of that user.
        pub sv1_worker_name: Option<String>,
        /// The channel that its work goes to.
        pub channel_id: Option<u32>,
        /// The declared rate, in H/s.
        pub hashrate: Option<Known>,
        /// Where its management answers.
        pub management_ip: Option<String>,
        /// What the miner tells of itself.
        pub miner_telemetry: Option<Telemetry>,
    }
}

impl Sv1Client {
    /// What it is called: its worker, else its user.
    #[must_use]
    pub fn name(&self) -> &str {
        let given = |name: &'_ Option<String>| name.as_deref().is_some_and(|name| !name.is_empty());
        let name = [&self.sv1_worker_name, &self.sv1_username].into_iter().find(|name| given(name));
        name.and_then(|name| name.as_deref()).unwrap_or_default()
    }
}

/// Reads an answer as a whole.
fn answer<T: Wire>(answer: &[u8]) -> Result<T, Unreadable> {
    let Ok(text) = std::str::from_utf8(answer) else {
        return Err(Unreadable::new(Reason::NotUtf8, None, String::new()));
    };
    let trail = Trail::default();
    parse(text, &trail).map_err(|error| Unreadable::of(&error, &trail, answer))
}

macro_rules! answers {
    ($($page:ident),+) => {
        $(impl $page {
            /// Reads an answer.
            ///
            /// # Errors
            /// [`Unreadable`] with the reason and the field.
            pub fn read(text: &[u8]) -> Result<Self, Unreadable> {
                answer(text)
            }
        })+
    };
}

answers!(Global, ClientsPage, ChannelsPage, ServerChannelsPage, Sv1ClientsPage);

/// The kind of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChannelKind {
    /// Its owner makes headers of its own out of it.
    Extended,
    /// It is mined as it is.
    Standard,
}

/// A client with its channels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Client {
    /// What the list of clients tells.
    pub info: ClientInfo,
    /// Its channels.
    pub channels: Vec<(ChannelKind, ClientChannel)>,
}

impl Client {
    /// Whether it passes on the work of others.
    #[must_use]
    pub fn is_proxy(&self) -> bool {
        self.info.client_kind == "translator_proxy"
    }

    /// What it is called: the user of its first channel that has one.
    #[must_use]
    pub fn name(&self) -> &str {
        let names = self.channels.iter().map(|(_, channel)| &*channel.user_identity);
        names.into_iter().find(|name| !name.is_empty()).unwrap_or_default()
    }

    /// Its declared rate, in H/s: of the list of clients, else of its channels.
    #[must_use]
    pub fn hashrate(&self) -> f64 {
        let channels = || self.channels.iter().filter_map(|(_, channel)| channel.nominal_hashrate.0).sum();
        self.info.total_hashrate.0.unwrap_or_else(channels)
    }

    /// Its shares, whether accepted or rejected.
    #[must_use]
    pub fn shares(&self) -> u64 {
        let counts = |channel: &ClientChannel| [channel.shares_accepted, channel.shares_rejected];
        let all = self.channels.iter().flat_map(|(_, channel)| counts(channel)).flatten();
        all.fold(0, u64::saturating_add)
    }
}

/// What one poll of an application tells: all pages of all its lists. A list that is `None` is not monitored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Polled {
    /// How long the application has been running, in seconds.
    pub uptime_secs: u64,
    /// Clients that speak Stratum V2.
    pub clients: Option<Vec<Client>>,
    /// Miners that speak Stratum V1.
    pub sv1_clients: Option<Vec<Sv1Client>>,
    /// The channels of the application at its server.
    pub server_channels: Option<Vec<(ChannelKind, ServerChannel)>>,
    /// Whether a list changed each time that it was read, or was too long: the picture may lack somebody, or have somebody who has left.
    pub is_uncertain: bool,
}

impl Polled {
    /// How many entries it has.
    #[must_use]
    pub fn entries(&self) -> usize {
        let clients = self.clients.iter().flatten().map(|client| 1 + client.channels.len()).sum::<usize>();
        clients
            + self.sv1_clients.as_ref().map_or(0, Vec::len)
            + self.server_channels.as_ref().map_or(0, Vec::len)
    }

    /// The kinds that the application monitors.
    #[must_use]
    pub fn monitored(&self) -> Vec<&'static str> {
        let kinds = [
            ("clients", self.clients.is_some()),
            ("sv1_clients", self.sv1_clients.is_some()),
            ("server", self.server_channels.is_some()),
        ];
        kinds.into_iter().filter(|(_, is_there)| *is_there).map(|(kind, _)| kind).collect()
    }
}
