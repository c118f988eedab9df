//! `[peers]`: senders of pictures of who is connected, and their history.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use actors::peers::{Network, PolledSource};
use domain::peers::Rules;
use sri_client::{BadUrl, SriClient, Trust, TrustError};
use store_peers::Limits;

use super::super::checks::{
    ANY, Application, NETWORKS, PEER_NAMES, SOCKET_ADDRESS, application, networks, peer_names,
};
use super::super::files::{UnreadableFile, read_of};
use super::super::secret::Secret;
use super::super::setting::{
    Content, DAY, HOUR, Kind, MINUTE, SECOND, YEAR, duration, file, flag, integer, list, millis, section,
    text,
};

section! {
    /// Pools, proxies and job declarators push pictures of who is connected to them; dashboards read the newest ones and the history of
    /// what was measured. It runs if peers.history is set.
    pub struct Peers in "peers" {
        /// Path of the file of the history, which is made if there is none; empty for no peers. Its folder has to exist.
        history: String = text("", ANY),
        /// IP address and port for proxies that send; port 0 for any free one.
        // Local by default: a program that can send decides what dashboards show.
        proxy_address: SocketAddr = text("127.0.0.1:8082", SOCKET_ADDRESS),
        /// IP address and port for pools that send.
        pool_address: SocketAddr = text("127.0.0.1:9083", SOCKET_ADDRESS),
        /// IP address and port for readers of proxies.
        proxy_http_address: SocketAddr = text("127.0.0.1:8084", SOCKET_ADDRESS),
        /// IP address and port for readers of pools.
        pool_http_address: SocketAddr = text("127.0.0.1:9084", SOCKET_ADDRESS),
        /// How many connections of senders there may be. Each is served by an actor of its own.
        connections: usize = integer(64, "a number of connections", 1..=10_000),
        /// How many of them one address may have.
        connections_per_address: usize = integer(8, "a number of connections", 1..=10_000),
        /// How many new connections a second one address may open; twice as many at once. Further ones are closed.
        connections_per_second: u32 = integer(50, "a number of connections", 1..=100_000),
        /// Longest line of a sender, in bytes. A longer one is dropped.
        max_line_bytes: usize = integer(8_388_608, "a number of bytes", 1_024..=67_108_864),
        /// How many lines a second of one connection are read; a faster sender waits.
        lines_per_second: u32 = integer(100, "a number of lines", 1..=100_000),
        /// After this time without a whole line a connection is closed.
        silent_timeout: Duration = duration("10m", SECOND..=DAY),
        /// The first line that each sender has to send; empty for none.
        secret: Secret = text("", ANY).secret(),
        /// PEM file of the certificate of the senders' ports, with those of its authorities; empty for no TLS. With it they speak nothing
        /// else. It is read again every 2 s and at SIGHUP.
        cert_file: String = file(Content::Certificates),
        /// PEM file of the key of that certificate.
        key_file: String = file(Content::Key),
        /// PEM file of the authorities of senders: each sender has to show a certificate of one of them, and is called by its first DNS
        /// name, if it has one. Empty for none. It is read again likewise.
        client_ca_file: String = file(Content::Certificates),
        /// The networks that may send, such as `10.0.0.0/8`, separated by commas; empty for all.
        networks: String = text("", NETWORKS),
        /// The names of senders, such as `10.0.0.7=proxy-a`, separated by commas. Others are called by a pseudonym.
        names: String = text("", PEER_NAMES),
        /// Stratum V2 applications (pool, job declarator client, translator proxy) that are polled over HTTP, such as
        /// `pool-a=https://10.0.0.8:3000;interval=5s;ca_file=/etc/pool-a.pem`; interval and ca_file may be left out. The URLs may hold
        /// credentials and are never shown.
        sources: Vec<Secret> = list(Kind::Applications).secret(),
        /// Whether no address of a sender or miner is shown or stored anywhere.
        redact_ip: bool = flag(true),
        /// A source whose interval is not known is stale after this time; another one after three of its intervals.
        stale_after: Duration = duration("45s", SECOND..=DAY),
        /// A source is forgotten after this time without a picture.
        forget_after: Duration = duration("10m", SECOND..=DAY),
        /// How long samples are kept as they are.
        keep_samples: Duration = duration("2d", HOUR..=YEAR).at_most("peers.keep_minutes"),
        /// How long minutes are kept.
        keep_minutes: Duration = duration("30d", HOUR..=YEAR).at_most("peers.keep_hours"),
        /// How long hours and quotes are kept.
        keep_hours: Duration = duration("730d", HOUR..=Duration::from_hours(20 * 365 * 24)),
        /// Largest size of the history, in bytes. Above it the oldest of the finest level is removed first.
        max_bytes: u64 = integer(10_000_000_000, "a number of bytes", 4_194_304..=i64::MAX),
        /// How often the history is written. A crash loses at most what came since.
        flush_interval: Duration = duration("1s", millis(100)..=MINUTE),
        /// Requests a second of one address of a reader; twice as many at once.
        rate_limit: u32 = integer(200, "a number of requests a second", 1..=1_000_000),
    }
}

/// Why an application can't be polled.
#[derive(Debug, thiserror::Error)]
pub enum BadApplication {
    /// An item of `peers.sources` is none, which a loaded configuration does not have.
    #[error("peers.sources: {0}")]
    Item(&'static str),
    /// Its URL can't be requested.
    #[error("peers.sources: the URL of {name}: {cause}")]
    Url {
        /// The source.
        name: String,
        /// Why.
        cause: BadUrl,
    },
    /// The file can't be read.
    #[error(transparent)]
    File(#[from] UnreadableFile),
    /// The file has no usable certificate.
    #[error("peers.sources: the ca_file of {name}: {cause}")]
    Certificates {
        /// The source.
        name: String,
        /// Why.
        cause: TrustError,
    },
}

/// The content of the files for TLS with senders; `None` for files that are not set.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PeerFiles {
    /// Certificates and key in PEM form.
    pub certificate: Option<(Vec<u8>, Vec<u8>)>,
    /// The authorities of senders, likewise.
    pub client_authorities: Option<Vec<u8>>,
}

impl Peers {
    /// The applications that are polled.
    ///
    /// # Errors
    /// `BadApplication`: a file that can't be read or has no certificate.
    pub fn applications(&self) -> Result<Vec<PolledSource>, BadApplication> {
        let source = |text: &Secret| {
            let application = application(text.reveal()).map_err(BadApplication::Item)?;
            let name = || application.name.to_owned();
            let trust = match read_of("peers.sources", application.ca_file)? {
                Some(pem) => {
                    Trust::only(&pem).map_err(|cause| BadApplication::Certificates { name: name(), cause })?
                }
                None => Trust::default(),
            };
            let client = SriClient::new(&application.url, trust, sri_client::Limits::default())
                .map_err(|cause| BadApplication::Url { name: name(), cause })?;
            Ok(PolledSource { name: application.name.into(), interval: application.interval, client })
        };
        self.sources.iter().map(source).collect()
    }

    /// What the texts of the applications say that are polled.
    pub(crate) fn read_sources(&self) -> impl Iterator<Item = Application<'_>> {
        self.sources.iter().filter_map(|text| application(text.reveal()).ok())
    }

    /// The names of the applications that are polled.
    pub fn application_names(&self) -> Vec<&str> {
        self.read_sources().map(|application| application.name).collect()
    }

    /// Reads the files for TLS with senders.
    ///
    /// # Errors
    /// A file that can't be read, with its setting.
    pub fn files(&self) -> Result<PeerFiles, UnreadableFile> {
        let certificate = read_of("peers.cert_file", &self.cert_file)?;
        let key = read_of("peers.key_file", &self.key_file)?;
        let client_authorities = read_of("peers.client_ca_file", &self.client_ca_file)?;
        // Both or none: the configuration refuses one without the other.
        Ok(PeerFiles { certificate: certificate.zip(key), client_authorities })
    }

    /// Whether the peers run: they do if their history has a file.
    pub fn is_enabled(&self) -> bool {
        !self.history.is_empty()
    }

    /// How long pictures are believed.
    pub fn rules(&self) -> Rules {
        Rules {
            stale_after: self.stale_after.as_secs_f64(),
            forget_after: self.forget_after.as_secs_f64(),
            ..Rules::default()
        }
    }

    /// What is kept in the history.
    pub fn limits(&self) -> Limits {
        Limits {
            raw: self.keep_samples,
            minutes: self.keep_minutes,
            hours: self.keep_hours,
            bytes: self.max_bytes,
            ..Limits::default()
        }
    }

    /// The networks that may send. None is left out: the text was checked.
    pub fn networks(&self) -> Vec<Network> {
        networks(&self.networks).flatten().collect()
    }

    /// The names of senders, likewise.
    pub fn names(&self) -> BTreeMap<IpAddr, Arc<str>> {
        peer_names(&self.names)
            .flatten()
            .map(|(address, name)| (address.to_canonical(), name.into()))
            .collect()
    }
}
