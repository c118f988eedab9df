//! Entries of the lists that come from polled applications.

use super::{ConnectionEntry, MinerEntry, StatsProxy, View, connection_type};
use crate::{
    ConnectionType,
    polled::{Client, Sv1Client},
};

impl<'a> MinerEntry<'a> {
    /// The entry of a client that speaks Stratum V2.
    #[must_use]
    pub fn of_client(client: &'a Client, view: &View<'_>) -> Self {
        Self {
            name: client.name(),
            id: client.info.client_id,
            address: None,
            management_address: view.optional(client.info.management_ip.as_deref()),
            hashrate: client.hashrate(),
            measured_hashrate: None,
            shares_submitted: client.shares(),
            // No application tells it.
            connected_at: 0,
            telemetry: client.info.miner_telemetry.as_ref(),
            source: None,
        }
    }

    /// The entry of a miner that speaks Stratum V1.
    #[must_use]
    pub fn of_sv1(client: &'a Sv1Client, view: &View<'_>) -> Self {
        Self {
            name: client.name(),
            id: client.client_id,
            address: view.optional(client.connection_ip.as_deref()),
            management_address: view.optional(client.management_ip.as_deref()),
            hashrate: client.hashrate.and_then(|rate| rate.0).unwrap_or_default(),
            measured_hashrate: None,
            shares_submitted: 0,
            connected_at: 0,
            telemetry: client.miner_telemetry.as_ref(),
            source: None,
        }
    }
}

impl ConnectionEntry<'_> {
    /// The entry of a proxy that speaks Stratum V2.
    #[must_use]
    pub fn of_client(client: &Client, view: &View<'_>) -> Self {
        Self {
            proxy: StatsProxy {
                id: client.info.client_id,
                address: view.text(client.info.management_ip.as_deref()),
                channels: client.channels.iter().map(|(_, channel)| channel.channel_id).collect(),
                shares_submitted: client.shares(),
                quotes_created: 0,
                ehash_mined: 0,
                last_share_at: None,
                work_selection: false,
            },
            connection_type: connection_type(ConnectionType::Translator),
            hashrate: Some(client.hashrate()),
            measured_hashrate: None,
            connected_at: None,
            source: None,
        }
    }
}
