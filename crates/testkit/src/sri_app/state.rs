//! What the application knows of who is connected.

use std::time::Instant;

/// A channel, of a client or of the application itself at its server.
#[derive(Clone, Debug, PartialEq)]
pub struct SriChannel {
    /// Its number.
    pub channel_id: u32,
    /// Whether it is an extended one, and not a standard one.
    pub is_extended: bool,
    /// Whose work it is.
    pub user_identity: String,
    /// The declared rate, in H/s.
    pub nominal_hashrate: f32,
    /// Shares that were accepted.
    pub shares: u64,
    /// The work of all of them.
    pub work: f64,
}

impl SriChannel {
    /// An extended channel without work.
    #[must_use]
    pub fn extended(channel_id: u32, user_identity: &str, nominal_hashrate: f32) -> Self {
        let user_identity = user_identity.to_owned();
        Self { channel_id, is_extended: true, user_identity, nominal_hashrate, shares: 0, work: 0.0 }
    }

    /// A standard channel without work.
    #[must_use]
    pub fn standard(channel_id: u32, user_identity: &str, nominal_hashrate: f32) -> Self {
        Self { is_extended: false, ..Self::extended(channel_id, user_identity, nominal_hashrate) }
    }

    /// Adds shares with this work in all.
    pub fn mine(&mut self, shares: u64, work: f64) {
        self.shares += shares;
        self.work += work;
    }
}

/// A client that speaks Stratum V2.
#[derive(Clone, Debug, PartialEq)]
pub struct SriClient {
    /// Its number.
    pub client_id: u32,
    /// `miner`, `translator_proxy` or `unknown`.
    pub client_kind: String,
    /// Where its management answers.
    pub management_ip: Option<String>,
    /// Its channels.
    pub channels: Vec<SriChannel>,
}

impl SriClient {
    /// A client of this kind with these channels.
    #[must_use]
    pub fn new(client_id: u32, client_kind: &str, channels: Vec<SriChannel>) -> Self {
        Self { client_id, client_kind: client_kind.to_owned(), management_ip: None, channels }
    }
}

/// A miner that speaks Stratum V1.
#[derive(Clone, Debug, PartialEq)]
pub struct SriMiner {
    /// Its number.
    pub client_id: u32,
    /// Its address.
    pub connection_ip: String,
    /// The user of the pool.
    pub username: String,
    /// The worker of that user.
    pub worker: String,
    /// The channel that its work goes to.
    pub channel_id: Option<u32>,
    /// The declared rate, in H/s.
    pub hashrate: Option<f32>,
}

impl SriMiner {
    /// A miner of this name.
    #[must_use]
    pub fn new(client_id: u32, worker: &str, connection_ip: &str, hashrate: f32) -> Self {
        Self {
            client_id,
            connection_ip: connection_ip.to_owned(),
            username: "pool-user".to_owned(),
            worker: worker.to_owned(),
            channel_id: None,
            hashrate: Some(hashrate),
        }
    }
}

/// What the application knows. A list that is `None` is not monitored.
#[derive(Clone, Debug)]
pub struct SriState {
    /// How long it had been running when `since` was, in seconds.
    pub uptime_secs: u64,
    /// Since when that has grown.
    pub since: Instant,
    /// Clients that speak Stratum V2.
    pub clients: Option<Vec<SriClient>>,
    /// Miners that speak Stratum V1.
    pub miners: Option<Vec<SriMiner>>,
    /// The channels of the application at its server.
    pub server_channels: Option<Vec<SriChannel>>,
}

impl Default for SriState {
    /// A pool, to which nobody is connected.
    fn default() -> Self {
        Self {
            uptime_secs: 1_000,
            since: Instant::now(),
            clients: Some(Vec::new()),
            miners: None,
            server_channels: None,
        }
    }
}

impl SriState {
    /// How long it has been running, in seconds.
    #[must_use]
    pub fn uptime(&self) -> u64 {
        self.uptime_secs.saturating_add(self.since.elapsed().as_secs())
    }

    /// Restarts it: it runs since now, and all sums are zero. Who is connected stays, as if all had come back at once.
    pub fn restart(&mut self) {
        (self.uptime_secs, self.since) = (0, Instant::now());
        let of_clients = self.clients.iter_mut().flatten().flat_map(|client| &mut client.channels);
        for channel in of_clients.chain(self.server_channels.iter_mut().flatten()) {
            (channel.shares, channel.work) = (0, 0.0);
        }
    }

    /// The first channel of a user, of clients and of the application itself.
    pub fn channel(&mut self, user_identity: &str) -> Option<&mut SriChannel> {
        let of_clients = self.clients.iter_mut().flatten().flat_map(|client| &mut client.channels);
        let mut all = of_clients.chain(self.server_channels.iter_mut().flatten());
        all.find(|channel| channel.user_identity == user_identity)
    }
}
