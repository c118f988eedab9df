//! The settings as the rest of the program sees them: typed, checked, without a trace of where they
//! came from. Defaults, units and limits of each stand in `config/default.toml`.

mod chain;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo, RedisResult,
    TlsCertificates,
};
use serde::{Deserialize, Serialize};
use store::{Output, Servers};

use super::checks;
use super::markets::{Compat, MarketSettings};
use super::secret::Secret;

pub use chain::Chain;

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The Redis server that is read from and written to.
    pub redis: Redis,
    /// What is tracked.
    pub tracker: Tracker,
    /// Where outputs are written, and how addresses are spelled there.
    pub output: Output,
    /// What is in effect for each market, by its name in `tracker.markets`.
    #[serde(skip)]
    pub markets: BTreeMap<String, MarketSettings>,
    /// How often what is computed.
    pub intervals: Intervals,
    /// The epoch ledger.
    pub ledger: Ledger,
    /// `[retention]`
    pub retention: Retention,
    /// The state index.
    pub index: Index,
    /// Which chain is followed, and how.
    pub chain: Chain,
    /// When actors are restarted, and when the process gives up.
    pub supervision: Supervision,
    /// The bounds of each mailbox.
    pub mailbox: Mailbox,
    /// Where the endpoints listen.
    pub http: Http,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// What is in effect for a market, by its name in `tracker.markets`; another one has the defaults.
    pub fn market(&self, name: &str) -> MarketSettings {
        self.markets.get(name).cloned().unwrap_or_default()
    }
}

/// `[redis]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// Host name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// User name, empty for the default user.
    pub username: String,
    /// Password, empty for none.
    pub password: Secret,
    /// Database number.
    pub db: u32,
    /// Replaces host, port, username, password and db unless empty.
    pub url: Secret,
    /// Whether servers named by host and port, sentinels and nodes of a cluster are reached by TLS.
    pub tls: bool,
    /// PEM file of the authority to trust; empty for those of the system.
    pub ca_file: String,
    /// PEM file of our own certificate, for servers that ask for one; empty for none.
    pub cert_file: String,
    /// PEM file of its key.
    pub key_file: String,
    /// Sentinels, `host:port` each, that know the master.
    pub sentinels: Vec<String>,
    /// The name by which they know it.
    pub sentinel_master: String,
    /// User name at the sentinels, empty for the default user.
    pub sentinel_username: String,
    /// Password at the sentinels, empty for none.
    pub sentinel_password: Secret,
    /// Nodes of a cluster, `host:port` each; the others are learnt from them.
    pub cluster: Vec<String>,
    /// Connections in the shared pool.
    pub pool_size: usize,
    /// Bytes of events that may wait for the listener.
    pub event_queue_bytes: usize,
    /// How long opening a connection may take.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a command or pipeline may take.
    #[serde(with = "humantime_serde")]
    pub command_timeout: Duration,
    /// Longest wait between two attempts to reconnect.
    #[serde(with = "humantime_serde")]
    pub reconnect_within: Duration,
}

impl Redis {
    /// Which servers to connect to, and how. Fails only for values that [`Config::load`](super::Config::load) would have
    /// refused.
    ///
    /// # Errors
    /// A URL that the client can't read.
    pub fn servers(&self) -> RedisResult<Servers> {
        let at_server = login(self.db, &self.username, &self.password);
        if !self.sentinels.is_empty() {
            let at_sentinels = login(0, &self.sentinel_username, &self.sentinel_password);
            return Ok(Servers::Sentinel {
                sentinels: self.all(&self.sentinels, &at_sentinels)?,
                master: self.sentinel_master.clone(),
                node: self.at("localhost", 6379, at_server)?,
            });
        }
        if !self.cluster.is_empty() {
            return Ok(Servers::Cluster(self.all(&self.cluster, &at_server)?));
        }
        if !self.url.is_empty() {
            return Ok(self.url.reveal().into_connection_info()?.into());
        }
        Ok(self.at(&self.host, self.port, at_server)?.into())
    }

    fn all(&self, servers: &[String], login: &RedisConnectionInfo) -> RedisResult<Vec<ConnectionInfo>> {
        let named = servers.iter().filter_map(|server| checks::server(server));
        named.map(|(host, port)| self.at(host, port, login.clone())).collect()
    }

    fn at(&self, host: &str, port: u16, login: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
        let info = (host, port).into_connection_info()?.set_redis_settings(login);
        Ok(match self.tls {
            true => info.set_addr(ConnectionAddr::TcpTls {
                host: host.to_owned(),
                port,
                insecure: false,
                tls_params: None,
            }),
            false => info,
        })
    }

    /// What is read from the files of certificates; `None` where none is named.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn certificates(&self) -> Result<Option<TlsCertificates>, UnreadableFile> {
        let read = |setting: &'static str, path: &str| {
            let unreadable = |source| UnreadableFile { setting, path: path.to_owned(), source };
            (!path.is_empty()).then(|| std::fs::read(path).map_err(unreadable)).transpose()
        };
        let root_cert = read("redis.ca_file", &self.ca_file)?;
        let client_cert = read("redis.cert_file", &self.cert_file)?;
        let client_key = read("redis.key_file", &self.key_file)?;
        let client_tls = client_cert
            .zip(client_key)
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        let any = root_cert.is_some() || client_tls.is_some();
        Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
    }

    /// Server and database without user name and password, to be logged: `redis:6379/0`.
    pub fn address(&self) -> String {
        match self.servers() {
            Ok(Servers::Single(server)) => format!("{}/{}", server.addr(), server.redis_settings().db()),
            Ok(Servers::Sentinel { master, .. }) => {
                format!("{master} of the sentinels {}/{}", self.sentinels.join(","), self.db)
            }
            Ok(Servers::Cluster(_)) => format!("the cluster of {}", self.cluster.join(",")),
            Err(_) => "an invalid redis.url".to_owned(),
        }
    }
}

/// A file of certificates that can't be read.
#[derive(Debug, thiserror::Error)]
#[error("{setting}: {path} can't be read: name a PEM file that this user may read")]
pub struct UnreadableFile {
    setting: &'static str,
    path: String,
    #[source]
    source: std::io::Error,
}

fn login(db: u32, username: &str, password: &Secret) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default().set_db(db.into());
    if !username.is_empty() {
        login = login.set_username(username);
    }
    if !password.is_empty() {
        login = login.set_password(password.reveal());
    }
    login
}

/// `[tracker]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tracker {
    /// The protocol-state contract, as configured.
    pub protocol: String,
    /// The data markets, as configured: at least one, none twice.
    pub markets: Vec<String>,
    /// This validator's id.
    pub sequencer_id: String,
    /// What datasets are computed from, in markets whose table does not say.
    pub compat: Compat,
    /// The protocol-state contract of the second namespace, in markets whose table names none; empty for none.
    pub priority_protocol: String,
    /// The data market of the second namespace, where the market's table names none; empty for none.
    pub priority_market: String,
}

/// `[intervals]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Intervals {
    /// Between two summaries, and two participations.
    #[serde(with = "humantime_serde")]
    pub summary: Duration,
    /// Between two writings of the statistics of the hours.
    #[serde(with = "humantime_serde")]
    pub hourly: Duration,
    /// Between two writings of the statistics of the day.
    #[serde(with = "humantime_serde")]
    pub daily: Duration,
    /// Between two rounds of the pruner.
    #[serde(with = "humantime_serde")]
    pub prune: Duration,
    /// Between two computations of the current epoch that no event caused.
    #[serde(with = "humantime_serde")]
    pub current_epoch: Duration,
    /// The least time between two computations of the current epoch that events ask for.
    #[serde(with = "humantime_serde")]
    pub wake_debounce: Duration,
}

/// `[ledger]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    /// After its window closed, an epoch without both batches is sealed this much later.
    #[serde(with = "humantime_serde")]
    pub seal_after: Duration,
    /// The window over which the rates are measured.
    #[serde(with = "humantime_serde")]
    pub measurement_window: Duration,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Of the producers' timelines.
    #[serde(with = "humantime_serde")]
    pub timelines: Duration,
    /// Of the timelines of priorities.
    #[serde(with = "humantime_serde")]
    pub priorities: Duration,
    /// Of the ledger's sealed entries.
    #[serde(with = "humantime_serde")]
    pub ledger: Duration,
    /// Of the state index.
    #[serde(with = "humantime_serde")]
    pub index: Duration,
}

/// `[index]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Whether it is kept at all.
    pub enabled: bool,
    /// Whether there is one for each market, under its name.
    pub namespaced: bool,
}

/// `[supervision]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Supervision {
    /// Restarts of one actor that are allowed `within`.
    pub max_restarts: u32,
    /// The period of `max_restarts`.
    #[serde(with = "humantime_serde")]
    pub within: Duration,
    /// Wait before the first restart.
    #[serde(with = "humantime_serde")]
    pub backoff_first: Duration,
    /// Longest wait before a restart.
    #[serde(with = "humantime_serde")]
    pub backoff_max: Duration,
    /// An actor that was well for this long starts again at `backoff_first`.
    #[serde(with = "humantime_serde")]
    pub backoff_reset_after: Duration,
    /// An actor with work and without progress is restarted after this.
    #[serde(with = "humantime_serde")]
    pub stall_after: Duration,
    /// An actor that holds its thread ends the process after this.
    #[serde(with = "humantime_serde")]
    pub wedged_after: Duration,
    /// Actors that may be restarting at a time.
    pub simultaneous_restarts: usize,
    /// How often a degraded actor is tried again.
    #[serde(with = "humantime_serde")]
    pub degraded_retry: Duration,
    /// How long a mandatory actor may be down before the process ends.
    #[serde(with = "humantime_serde")]
    pub give_up_after: Duration,
    /// How long one actor may take to stop.
    #[serde(with = "humantime_serde")]
    pub stop_within: Duration,
    /// How long everything may take to stop.
    #[serde(with = "humantime_serde")]
    pub shutdown_within: Duration,
}

/// `[mailbox]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Mailbox {
    /// Messages that wait at most.
    pub capacity: usize,
    /// Bytes that wait at most.
    pub bytes: usize,
    /// Messages taken at once at most.
    pub batch: usize,
    /// Attempts at one message before it is a dead letter.
    pub max_attempts: u32,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub host: IpAddr,
    /// Their port; 0 for any free one.
    pub metrics_port: u16,
    /// Where the operator's endpoints listen.
    pub operator_address: SocketAddr,
}

impl Http {
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.metrics_port)
    }

    /// The address of `path` for a client on the same machine: all interfaces means the local one.
    pub fn local_url(&self, path: &str) -> String {
        let host = match self.host {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        format!("http://{}{path}", SocketAddr::new(host, self.metrics_port))
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A directive that `tracing_subscriber::EnvFilter` accepts.
    pub level: String,
    /// The shape of a line.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
