//! What readers of pictures expect: the shapes of the answers, and the rules that strict readers need.
//!
//! An answer that a reader can't parse is dropped, and its page keeps the picture before. So an address in the statistics is
//! always a text, a service type has no blank, `connected_at` is not negative, and no time is ahead of our clock.

mod polled;

use serde::Serialize;

use crate::{
    BalanceUpdate, ConnectionInfo, ConnectionType, Heartbeat, MinerInfo, MinerSnapshot, PoolProxy,
    PoolStatus, ProxyMiner, ProxyStatus, Service, ServiceType, polled::Telemetry, wire::write_rate,
};

/// How an answer is made: our clock, and what is shown of addresses.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// Our clock, in Unix seconds.
    pub now: u64,
    /// What is shown of addresses.
    pub addresses: Addresses<'a>,
}

/// What is shown of addresses.
#[derive(Clone, Copy)]
pub enum Addresses<'a> {
    /// The addresses.
    Shown,
    /// Nothing.
    Redacted,
    /// What this function makes of each address: a stable pseudonym.
    Pseudonyms(&'a dyn Fn(&str) -> String),
}

impl View<'_> {
    /// An address where the shape has a text: empty if there is none to show.
    #[must_use]
    pub fn text(&self, address: Option<&str>) -> String {
        match (address, self.addresses) {
            (None | Some(""), _) | (_, Addresses::Redacted) => String::new(),
            (Some(address), Addresses::Shown) => address.to_owned(),
            (Some(address), Addresses::Pseudonyms(pseudonym)) => pseudonym(address),
        }
    }

    /// An address where it may be left out.
    fn optional<'t>(&self, address: Option<&'t str>) -> Option<&'t str> {
        match self.addresses {
            Addresses::Shown => address,
            Addresses::Redacted | Addresses::Pseudonyms(_) => None,
        }
    }

    /// A time of a sender: never ahead of our clock.
    #[must_use]
    pub fn time(&self, time: u64) -> u64 {
        time.min(self.now)
    }

    /// A time of a sender that may be negative.
    #[must_use]
    pub fn signed_time(&self, time: i64) -> u64 {
        self.time(u64::try_from(time).unwrap_or_default())
    }
}

/// What both forms of a miner tell.
struct Told<'a> {
    id: u32,
    name: &'a str,
    address: Option<&'a str>,
    hashrate: f64,
    shares_submitted: u64,
    connected_at: i64,
}

impl<'a> From<&'a ProxyMiner> for Told<'a> {
    fn from(miner: &'a ProxyMiner) -> Self {
        Self {
            id: miner.id,
            name: &miner.name,
            address: miner.address.as_deref(),
            hashrate: miner.hashrate,
            shares_submitted: miner.shares_submitted,
            connected_at: miner.connected_at,
        }
    }
}

impl<'a> From<&'a MinerInfo> for Told<'a> {
    fn from(miner: &'a MinerInfo) -> Self {
        Self {
            id: miner.downstream_id,
            name: &miner.name,
            address: miner.address.as_deref(),
            hashrate: miner.hashrate,
            shares_submitted: miner.shares_submitted,
            connected_at: miner.connected_at,
        }
    }
}

/// `/api/stats` of a proxy: its status, for strict readers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ProxyStats {
    /// The balance of its wallet.
    pub ehash_balance: u64,
    /// The pool that it is connected to.
    pub upstream_pool: Option<StatsPool>,
    /// Its miners.
    pub downstream_miners: Vec<StatsMiner>,
    /// The name of the chain.
    pub blockchain_network: String,
    /// When the picture was taken, in Unix seconds.
    pub timestamp: u64,
}

/// The pool of a proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsPool {
    /// Its address, or an empty text.
    pub address: String,
}

/// A miner in the statistics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatsMiner {
    /// Its name.
    pub name: String,
    /// Its number.
    pub id: u32,
    /// Its address, or an empty text.
    pub address: String,
    /// Its declared rate, in H/s.
    #[serde(serialize_with = "write_rate")]
    pub hashrate: f64,
    /// Its shares.
    pub shares_submitted: u64,
    /// When it connected, in Unix seconds.
    pub connected_at: u64,
}

impl StatsMiner {
    fn of<'a>(miner: impl Into<Told<'a>>, view: &View<'_>) -> Self {
        let miner = miner.into();
        Self {
            name: miner.name.to_owned(),
            id: miner.id,
            address: view.text(miner.address),
            hashrate: miner.hashrate,
            shares_submitted: miner.shares_submitted,
            connected_at: view.signed_time(miner.connected_at),
        }
    }
}

impl ProxyStats {
    /// The statistics of a status.
    #[must_use]
    pub fn of(status: &ProxyStatus, view: &View<'_>) -> Self {
        let pool = status.upstream_pool.as_ref();
        Self {
            ehash_balance: status.ehash_balance,
            upstream_pool: pool.map(|pool| StatsPool { address: view.text(pool.address.as_deref()) }),
            downstream_miners: status.downstream_miners.iter().map(|one| StatsMiner::of(one, view)).collect(),
            blockchain_network: status.blockchain_network.clone(),
            timestamp: view.time(status.timestamp),
        }
    }

    /// The statistics of a picture in the enum form, which knows neither chain nor pool; with the balance that came beside it.
    #[must_use]
    pub fn of_snapshot(picture: &MinerSnapshot, balance: Option<BalanceUpdate>, view: &View<'_>) -> Self {
        Self {
            ehash_balance: balance.map(|balance| balance.balance).unwrap_or_default(),
            downstream_miners: picture.miners.iter().map(|one| StatsMiner::of(one, view)).collect(),
            timestamp: view.time(picture.timestamp),
            ..Self::default()
        }
    }

    /// The same without miners and pool, once its source has ended.
    #[must_use]
    pub fn emptied(self) -> Self {
        Self { upstream_pool: None, downstream_miners: Vec::new(), ..self }
    }
}

/// `/api/stats` of a pool: its status, for strict readers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PoolStats {
    /// The services.
    pub services: Vec<StatsService>,
    /// The proxies.
    pub downstream_proxies: Vec<StatsProxy>,
    /// Where the pool listens, or an empty text.
    pub listen_address: String,
    /// When the picture was taken, in Unix seconds.
    pub timestamp: u64,
}

/// A service in the statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsService {
    /// What it is.
    pub service_type: ServiceType,
    /// Its address, or an empty text.
    pub address: String,
}

/// A proxy in the statistics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatsProxy {
    /// Its number.
    pub id: u32,
    /// Its address, or an empty text.
    pub address: String,
    /// The numbers of its channels.
    pub channels: Vec<u32>,
    /// Its shares.
    pub shares_submitted: u64,
    /// Quotes created for it.
    pub quotes_created: u64,
    /// What was issued to it.
    pub ehash_mined: u64,
    /// When its last share came, in Unix seconds.
    pub last_share_at: Option<u64>,
    /// Whether it selects the work itself.
    pub work_selection: bool,
}

impl StatsService {
    /// The entry of a service.
    #[must_use]
    pub fn of(service: &Service, view: &View<'_>) -> Self {
        Self { service_type: service.service_type, address: view.text(service.address.as_deref()) }
    }

    /// The job declarator of a heartbeat.
    #[must_use]
    pub fn of_heartbeat(heartbeat: &Heartbeat, view: &View<'_>) -> Self {
        Self { service_type: ServiceType::JobDeclarator, address: view.text(Some(&heartbeat.listen_address)) }
    }
}

impl StatsProxy {
    /// The entry of a proxy.
    #[must_use]
    pub fn of(proxy: &PoolProxy, view: &View<'_>) -> Self {
        Self {
            id: proxy.id,
            address: view.text(proxy.address.as_deref()),
            channels: proxy.channels.clone(),
            shares_submitted: proxy.shares_submitted,
            quotes_created: proxy.quotes_created,
            ehash_mined: proxy.ehash_mined,
            last_share_at: proxy.last_share_at.map(|time| view.time(time)),
            work_selection: proxy.work_selection,
        }
    }
}

impl PoolStats {
    /// The statistics of a status.
    #[must_use]
    pub fn of(status: &PoolStatus, view: &View<'_>) -> Self {
        Self {
            services: status.services.iter().map(|service| StatsService::of(service, view)).collect(),
            downstream_proxies: status
                .downstream_proxies
                .iter()
                .map(|proxy| StatsProxy::of(proxy, view))
                .collect(),
            listen_address: view.text(Some(&status.listen_address)),
            timestamp: view.time(status.timestamp),
        }
    }

    /// The same with the job declarator of a heartbeat, unless the pool names it.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: &Heartbeat, view: &View<'_>) -> Self {
        if !self.services.iter().any(|service| service.service_type == ServiceType::JobDeclarator) {
            self.services.push(StatsService::of_heartbeat(heartbeat, view));
        }
        self
    }

    /// The same without services and proxies, once its source has ended.
    #[must_use]
    pub fn emptied(self) -> Self {
        Self { services: Vec::new(), downstream_proxies: Vec::new(), ..self }
    }
}

/// `/api/miners`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Miners<'a> {
    /// The miners of all sources.
    pub miners: Vec<MinerEntry<'a>>,
}

/// A miner in a list. Its texts are those of the picture: there may be tens of thousands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MinerEntry<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its number.
    pub id: u32,
    /// Its address; absent where it is redacted or not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<&'a str>,
    /// Where its management answers; absent likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub management_address: Option<&'a str>,
    /// Its declared rate, in H/s.
    #[serde(serialize_with = "write_rate")]
    pub hashrate: f64,
    /// Its measured rate, in H/s; absent where nothing was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_hashrate: Option<f64>,
    /// Its shares.
    pub shares_submitted: u64,
    /// When it connected, in Unix seconds.
    pub connected_at: u64,
    /// What it tells of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<&'a Telemetry>,
    /// The source that told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
}

impl<'a> MinerEntry<'a> {
    /// The entry of a miner in a status.
    #[must_use]
    pub fn of(miner: &'a ProxyMiner, view: &View<'_>) -> Self {
        Self::told(miner.into(), view)
    }

    /// The entry of a miner in the enum form.
    #[must_use]
    pub fn of_info(miner: &'a MinerInfo, view: &View<'_>) -> Self {
        Self::told(miner.into(), view)
    }

    fn told(miner: Told<'a>, view: &View<'_>) -> Self {
        Self {
            name: miner.name,
            id: miner.id,
            address: view.optional(miner.address),
            management_address: None,
            hashrate: miner.hashrate,
            measured_hashrate: None,
            shares_submitted: miner.shares_submitted,
            connected_at: view.signed_time(miner.connected_at),
            telemetry: None,
            source: None,
        }
    }
}

/// An element of `/api/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServiceEntry<'a> {
    /// The service.
    #[serde(flatten)]
    pub service: StatsService,
    /// The source that told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
}

/// An element of `/api/connections`: a proxy as in the statistics, and what only the enum form tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConnectionEntry<'a> {
    /// The connection.
    #[serde(flatten)]
    pub proxy: StatsProxy,
    /// The service at its other end, written without a blank.
    pub connection_type: &'static str,
    /// Its declared rate, in H/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hashrate: Option<f64>,
    /// Its measured rate, in H/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_hashrate: Option<f64>,
    /// When it connected, in Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<u64>,
    /// The source that told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<&'a str>,
}

impl ConnectionEntry<'_> {
    /// The entry of a proxy in a status.
    #[must_use]
    pub fn of(proxy: &PoolProxy, view: &View<'_>) -> Self {
        Self {
            proxy: StatsProxy::of(proxy, view),
            connection_type: connection_type(ConnectionType::Translator),
            hashrate: None,
            measured_hashrate: None,
            connected_at: None,
            source: None,
        }
    }

    /// The entry of a connection in the enum form.
    #[must_use]
    pub fn of_info(connection: &ConnectionInfo, view: &View<'_>) -> Self {
        Self {
            proxy: StatsProxy {
                id: connection.downstream_id,
                address: String::new(),
                channels: connection.channels.clone(),
                shares_submitted: connection.shares_submitted,
                quotes_created: connection.quotes_created.unwrap_or_default(),
                ehash_mined: connection.ehash_mined.unwrap_or_default(),
                last_share_at: None,
                work_selection: false,
            },
            connection_type: connection_type(connection.connection_type),
            hashrate: Some(connection.hashrate),
            measured_hashrate: None,
            connected_at: Some(view.signed_time(connection.connected_at)),
            source: None,
        }
    }
}

/// The type of a connection as readers expect it: without the blank that the enum form has.
#[must_use]
pub fn connection_type(connection: ConnectionType) -> &'static str {
    match connection {
        ConnectionType::Translator => "Translator",
        ConnectionType::Mint => ServiceType::Mint.as_str(),
        ConnectionType::JobDeclarator => ServiceType::JobDeclarator.as_str(),
    }
}

/// `/api/hashrate` and the like.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Hashrates {
    /// The points, in the order of time. A time without a point is a gap.
    pub data: Vec<HashratePoint>,
}

/// A point of a history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct HashratePoint {
    /// Its beginning, in Unix seconds.
    pub timestamp: u64,
    /// The mean rate, in H/s.
    pub hashrate_hs: f64,
}

/// `/health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether every source is fresh.
    pub healthy: bool,
    /// The sources that aren't.
    pub stale: Vec<String>,
}

/// An error of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorAnswer<'a> {
    /// What is wrong.
    pub error: &'a str,
}

/// The answer before the first picture.
pub const NO_DATA: ErrorAnswer<'static> = ErrorAnswer { error: "no data available" };
