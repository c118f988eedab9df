//! What the actors of the peers share, also over their restarts: open connections, pictures, meters, and what waits for the file.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use domain::peers::{Now, PictureKind, Pictures, Rules, WindowMeter};
use ports::{Rates, Tls};
use store_peers::Limits;
use supervision::Clock;

use super::{
    accepted::Waiting,
    content::Content,
    counts::Counts,
    naming::{Naming, Network},
    open::OpenConnections,
    pending::Pending,
    sums::Sums,
};
use crate::env::Services;

/// The limits and names of the peers.
#[derive(Clone, Debug)]
pub struct PeersSettings {
    /// The most connections of senders.
    pub most_connections: usize,
    /// The most connections of one address.
    pub most_of_address: usize,
    /// The longest line, in bytes.
    pub max_line: usize,
    /// The most new connections a second of one address, and twice as many at once.
    pub connections_per_second: u32,
    /// The most lines a second of one connection; above that it is read more slowly.
    pub lines_per_second: u32,
    /// After this time without a whole line a connection is closed.
    pub silent_after: Duration,
    /// TLS of both ports; without it they speak none.
    pub tls: Option<Tls>,
    /// The first line that each sender has to send; `None` for none.
    pub secret: Option<Arc<str>>,
    /// The networks that may connect; none are all.
    pub networks: Vec<Network>,
    /// What senders are called.
    pub naming: Naming,
    /// How long pictures are believed.
    pub rules: Rules,
    /// The file of the history.
    pub history: PathBuf,
    /// What is kept in it.
    pub limits: Limits,
    /// How often it is written.
    pub flush_every: Duration,
}

/// What is known of the total rates of sources.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// By sources and kinds of metrics.
    pub(super) windows: HashMap<(Arc<str>, PictureKind), WindowMeter>,
    /// Of polled sources.
    pub(super) sums: HashMap<Arc<str>, Sums>,
    /// When rates were declared last, by sources, in seconds of the steady clock.
    pub(super) declared: HashMap<Arc<str>, f64>,
    /// The last total of each source and kind of picture: work a second, and when it was measured.
    pub(super) rates: BTreeMap<(Arc<str>, PictureKind), (f64, f64)>,
}

/// What the actors of the peers share. A clone is the same.
#[derive(Clone)]
pub struct Peers(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub(super) services: Services,
    pub(super) settings: PeersSettings,
    /// New connections, by addresses.
    pub(super) rates: Rates,
    pub(super) waiting: Waiting,
    pub(super) open: OpenConnections,
    pub(super) pictures: ArcSwap<Pictures<Content>>,
    pub(super) meters: Mutex<Meters>,
    pub(super) pending: Pending,
    pub(super) counts: Counts,
    clock: Clock,
    started: Instant,
}

impl Peers {
    /// Without any picture.
    #[must_use]
    pub fn new(services: Services, settings: PeersSettings, clock: &Clock) -> Self {
        let pictures = ArcSwap::from_pointee(Pictures::new(settings.rules));
        Self(Arc::new(Shared {
            services,
            rates: Rates::new(settings.connections_per_second),
            settings,
            waiting: Waiting::default(),
            open: OpenConnections::default(),
            pictures,
            meters: Mutex::default(),
            pending: Pending::default(),
            counts: Counts::default(),
            clock: clock.clone(),
            started: clock.now(),
        }))
    }

    /// The newest pictures. They do not change; the next ones are others.
    #[must_use]
    pub fn pictures(&self) -> Arc<Pictures<Content>> {
        self.0.pictures.load_full()
    }

    /// The time by both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let steady = self.0.clock.now().saturating_duration_since(self.0.started);
        Now { unix: self.0.clock.unix().as_secs_f64(), steady: steady.as_secs_f64() }
    }

    /// Limits and names.
    #[must_use]
    pub fn settings(&self) -> &PeersSettings {
        &self.0.settings
    }
}
