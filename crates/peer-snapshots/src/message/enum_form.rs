//! The enum form: pictures and wallet events of the first generation of senders.

use serde::Serialize;

use crate::{
    shape::{choice, shape},
    wire::write_rate,
};

shape! {
    /// The miners of a proxy.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct MinerSnapshot {
        /// All miners that are connected.
        pub miners: Vec<MinerInfo>,
        /// When the picture was taken, in Unix seconds of the sender.
        pub timestamp: u64,
    }
}

shape! {
    /// A miner.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct MinerInfo {
        /// Its number in the proxy.
        pub downstream_id: u32,
        /// The name that it chose.
        pub name: String,
        /// Its address; `None` where the sender redacts it.
        pub address: Option<String>,
        /// Its declared rate, in H/s.
        #[serde(serialize_with = "write_rate")]
        pub hashrate: f64,
        /// Its shares since it connected.
        pub shares_submitted: u64,
        /// When it connected, in Unix seconds.
        pub connected_at: i64,
    }
}

shape! {
    /// The services that are connected to a pool.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct ConnectionSnapshot {
        /// All connections.
        pub connections: Vec<ConnectionInfo>,
        /// When the picture was taken, in Unix seconds of the sender.
        pub timestamp: u64,
    }
}

shape! {
    /// A connection to a pool.
    #[derive(Clone, Debug, PartialEq, Serialize)]
    pub struct ConnectionInfo {
        /// Its number in the pool.
        pub downstream_id: u32,
        /// The service at its other end.
        pub connection_type: ConnectionType,
        /// Its declared rate, in H/s.
        #[serde(serialize_with = "write_rate")]
        pub hashrate: f64,
        /// Its shares since it connected.
        pub shares_submitted: u64,
        /// The numbers of its channels.
        pub channels: Vec<u32>,
        /// When it connected, in Unix seconds.
        pub connected_at: i64,
        /// Quotes that a mint has created.
        pub quotes_created: Option<u64>,
        /// What a mint has issued.
        pub ehash_mined: Option<u64>,
    }
}

choice! {
    /// The service at the other end of a pool's connection.
    pub enum ConnectionType, "Translator, Mint or Job Declarator" {
        /// A translator proxy.
        Translator = "Translator",
        /// A mint.
        Mint = "Mint",
        /// A job declarator.
        JobDeclarator = "Job Declarator" | "JobDeclarator",
    }
}

shape! {
    /// The balance of a wallet.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub struct BalanceUpdate {
        /// The balance, in the smallest unit.
        pub balance: u64,
        /// When it was read, in Unix seconds of the sender.
        pub timestamp: u64,
    }
}

shape! {
    /// A quote that a wallet has created.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
    pub struct QuoteCreated {
        /// The miner that it pays.
        pub downstream_id: u32,
        /// The amount, in the smallest unit.
        pub amount: u64,
        /// When it was created, in Unix seconds of the sender.
        pub timestamp: u64,
    }
}

choice! {
    /// An event of the first generation that is no longer used.
    pub enum Retired, "a retired event" {
        /// A miner or a service connected.
        DownstreamConnected = "DownstreamConnected",
        /// A miner or a service disconnected.
        DownstreamDisconnected = "DownstreamDisconnected",
        /// A share.
        ShareSubmitted = "ShareSubmitted",
        /// A new rate of one miner.
        HashrateUpdate = "HashrateUpdate",
        /// A channel was opened.
        ChannelOpened = "ChannelOpened",
        /// A channel was closed.
        ChannelClosed = "ChannelClosed",
        /// The pool of a proxy.
        PoolInfo = "PoolInfo",
    }
}
