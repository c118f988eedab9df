//! The peers' part of the tree, if their history has a file: two ports for senders, an actor for each connection, the state, the
//! history, a worker for each application that is polled, two ports for readers.

use std::{
    fs, io,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use actors::{
    env::Services,
    peers::{
        Arrived, Connection, HistoryWriter, Naming, PeerListener, PeerMetrics, PeerPoll, PeerState, Peers,
        PeersSettings, PolledSource,
    },
};
use color_eyre::eyre::{Result, WrapErr};
use domain::peers::Pseudonyms;
use http_server::Audit;
use supervision::{Child, Clock, Limits, Mailbox, Name, Overflow};
use tokio::task::JoinSet;

use super::{
    peer_files::{self, SenderPorts},
    policy::{limits, policy},
    secret_files::Followed,
};
use crate::{
    config::Config,
    http::Server,
    peers::{PeerApi, PeerApiWorker, Side},
};

/// The name of the supervisor.
pub(super) const NAME: &str = "peers";
/// The most bytes of pictures that wait for the state.
const WAITING_BYTES: usize = 256 << 20;

/// The bound ports.
pub struct PeerPorts {
    peers: Peers,
    applications: Vec<Arc<PolledSource>>,
    listeners: [(&'static str, Arc<std::net::TcpListener>); 2],
    readers: [(&'static str, PeerApi); 2],
    /// The files of the certificates, where the senders' ports speak TLS.
    certificates: Option<Followed<SenderPorts>>,
}

impl PeerPorts {
    /// The addresses for senders: proxies, pools.
    #[must_use]
    pub fn senders(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|(_, listener)| listener.local_addr().ok()).collect()
    }

    /// The addresses for readers, likewise.
    #[must_use]
    pub fn readers(&self) -> Vec<SocketAddr> {
        self.readers.iter().map(|(_, api)| api.address()).collect()
    }

    /// Reads the certificates again and again, until the set is dropped.
    pub(super) fn keep_reading(&self, tasks: &mut JoinSet<()>) {
        self.certificates.iter().for_each(|files| files.keep_reading(tasks));
    }

    /// Reads the certificates now.
    pub(super) async fn refresh(&self) {
        if let Some(files) = &self.certificates {
            files.refresh().await;
        }
    }
}

/// Binds the ports; `None` without a file for the history.
///
/// # Errors
/// A port that is taken, certificates that can't be used, a file that can't be read, or a key that can't be read or written.
pub(super) fn bind(
    config: &Config,
    services: &Services,
    audit: &Audit,
    clock: &Clock,
) -> Result<Option<PeerPorts>> {
    let settings = &config.peers;
    if !settings.is_enabled() {
        return Ok(None);
    }
    let pseudonyms = settings.redact_ip.then(|| pseudonyms(Path::new(&settings.history))).transpose()?;
    let applications = settings.applications()?.into_iter().map(Arc::new).collect();
    let secret = Some(settings.secret.reveal()).filter(|secret| !secret.is_empty());
    let certificates = peer_files::read(settings)?;
    let shared = PeersSettings {
        most_connections: settings.connections,
        most_of_address: settings.connections_per_address,
        max_line: settings.max_line_bytes,
        connections_per_second: settings.connections_per_second,
        lines_per_second: settings.lines_per_second,
        silent_after: settings.silent_timeout,
        tls: certificates.as_ref().map(|files| files.files().tls()),
        secret: secret.map(Arc::from),
        networks: settings.networks(),
        naming: Naming { names: settings.names(), pseudonyms },
        rules: settings.rules(),
        history: PathBuf::from(&settings.history),
        limits: settings.limits(),
        flush_every: settings.flush_interval,
    };
    let peers = Peers::new(services.clone(), shared, clock);
    PeerMetrics::register(services.telemetry.meter()).observe(peers.clone());
    let listen = |address: SocketAddr| Server::Senders.listen(address).map(|(port, _)| Arc::new(port));
    let read =
        |address, side| PeerApi::bind(address, peers.clone(), side, settings.rate_limit, audit.clone());
    let listeners = [
        ("listener-proxy", listen(settings.proxy_address)?),
        ("listener-pool", listen(settings.pool_address)?),
    ];
    let readers = [
        ("http-proxy", read(settings.proxy_http_address, Side::Proxy)?),
        ("http-pool", read(settings.pool_http_address, Side::Pool)?),
    ];
    Ok(Some(PeerPorts { peers, applications, listeners, readers, certificates }))
}

/// The part of the tree. Children stop in reverse: the ports first, the file last.
pub(super) fn child(config: &Config, ports: &PeerPorts, clock: &Clock) -> Child {
    let policy = policy(&config.supervision);
    let peers = &ports.peers;
    let state = Mailbox::new("state", Limits { bytes: WAITING_BYTES, ..limits(&config.mailbox) }, clock);
    let connections =
        (1..=config.peers.connections).map(|number| connection(peers, &state, number).policy(policy));
    let connections = Child::supervisor("connections", connections.collect());
    let polls: Vec<Child> =
        ports.applications.iter().map(|source| poll(peers, &state, source).policy(policy)).collect();
    let (of_history, of_state) = (peers.clone(), peers.clone());
    let mut members = vec![
        Child::worker("history", move || HistoryWriter::new(of_history.clone())).policy(policy),
        Child::actor(state, move || PeerState::new(of_state.clone())).policy(policy),
        connections.policy(policy),
    ];
    if !polls.is_empty() {
        members.push(Child::supervisor("polls", polls).policy(policy));
    }
    for (name, listener) in &ports.listeners {
        let (peers, listener) = (peers.clone(), listener.clone());
        members.push(
            Child::worker(*name, move || PeerListener::new(peers.clone(), listener.clone())).policy(policy),
        );
    }
    for (name, api) in &ports.readers {
        let api = api.clone();
        members.push(Child::worker(*name, move || PeerApiWorker::new(api.clone())).policy(policy));
    }
    Child::supervisor(NAME, members).policy(policy)
}

fn connection(peers: &Peers, state: &Mailbox<Arrived>, number: usize) -> Child {
    let name = Name::new(format!("connection-{number}"));
    // A sender that is faster than the state is read more slowly.
    let state = state.address(&name, Overflow::Wait);
    let peers = peers.clone();
    Child::worker(name, move || Connection::new(peers.clone(), state.clone()))
}

fn poll(peers: &Peers, state: &Mailbox<Arrived>, source: &Arc<PolledSource>) -> Child {
    let name = Name::new(&*source.name);
    // A picture that the state has no time for yet delays the next poll.
    let state = state.address(&name, Overflow::Wait);
    let (peers, source) = (peers.clone(), source.clone());
    Child::worker(name, move || PeerPoll::new(peers.clone(), state.clone(), source.clone()))
}

/// The pseudonyms of this history. Their key is beside it, so that they stay the same as long as it does.
fn pseudonyms(history: &Path) -> Result<Pseudonyms> {
    let mut path = history.as_os_str().to_owned();
    path.push(".key");
    let path = PathBuf::from(path);
    let key = key(&path).wrap_err_with(|| {
        format!(
            "the key of pseudonyms, {}, can't be read or made; check that folder and its rights",
            path.display()
        )
    })?;
    Ok(Pseudonyms::new(key))
}

fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match fs::File::open(path) {
        Ok(mut file) => {
            file.read_exact(&mut key)?;
            return Ok(key);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    // New and whole or not at all: half a key would change with the next start.
    let temporary = path.with_extension("key.new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(&key)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    Ok(key)
}
