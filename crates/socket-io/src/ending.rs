//! Why a connection ends.

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ending {
    /// The client left, or closed it.
    Client,
    /// The connection broke.
    Broken,
    /// The client did not answer a ping: its connection may be half open.
    Silent,
    /// The client does not read what is sent.
    Slow,
    /// The client broke the protocol.
    Protocol,
    /// The client did not ask for the namespace in time.
    Idle,
    /// This side ended it, and the client shall not come back by itself.
    Dismissed,
    /// This side ended it, and the client may come back.
    Restarting,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Client,
        Self::Broken,
        Self::Silent,
        Self::Slow,
        Self::Protocol,
        Self::Idle,
        Self::Dismissed,
        Self::Restarting,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Broken => "broken",
            Self::Silent => "silent",
            Self::Slow => "slow",
            Self::Protocol => "protocol",
            Self::Idle => "idle",
            Self::Dismissed => "dismissed",
            Self::Restarting => "restarting",
        }
    }

    /// Whether what waits is sent first.
    pub(crate) fn flushes(self) -> bool {
        !matches!(self, Self::Broken | Self::Silent | Self::Slow)
    }
}
