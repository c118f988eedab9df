//! What happened so far, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ending::Ending;

/// Why a request or a connection is refused before it has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Full {
    /// The server has its most.
    Server,
    /// The address has its most.
    Address,
    /// The address comes too often.
    Rate,
    /// A page of another site asks.
    Origin,
}

impl Full {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Server, Self::Address, Self::Rate, Self::Origin];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server_full",
            Self::Address => "address_full",
            Self::Rate => "rate",
            Self::Origin => "origin",
        }
    }
}

/// What happened so far. It only grows.
#[derive(Debug, Default)]
pub struct Counts {
    opened: AtomicU64,
    upgraded: AtomicU64,
    ended: [AtomicU64; Ending::ALL.len()],
    refused: [AtomicU64; Full::ALL.len()],
}

impl Counts {
    /// The sessions that began.
    #[must_use]
    pub fn sessions_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// The sessions that changed from polling to a WebSocket.
    #[must_use]
    pub fn sessions_upgraded(&self) -> u64 {
        self.upgraded.load(Ordering::Relaxed)
    }

    /// The sessions that ended so.
    #[must_use]
    pub fn sessions_ended(&self, why: Ending) -> u64 {
        let place = Ending::ALL.iter().position(|ending| *ending == why);
        place.map_or(0, |place| self.ended[place].load(Ordering::Relaxed))
    }

    /// The requests and connections that were refused so.
    #[must_use]
    pub fn refused(&self, why: Full) -> u64 {
        let place = Full::ALL.iter().position(|full| *full == why);
        place.map_or(0, |place| self.refused[place].load(Ordering::Relaxed))
    }

    pub(crate) fn opened(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn upgraded(&self) {
        self.upgraded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, why: Ending) {
        if let Some(place) = Ending::ALL.iter().position(|ending| *ending == why) {
            self.ended[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn refuse(&self, why: Full) {
        if let Some(place) = Full::ALL.iter().position(|full| *full == why) {
            self.refused[place].fetch_add(1, Ordering::Relaxed);
        }
    }
}
